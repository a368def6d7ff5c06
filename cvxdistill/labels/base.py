"""The terms of the label objective: how errors count, and where labels may lie."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from cvxdistill.statistics import TargetStatistics


class LabelLoss(ABC):
    """A loss of predictions on the target. To add one: a subclass, one line in `LOSSES`.

    Attributes:
        name: its name in `LOSSES`.
        quadratic: a squared error in the predictions, so that moments of the target are enough.
    """

    name: ClassVar[str]
    quadratic: ClassVar[bool] = False

    @abstractmethod
    def code(self, labels: Tensor, *, num_classes: int) -> Tensor:
        """Return coded targets `(n, C)` float64 of classes `(n,)`; floats come back as they are."""

    @abstractmethod
    def code_statistics(self, statistics: TargetStatistics) -> TargetStatistics:
        """Return moments of one-hot labels as moments of the coded targets."""

    @abstractmethod
    def value(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over examples of `logits (n, C)` against coded `targets (n, C)`."""


class LabelConstraint(ABC):
    """A convex set of labels. To add one: a subclass, one line in `CONSTRAINTS`.

    The contract: `project` is idempotent, and gives the nearest point of the set.

    Attributes:
        name: its name in `CONSTRAINTS`.
        trivial: every matrix is allowed.
        label_kind: how students must read such labels, `scores` or `distribution`.
    """

    name: ClassVar[str]
    trivial: ClassVar[bool] = False
    label_kind: ClassVar[str] = "scores"

    @abstractmethod
    def project(self, labels: Tensor) -> Tensor:
        """Return the nearest allowed labels to `labels (m, C)`, in the Euclidean norm."""
