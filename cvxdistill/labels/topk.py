"""Distributions over few classes."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.labels.base import LabelConstraint
from cvxdistill.labels.simplex import project_rows


@dataclasses.dataclass(frozen=True)
class TopK(LabelConstraint):
    """A heuristic: every row is a distribution with at most `k` entries that are not zero.

    Choose it when labels are to be stored in few bits. The set is not convex, so labels solved for
    in it depend on where the solver starts, and no certificate of optimality exists; the
    projection alone is exact: the `k` largest entries, projected onto the simplex.

    Args:
        k: how many classes a row may name.

    Raises:
        InputError: `k` below 1.

    References:
        Kyrillidis et al. 2013, "Sparse projections onto the simplex",
        https://proceedings.mlr.press/v28/kyrillidis13.html

    Example:
        >>> TopK(k=2).project(torch.tensor([[0.5, 0.25, 0.1]])).tolist()
        [[0.625, 0.375, 0.0]]
    """

    k: int = 3

    name: ClassVar[str] = "top-k"
    convex: ClassVar[bool] = False
    label_kind: ClassVar[str] = "distribution"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"`k` must be 1 or more; got {self.k}.")

    def project(self, labels: Tensor) -> Tensor:
        """Return the nearest sparse distributions to the rows of `labels (..., C)`."""
        k = min(self.k, labels.shape[-1])
        largest = labels.topk(k, dim=-1)
        return torch.zeros_like(labels).scatter(-1, largest.indices, project_rows(largest.values))

    def lowest(self, gradient: Tensor) -> float:
        """Return the least `<gradient, S>`, as on the simplex: its corners are in the set."""
        return float(gradient.min(-1).values.sum())
