"""The true labels: what every distilled label must beat."""

import dataclasses
from typing import ClassVar

from cvxdistill.labels import one_hot
from cvxdistill.methods.base import DistillTask, Method, MethodResult


@dataclasses.dataclass(frozen=True)
class Hard(Method):
    """True labels of the base examples, one-hot. A baseline, not a distillation."""

    name: ClassVar[str] = "hard"

    def run(self, task: DistillTask) -> MethodResult:
        """Return the true labels.

        Raises:
            InputError: base and target have different classes.
        """
        labels = one_hot(task.true_classes(), task.target.num_classes)
        return MethodResult(labels.cpu(), "distribution")
