"""Losses of predictions on the target."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_class_labels
from cvxdistill.labels.base import LabelLoss
from cvxdistill.statistics import TargetStatistics

CODINGS = ("one-hot", "centred")


@dataclasses.dataclass(frozen=True)
class SquaredLoss(LabelLoss):
    """Squared error against coded targets, `|Zt W + b - T|^2` a target example.

    The loss of the exact solve: it needs only the target's moments.

    Args:
        coding: `one-hot`, or `centred` (one-hot less `1/C`, so that rows sum to zero, as in
            kernel-ridge distillation). With a free intercept both give the same classes.

    Raises:
        InputError: an unknown coding.

    Example:
        >>> SquaredLoss(coding="centred").code(torch.tensor([1]), num_classes=2).tolist()
        [[-0.5, 0.5]]
    """

    coding: str = "one-hot"

    name: ClassVar[str] = "squared"
    quadratic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("coding", self.coding, CODINGS)

    def shift(self, num_classes: int) -> float:
        """Return what the coding adds to a one-hot entry."""
        return -1.0 / num_classes if self.coding == "centred" else 0.0

    def code(self, labels: Tensor, *, num_classes: int) -> Tensor:
        """Return coded targets `(n, C)` float64; floating labels are targets already."""
        if labels.is_floating_point():
            return labels.to(torch.float64)
        classes = check_class_labels("labels", labels, num_classes=num_classes)
        one_hot = torch.nn.functional.one_hot(classes, num_classes).to(torch.float64)
        return one_hot + self.shift(num_classes)

    def code_statistics(self, statistics: TargetStatistics) -> TargetStatistics:
        """Return the moments of the coded targets: only the label mean of classes moves."""
        classes = statistics.target_kind == "classes"
        shift = self.shift(statistics.num_classes) if classes else 0.0
        return statistics.shifted_labels(shift) if shift else statistics

    def value(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return `mean_i |logits_i - targets_i|^2`, summed over classes."""
        return (logits - targets).square().sum(-1).mean()
