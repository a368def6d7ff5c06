"""The multiclass hinge."""

import dataclasses
from typing import ClassVar

from torch import Tensor

from cvxdistill.errors import IncompatibleError
from cvxdistill.labels.base import LabelLoss
from cvxdistill.labels.coding import code_distributions
from cvxdistill.statistics import TargetStatistics


@dataclasses.dataclass(frozen=True)
class HingeLoss(LabelLoss):
    r"""Multiclass hinge of Crammer and Singer, `max_c (u_c + 1 - t_c) - sum_c t_c u_c`.

    Choose it when only examples near a class boundary should count. For a one-hot target `t` of
    class `k` it is the largest margin violation, `max(0, 1 + max_{c != k} u_c - u_k)`; soft
    targets are allowed and keep it convex. It is not smooth, so labels for it come from the
    first-order solver; the subgradient of the first largest entry is taken.

    References:
        Crammer and Singer 2001, "On the algorithmic implementation of multiclass kernel-based
        vector machines", https://www.jmlr.org/papers/v2/crammer01a.html

    Example:
        >>> import torch
        >>> HingeLoss().value(torch.tensor([[0.5, 0.0]]), torch.tensor([[1.0, 0.0]])).item()
        0.5
    """

    name: ClassVar[str] = "hinge"
    smooth: ClassVar[bool] = False

    def code(self, labels: Tensor, *, num_classes: int) -> Tensor:
        """Return distributions `(n, C)` float64; floating labels must be distributions.

        Raises:
            InputError: class labels out of range, or soft targets that are not distributions.
        """
        return code_distributions(labels, num_classes=num_classes, loss=self.name)

    def code_statistics(self, statistics: TargetStatistics) -> TargetStatistics:
        """Refuse: a hinge is no function of moments.

        Raises:
            IncompatibleError: always.
        """
        raise IncompatibleError(
            f"a hinge needs the target's features; got {statistics!r}. Give the target as "
            "(features, labels), or use loss `squared`."
        )

    def value(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean hinge of `logits (n, C)` against `targets (n, C)`."""
        worst = (logits + 1 - targets).max(-1).values
        return (worst - (targets * logits).sum(-1)).mean()
