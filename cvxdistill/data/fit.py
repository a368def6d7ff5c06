"""Images of one shape made into images of another, for base examples from another data set."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from cvxdistill.checks import check_choice
from cvxdistill.data.base import ImageSet
from cvxdistill.errors import InputError

# Luma of ITU-R BT.601: what image programs take for the grey of a colour.
_GREY = (0.299, 0.587, 0.114)


def fit_images(data: ImageSet, shape: tuple[int, ...], *, how: str = "resize") -> ImageSet:
    """Return `data` with images of `shape`: other channels, and another size.

    Grey becomes colour by repetition, colour grey by its luma. Bytes stay bytes, so that base
    examples are stored as what a network sees.

    Args:
        data: images `(n, c, h, w)`.
        shape: `(c, h, w)` of the target.
        how: `resize` (bilinear, with antialiasing where it shrinks) or `pad` (black around,
            centred, or cut off all around where it is smaller; pixels stay as they are).

    Raises:
        InputError: feature vectors, an unknown way, or channels other than 1 and 3 that differ.

    Example:
        >>> grey = ImageSet(torch.zeros(2, 1, 28, 28).byte(), torch.tensor([0, 1]), ("a", "b"), "x")
        >>> fit_images(grey, (3, 32, 32), how="pad").shape
        (3, 32, 32)
    """
    check_choice("how", how, FITS)
    if len(data.shape) != 3 or len(shape) != 3:
        raise InputError(
            f"only images can be made to fit; got examples of shape {data.shape} (`{data.name}`) "
            f"and {tuple(shape)}. Feature vectors must come from one extractor."
        )
    if data.shape == tuple(shape):
        return data
    return dataclasses.replace(data, images=fit_pixels(data.images, shape, how, name=data.name))


def fit_pixels(images: Tensor, shape: tuple[int, ...], how: str, *, name: str) -> Tensor:
    """Return `(n, *shape)` from `(n, c, h, w)` images; see `fit_images` for shape and how.

    Args:
        images: uint8 or floating.
        shape: `(c, h, w)` to be had.
        how: a key of `FITS`.
        name: what they are, for messages.

    Raises:
        InputError: channels other than 1 and 3 that differ.
    """
    fitted = images
    if fitted.shape[1] != shape[0]:
        fitted = _channels(fitted, shape[0], name)
    if fitted.shape[2:] != torch.Size(shape[1:]):
        fitted = FITS[how](fitted, shape[1], shape[2])
    if images.dtype == torch.uint8:
        fitted = fitted.round().clamp(0, 255).to(torch.uint8)
    return fitted.contiguous()


def _channels(images: Tensor, count: int, name: str) -> Tensor:
    if images.shape[1] == 1:
        return images.expand(-1, count, -1, -1)
    if (images.shape[1], count) != (3, 1):
        raise InputError(
            f"images of {images.shape[1]} channels (`{name}`) cannot be made into {count}; only "
            "grey into colour and colour into grey. Convert them first."
        )
    weights = torch.tensor(_GREY, device=images.device)[None, :, None, None]
    return (images.to(torch.float32) * weights).sum(1, keepdim=True)


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(
        images.to(torch.float32), (height, width), mode="bilinear", antialias=True
    )


def _pad(images: Tensor, height: int, width: int) -> Tensor:
    extra = height - images.shape[2], width - images.shape[3]
    top, left = int(extra[0] / 2), int(extra[1] / 2)
    # Negative padding cuts off.
    return functional.pad(images, (left, extra[1] - left, top, extra[0] - top))


FITS: dict[str, Callable[[Tensor, int, int], Tensor]] = {"pad": _pad, "resize": _resize}
