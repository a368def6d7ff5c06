"""Pixels: the images themselves as features."""

import dataclasses
from typing import ClassVar

from torch import nn

from cvxdistill.features.base import Network
from cvxdistill.features.shapes import check_shape


@dataclasses.dataclass(frozen=True)
class Pixels(Network):
    """The preprocessed image flattened, or a feature vector as it is: no weights.

    Choose it for embeddings computed elsewhere, and as the floor that every network must beat.
    Features: `d = c * h * w`, or the `d` of the vectors.

    Example:
        >>> import torch
        >>> module = Pixels().build((1, 8, 8), torch.Generator())
        >>> module(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 64])
    """

    name: ClassVar[str] = "pixels"
    trainable: ClassVar[bool] = False

    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the flattening `(n, *input_shape) -> (n, d)`.

        Raises:
            InputError: a shape without sizes or with a size below 1.
        """
        check_shape(input_shape)
        return nn.Flatten()
