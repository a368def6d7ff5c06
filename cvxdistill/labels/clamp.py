"""Clamp and renormalise: how distributions were made in earlier work."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.labels.base import LabelConstraint


@dataclasses.dataclass(frozen=True)
class ClampRenormalise(LabelConstraint):
    """Negative entries become zero, and rows are divided by their sums. For reproduction only.

    This is what Bohdal et al. (2020) do after each step. It gives distributions, but not the
    nearest ones, so no solver with a certificate takes it; use `simplex` for new work. A row
    without a positive entry, which divides by zero there, becomes the uniform distribution here.

    References:
        Bohdal, Yang and Hospedales 2020, "Flexible dataset distillation: learn labels instead of
        images", https://arxiv.org/abs/2006.08572

    Example:
        >>> ClampRenormalise().project(torch.tensor([[3.0, 1.0], [-1.0, 0.0]])).tolist()
        [[0.75, 0.25], [0.5, 0.5]]
    """

    name: ClassVar[str] = "clamp"
    exact_projection: ClassVar[bool] = False
    label_kind: ClassVar[str] = "distribution"

    def project(self, labels: Tensor) -> Tensor:
        """Return distributions for the rows of `labels (..., C)`."""
        positive = labels.clamp_min(0)
        # Dividing by the largest entry first keeps the sum of huge or tiny entries finite.
        largest = positive.amax(-1, keepdim=True)
        empty = largest <= 0
        shares = torch.where(empty, 1.0, positive / torch.where(empty, 1.0, largest))
        return shares / shares.sum(-1, keepdim=True)

    def lowest(self, gradient: Tensor) -> float:
        """Return the least `<gradient, S>`: all of a row's weight on its least entry."""
        return float(gradient.min(-1).values.sum())
