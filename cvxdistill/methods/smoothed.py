"""Smoothed true labels: the baseline that costs nothing."""

import dataclasses
from typing import ClassVar

from cvxdistill.errors import InputError
from cvxdistill.labels import smoothed
from cvxdistill.methods.base import DistillTask, Method, MethodResult


@dataclasses.dataclass(frozen=True)
class Smoothed(Method):
    """True labels mixed with the uniform distribution (Szegedy et al. 2016).

    Soft labels help students even without knowledge of the target, so a gain over true labels
    alone proves little; this baseline takes that part out.

    Args:
        smoothing: share of the uniform distribution, in [0, 1).

    Raises:
        InputError: `smoothing` out of range.

    References:
        https://arxiv.org/abs/1512.00567
    """

    smoothing: float = 0.1

    name: ClassVar[str] = "smoothed"

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise InputError(f"`smoothing` must lie in [0, 1); got {self.smoothing}.")

    def run(self, task: DistillTask) -> MethodResult:
        """Return the smoothed labels.

        Raises:
            InputError: base and target have different classes.
        """
        classes, count = task.true_classes(), task.target.num_classes
        labels = smoothed(classes, count, smoothing=self.smoothing)
        return MethodResult(labels.cpu(), "distribution")
