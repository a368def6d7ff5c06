"""MLP: a fully connected network."""

import dataclasses
import math
from typing import ClassVar

from torch import nn

from cvxdistill.features.base import Network
from cvxdistill.features.shapes import check_shape, check_sizes


@dataclasses.dataclass(frozen=True)
class MLP(Network):
    """Equally wide linear layers with ReLU on the flattened image.

    Choose it for feature vectors, tables and tiny images, and as a student unlike any
    convolutional extractor. Features: `d = width`.

    Source: Rumelhart, Hinton and Williams (1986), "Learning representations by back-propagating
    errors", <https://doi.org/10.1038/323533a0>.

    Attributes:
        width: units of every layer.
        depth: number of layers.

    Raises:
        InputError: a size below 1.

    Example:
        >>> import torch
        >>> module = MLP(width=32).build((64,), torch.Generator().manual_seed(0))
        >>> module(torch.rand(2, 64)).shape
        torch.Size([2, 32])
    """

    width: int = 512
    depth: int = 2

    name: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "width", "depth")

    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the module `(n, *input_shape) -> (n, width)`, its weights still undrawn.

        Raises:
            InputError: a shape without sizes or with a size below 1.
        """
        inputs = math.prod(check_shape(input_shape))
        layers: list[nn.Module] = [nn.Flatten()]
        for _ in range(self.depth):
            layers += [nn.Linear(inputs, self.width), nn.ReLU(inplace=True)]
            inputs = self.width
        return nn.Sequential(*layers)
