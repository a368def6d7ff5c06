"""Labels that are distributions over the classes."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.labels.base import LabelConstraint, RowLimits


@dataclasses.dataclass(frozen=True)
class Simplex(LabelConstraint):
    r"""Every row is a distribution: entries of zero or more that sum to 1.

    Choose it when students train with a cross-entropy on the labels. The projection of a row `v`
    is `max(v - theta, 0)`, with the one `theta` that makes it sum to 1; a sort finds it.

    References:
        Duchi et al. 2008, "Efficient projections onto the l1-ball for learning in high
        dimensions", https://doi.org/10.1145/1390156.1390191

    Example:
        >>> Simplex().project(torch.tensor([[0.75, 0.75], [-1.0, 5.0]])).tolist()
        [[0.5, 0.5], [0.0, 1.0]]
    """

    name: ClassVar[str] = "simplex"
    label_kind: ClassVar[str] = "distribution"

    @property
    def limits(self) -> RowLimits:
        """Zero or more, with a sum of 1."""
        return RowLimits(low=0.0, high=float("inf"), total=1.0)

    def project(self, labels: Tensor) -> Tensor:
        """Return the nearest distributions to the rows of `labels (..., C)`."""
        return project_rows(labels)

    def lowest(self, gradient: Tensor) -> float:
        """Return the least `<gradient, S>`: all of a row's weight on its least entry."""
        return float(gradient.min(-1).values.sum())


def project_rows(labels: Tensor) -> Tensor:
    """Project rows of `labels (..., C)` onto the probability simplex by sorting."""
    # A row as large as 1e16 would lose its 1; what all entries share does not matter.
    labels = labels - labels.amax(-1, keepdim=True)
    ordered = labels.sort(dim=-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    places = torch.arange(1, labels.shape[-1] + 1, device=labels.device, dtype=labels.dtype)
    support = (ordered * places > excess).sum(-1, keepdim=True)
    theta = excess.gather(-1, support - 1) / support
    return (labels - theta).clamp_min(0)
