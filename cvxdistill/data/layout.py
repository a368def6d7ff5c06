"""What arrays of images mean: which axis is the channel."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.errors import InputError

_CHANNELS = (1, 3, 4)


def as_examples(array: NDArray[Any], *, name: str) -> Tensor:
    """Turn a stored array into images or features as an `ImageSet` holds them.

    Args:
        array: floating `(n, d)` features; `(n, h, w)` grey images; or images with 1, 3 or 4
            channels in the last axis or in the second, whichever of the two has such a size.
        name: the array, for messages.

    Returns:
        `(n, d)` features, or `(n, c, h, w)` images. Whole numbers from 0 to 255 become uint8;
        floating images float32; features keep float32 and float64, and float16 becomes float32.

    Raises:
        InputError: other numbers of dimensions, channels nowhere or in both places, no examples,
            or values that are neither floating nor 0 to 255.

    Example:
        >>> as_examples(np.zeros((5, 32, 32, 3), np.uint8), name="images").shape
        torch.Size([5, 3, 32, 32])
    """
    if array.size == 0:
        raise InputError(f"{name} must not be empty; got shape {array.shape}.")
    values = _as_numbers(array, name)
    if values.ndim == 2:
        if values.dtype.kind != "f":
            raise InputError(
                f"{name} of shape {array.shape} must be floating-point features; got "
                f"{array.dtype}. Reshape images to (n, h, w), or store features as float32."
            )
        return torch.from_numpy(np.ascontiguousarray(values))
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if values.ndim == 3:
        return torch.from_numpy(np.ascontiguousarray(values[:, None]))
    if values.ndim != 4:
        raise InputError(
            f"{name} must be (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w); got shape "
            f"{array.shape}. Reshape it."
        )
    first, last = values.shape[1] in _CHANNELS, values.shape[3] in _CHANNELS
    if first == last:
        found = "both" if first else "neither"
        raise InputError(
            f"{name} must have 1, 3 or 4 channels either in the second or in the last axis; got "
            f"{found} in shape {array.shape}. Store grey images as (n, h, w), feature maps as "
            "(n, d)."
        )
    return torch.from_numpy(np.ascontiguousarray(values if first else values.transpose(0, 3, 1, 2)))


def _as_numbers(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return uint8, float32 or float64 in the machine's byte order."""
    kind = array.dtype.kind
    if kind == "f":
        return array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32, copy=False)
    if kind in "iu":
        low, high = int(array.min()), int(array.max())
        if 0 <= low <= high <= 255:
            return array.astype(np.uint8, copy=False)
        raise InputError(
            f"{name} of whole numbers must lie in 0..255; got {low} to {high}. Scale it, or store "
            "floating-point numbers."
        )
    raise InputError(
        f"{name} must be numbers, floating-point or 0..255; got {array.dtype}. Convert it."
    )
