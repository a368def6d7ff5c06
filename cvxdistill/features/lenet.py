"""LeNet: the network that the first results in label distillation were reported on."""

import dataclasses
from typing import ClassVar

from torch import nn

from cvxdistill.features.base import Network, feature_count
from cvxdistill.features.patches import ImageConv2d
from cvxdistill.features.pooling import HalvingMaxPool
from cvxdistill.features.shapes import check_image_shape

_PADDED_BELOW = 12


@dataclasses.dataclass(frozen=True)
class LeNet(Network):
    """Two 5 x 5 convolutions with max pooling, then 120 and 84 linear units, ReLU throughout.

    Choose it to compare with published numbers on 28 x 28 digits, and for trained extractors of
    few features: `d = 84`. The second convolution is padded for images under 12 pixels a side,
    which would not survive it otherwise.

    Sources: LeCun, Bottou, Bengio and Haffner (1998), "Gradient-Based Learning Applied to Document
    Recognition", <https://doi.org/10.1109/5.726791>; with ReLU and max pooling as in Wang, Zhu,
    Torralba and Efros (2018), "Dataset Distillation", <https://arxiv.org/abs/1811.10959>.

    Example:
        >>> import torch
        >>> module = LeNet().build((1, 8, 8), torch.Generator().manual_seed(0))
        >>> module(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 84])
    """

    name: ClassVar[str] = "lenet"

    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the module `(n, c, h, w) -> (n, 84)`, its weights still undrawn.

        Raises:
            InputError: not the shape of an image, or a side below 4 pixels.
        """
        channels, height, width = check_image_shape(self.name, input_shape)
        padding = 2 if min(height, width) < _PADDED_BELOW else 0
        # ReLU and pooling change places without a change of values or gradients, and ReLU then has
        # a quarter to do.
        maps = nn.Sequential(
            ImageConv2d(channels, 6, 5, padding=2),
            HalvingMaxPool(),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 16, 5, padding=padding),
            HalvingMaxPool(),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        return nn.Sequential(
            maps,
            nn.Linear(feature_count(maps, input_shape), 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
        )
