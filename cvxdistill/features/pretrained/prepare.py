"""The preprocessing that networks from elsewhere were trained with, for images of any size."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cvxdistill.errors import InputError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]] | None] = {
    "none": None,
    "imagenet": _IMAGENET,
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": _CLIP,
}
"""Means and standard deviations of the channels, of pixels in [0, 1], that are in common use."""


class Prepare(nn.Module):
    """Resize, crop and normalise raw images as a network from elsewhere expects them.

    Bytes (0 to 255) or floats (0 to 1) of any size, grey or colour, in batches on any device. In
    this order: channels are repeated (1 to 3) or dropped (4 to 3); resized, by torchvision and with
    the rounding of bytes that torchvision has; cropped to the centre; scaled to [0, 1] and
    normalised.

    Args:
        resize: the shorter side in pixels, or `(height, width)`; `None` leaves the size.
        crop: `(height, width)` of the centre; `None` leaves it whole.
        interpolation: `bilinear`, `bicubic` or another mode of torchvision.
        antialias: whether shrinking smooths first.
        mean: of each channel, of pixels in [0, 1].
        std: of each channel.
        channels: how many the network takes; `None` leaves them.

    Example:
        >>> prepare = Prepare(channels=3, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> prepare(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))[0, 2, 0, 0].item()
        -1.0
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        resize: int | tuple[int, int] | None = None,
        crop: tuple[int, int] | None = None,
        interpolation: str = "bilinear",
        antialias: bool = True,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        channels: int | None = None,
    ) -> None:
        super().__init__()
        self.resize, self.crop, self.channels = resize, crop, channels
        self.interpolation, self.antialias = interpolation, antialias
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))
        # In the state, so that a fingerprint over it sees the geometry too.
        text = json.dumps(self.record(), sort_keys=True).encode()
        self.register_buffer("settings", torch.tensor(list(text), dtype=torch.uint8))

    def record(self) -> dict[str, Any]:
        """Return the settings in JSON types."""
        return {
            "resize": list(self.resize) if isinstance(self.resize, tuple) else self.resize,
            "crop": None if self.crop is None else list(self.crop),
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "mean": [round(value, 8) for value in self.mean.flatten().tolist()],
            "std": [round(value, 8) for value in self.std.flatten().tolist()],
            "channels": self.channels,
        }

    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Map `(n, c, h, w)` images, or a list of `(c, h, w)` of any sizes, to one batch.

        Raises:
            InputError: channels that do not fit, or images that stay of several sizes.
        """
        if isinstance(images, Tensor):
            return self._batch(images)
        groups: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(images):
            groups.setdefault(tuple(image.shape), []).append(position)
        ready: list[Tensor | None] = [None] * len(images)
        for positions in groups.values():
            batch = self._batch(torch.stack([images[position] for position in positions]))
            for position, row in zip(positions, batch, strict=True):
                ready[position] = row
        rows = [row for row in ready if row is not None]
        sizes = sorted({tuple(row.shape) for row in rows})
        if len(sizes) != 1:
            raise InputError(
                f"all images must have one size for this extractor; got {sizes[0]} and "
                f"{sizes[-1]}. Give it a size, as in module:NAME,size=224."
            )
        return torch.stack(rows)

    def _batch(self, images: Tensor) -> Tensor:
        if self.resize is not None or self.crop is not None:
            from torchvision.transforms import InterpolationMode, functional

            if self.resize is not None:
                size = list(self.resize) if isinstance(self.resize, tuple) else [self.resize]
                mode = InterpolationMode(self.interpolation)
                images = functional.resize(images, size, mode, antialias=self.antialias)
            if self.crop is not None:
                images = functional.center_crop(images, list(self.crop))
        # After the geometry, which need not be done three times over for grey images.
        ready = images.to(torch.float32)
        if images.dtype == torch.uint8:
            ready = ready / 255.0
        return (self._with_channels(ready) - self.mean) / self.std

    def _with_channels(self, images: Tensor) -> Tensor:
        found = images.shape[1]
        if self.channels is None or found == self.channels:
            return images
        if found == 1:
            return images.expand(-1, self.channels, -1, -1)
        if found == 4 and self.channels == 3:
            return images[:, :3]
        raise InputError(
            f"this extractor takes images of {self.channels} channels; got {found}. Convert them."
        )

    def extra_repr(self) -> str:
        """Return the settings for `print`."""
        return ", ".join(f"{key}={value}" for key, value in self.record().items())


class Prepared(nn.Module):
    """A network with its own preprocessing in front.

    Args:
        prepare: what is done to raw images.
        network: maps what `prepare` gives to features `(n, d)`.
    """

    def __init__(self, prepare: Prepare, network: nn.Module) -> None:
        super().__init__()
        self.prepare = prepare
        self.network = network

    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Map raw images, or a list of `(c, h, w)` of any sizes, to features `(n, d)`."""
        features: Tensor = self.network(self.prepare(images))
        return features
