"""ResNet-18 in its form for small images."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn

from cvxdistill.checks import check_choice
from cvxdistill.features.base import Network
from cvxdistill.features.norms import make_norm
from cvxdistill.features.shapes import check_image_shape, check_sizes

_STAGES = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class ResNet18(Network):
    """A 3 x 3 stem, four stages of two residual blocks, global average pooling.

    Choose it as a strong trained extractor, or to ask whether labels carry over to a deep
    network. Features: `d = 8 * width`, 512 by default, for images of any size.

    Where the maps of a stage are a single pixel (the last one on 8 x 8 images), instance norm
    would give zeros, and one group over all channels takes its place.

    Source: He, Zhang, Ren and Sun (2016), "Deep Residual Learning for Image Recognition",
    <https://arxiv.org/abs/1512.03385>.

    Attributes:
        width: channels of the first stage; each stage doubles them.
        norm: `batch`, `instance` or `group`. With `batch`, a network that is drawn and never
            trained is not normalised at all, since its running statistics are still 0 and 1.

    Raises:
        InputError: an unknown norm, or a width below 1.

    Example:
        >>> module = ResNet18(width=4).build((3, 32, 32), torch.Generator().manual_seed(0))
        >>> module.eval()(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    width: int = 64
    norm: str = "batch"

    name: ClassVar[str] = "resnet18"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "width")
        check_choice("norm", self.norm, ("batch", "instance", "group"))

    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the module `(n, c, h, w) -> (n, 8 * width)`, its weights still undrawn.

        Raises:
            InputError: not the shape of an image.
        """
        channels, height, width = check_image_shape(self.name, input_shape)
        size = (height, width)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, self.width, 3, padding=1, bias=False),
            make_norm(self.norm, self.width, size),
            nn.ReLU(inplace=True),
        ]
        inputs = self.width
        for multiple in _STAGES:
            outputs = self.width * multiple
            stride = 1 if multiple == 1 else 2
            size = ((size[0] + stride - 1) // stride, (size[1] + stride - 1) // stride)
            layers.append(_ResidualBlock(inputs, outputs, stride, self.norm, size))
            layers.append(_ResidualBlock(outputs, outputs, 1, self.norm, size))
            inputs = outputs
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, projected where the shape changes."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: str, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            make_norm(norm, outputs, size),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            make_norm(norm, outputs, size),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                make_norm(norm, outputs, size),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Map `(n, inputs, h, w)` to `(n, outputs, h / stride, w / stride)`."""
        return torch.relu(self.residual(maps) + self.shortcut(maps))
