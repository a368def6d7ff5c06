"""Changes of images that labels do not follow: more to learn from the same few examples.

A student of a hundred examples knows them by heart after some hundred steps. Shown a mirrored or
shifted example with the label of the example, it has to be the same there: 100 images of CIFAR-10
with a teacher's labels gain 9 points by it, and with learned labels as many
(`docs/benchmarks/paper.md`).
"""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.seeding import generator

# Shifts have no end of views; so many of them stand for all in a tangent kernel.
SAMPLED_VIEWS = 4


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to images `(n, channels, height, width)`, each time they are shown.

    Choose mirroring where left and right mean the same, so not for digits and letters, and shifts
    where objects stand anywhere. Both draw anew for every example and step.

    Args:
        flip: mirror half of the examples, left to right.
        shift: move by up to this share of the sides, and fill up with the pixels at the edge.

    Example:
        >>> images = torch.arange(4.0).view(1, 1, 2, 2)
        >>> AUGMENTATIONS["flip"].views(images, seed=0).flatten(1).tolist()
        [[0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 3.0, 2.0]]
    """

    flip: bool = False
    shift: float = 0.0

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse examples of a shape that cannot be mirrored or shifted.

        Raises:
            InputError: something is to be changed, and it is not `(channels, height, width)`.
        """
        if (self.flip or self.shift) and len(shape) != 3:
            raise InputError(
                f"`augment` is for images (channels, height, width); these examples have the shape "
                f"{shape}. Train without it."
            )

    def draw(self, images: Tensor, *, seed: int, step: int) -> Tensor:
        """Return what students see of preprocessed images in a step.

        Args:
            images: `(n, channels, height, width)`; anything where nothing is changed.
            seed: of the draws.
            step: counted from 0.

        Raises:
            InputError: examples that are no images.
        """
        self.check(tuple(images.shape[1:]))
        if not (self.flip or self.shift):
            return images
        stream = generator(seed, "augmentation", step)
        if self.flip:
            mirrored = torch.rand(len(images), generator=stream) < 0.5
            mirrored = mirrored.to(images.device)[:, None, None, None]
            images = torch.where(mirrored, images.flip(-1), images)
        return self._shifted(images, stream) if self.shift else images

    def views(self, images: Tensor, *, seed: int) -> Tensor:
        """Return views `(k * n, ...)` that stand for all that students see of images, in turn.

        All of them where these are few, else a draw.

        Args:
            images: `(n, channels, height, width)`; anything where nothing is changed.
            seed: of the draws.

        Raises:
            InputError: examples that are no images.
        """
        self.check(tuple(images.shape[1:]))
        if not self.shift:
            return torch.cat([images, images.flip(-1)]) if self.flip else images
        drawn = (self.draw(images, seed=seed, step=step) for step in range(SAMPLED_VIEWS))
        return torch.cat(list(drawn))

    def _shifted(self, images: Tensor, stream: torch.Generator) -> Tensor:
        count, channels, height, width = images.shape
        places = []
        for side in (height, width):
            most = int(self.shift * side)
            start = torch.randint(2 * most + 1, (count, 1), generator=stream) - most
            places.append((start + torch.arange(side)).clamp(0, side - 1).to(images.device))
        rows, columns = places
        every = torch.arange(count, device=images.device)[:, None, None, None]
        maps = torch.arange(channels, device=images.device)[None, :, None, None]
        return images[every, maps, rows[:, None, :, None], columns[:, None, None, :]]


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "flip": Augmentation(flip=True),
    "shift": Augmentation(shift=0.125),
    "flip-shift": Augmentation(flip=True, shift=0.125),
}
