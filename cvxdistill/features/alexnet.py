"""The small AlexNet of dataset distillation."""

import dataclasses
from typing import ClassVar

from torch import nn

from cvxdistill.features.base import Network, feature_count
from cvxdistill.features.shapes import check_image_shape


@dataclasses.dataclass(frozen=True)
class AlexNet(Network):
    """Two 5 x 5 convolutions with max pooling and local response norms, then 384 and 192 units.

    Choose it to compare with published numbers on 32 x 32 colour images: `d = 192`.

    Sources: Krizhevsky, Sutskever and Hinton (2012), "ImageNet Classification with Deep
    Convolutional Neural Networks", <https://doi.org/10.1145/3065386>; in this small form Wang, Zhu,
    Torralba and Efros (2018), "Dataset Distillation", <https://arxiv.org/abs/1811.10959>.

    Example:
        >>> import torch
        >>> module = AlexNet().build((3, 32, 32), torch.Generator().manual_seed(0))
        >>> module(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 192])
    """

    name: ClassVar[str] = "alexnet"

    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the module `(n, c, h, w) -> (n, 192)`, its weights still undrawn.

        Raises:
            InputError: not the shape of an image.
        """
        channels, _, _ = check_image_shape(self.name, input_shape)
        maps = nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            _response_norm(),
            nn.Conv2d(64, 64, 5, padding=2),
            nn.ReLU(inplace=True),
            _response_norm(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Flatten(),
        )
        return nn.Sequential(
            maps,
            nn.Linear(feature_count(maps, input_shape), 384),
            nn.ReLU(inplace=True),
            nn.Linear(384, 192),
            nn.ReLU(inplace=True),
        )


def _response_norm() -> nn.Module:
    return nn.LocalResponseNorm(4, alpha=0.001 / 9.0, beta=0.75, k=1.0)
