"""Base examples that cover the feature space."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.choose.geometry import GeometricChooser, mean_row, squared_distances


@dataclasses.dataclass(frozen=True)
class KCenter(GeometricChooser):
    """Farthest-first: each next example is the one farthest from those chosen.

    Choose it where rare kinds of examples must not be missed. Its largest distance from any
    example to the nearest chosen one is at most twice the least possible. It likes outliers, so
    look at what it chose. The first is the example nearest to the mean.

    Sources: Gonzalez (1985), "Clustering to minimize the maximum intercluster distance",
    <https://doi.org/10.1016/0304-3975(85)90224-5>; Sener and Savarese (2018), "Active learning for
    convolutional neural networks: a core-set approach", <https://arxiv.org/abs/1708.00489>.

    Attributes:
        per_class: cover every class by itself; else all examples at once.

    Example:
        >>> z = torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0]])
        >>> KCenter().pick(z, 3, seed=0).tolist()
        [3, 4, 0]
    """

    name: ClassVar[str] = "kcenter"
    nested: ClassVar[bool] = True

    def pick(self, features: Tensor, examples: int, seed: int) -> Tensor:  # noqa: ARG002
        """Return rows, each the farthest from those before it."""
        nearest = squared_distances(features, mean_row(features))
        chosen = [nearest.argmin()]
        nearest = torch.full_like(nearest, torch.inf)
        while len(chosen) < examples:
            point = features[chosen[-1]].to(torch.float64)
            nearest = torch.minimum(nearest, squared_distances(features, point))
            # Below every distance, so that repeated rows are chosen once each.
            nearest[chosen[-1]] = -1.0
            chosen.append(nearest.argmax())
        return torch.stack(chosen)
