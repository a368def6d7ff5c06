"""The terms of the label objective: how errors count, and where labels may lie."""

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from cvxdistill.statistics import TargetStatistics


class LabelLoss(ABC):
    """A loss of predictions on the target. To add one: a subclass, one line in `LOSSES`.

    Attributes:
        name: its name in `LOSSES`.
        quadratic: a squared error in the predictions, so that moments of the target are enough.
        cross_entropy: the cross-entropy of a softmax, which has a `temperature`.
        convex: convex in the predictions.
        smooth: has a continuous gradient in the predictions.
    """

    name: ClassVar[str]
    quadratic: ClassVar[bool] = False
    cross_entropy: ClassVar[bool] = False
    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    @abstractmethod
    def code(self, labels: Tensor, *, num_classes: int) -> Tensor:
        """Return coded targets `(n, C)` float64 of classes `(n,)`; floats come back as they are."""

    @abstractmethod
    def code_statistics(self, statistics: TargetStatistics) -> TargetStatistics:
        """Return moments of one-hot labels as moments of the coded targets."""

    @abstractmethod
    def value(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over examples of `logits (n, C)` against coded `targets (n, C)`."""


@dataclasses.dataclass(frozen=True)
class RowLimits:
    """A set of labels given row by row: `low <= y <= high`, and the sum of a row if it is fixed.

    Attributes:
        low: lower limit of every entry, or `-inf`.
        high: upper limit of every entry, or `inf`.
        total: the sum of every row, or `None` where it is free.
    """

    low: float
    high: float
    total: float | None = None


class LabelConstraint(ABC):
    """A set of labels. To add one: a subclass, one line in `CONSTRAINTS`.

    The contract: `project` is idempotent and gives allowed labels, the nearest ones where
    `exact_projection`.

    Attributes:
        name: its name in `CONSTRAINTS`.
        trivial: every matrix is allowed.
        convex: the set is convex, so that a convex label problem stays so.
        exact_projection: `project` gives the nearest point of the set.
        limits: the set as limits a row, with which an interior point method can work; `None`
            where it is none of the kind.
        label_kind: how students must read such labels, `scores` or `distribution`.
    """

    name: ClassVar[str]
    trivial: ClassVar[bool] = False
    convex: ClassVar[bool] = True
    exact_projection: ClassVar[bool] = True
    label_kind: ClassVar[str] = "scores"

    @property
    def limits(self) -> RowLimits | None:
        """The set as limits a row, or `None`."""
        return None

    @abstractmethod
    def project(self, labels: Tensor) -> Tensor:
        """Return allowed labels for `labels (m, C)`: the nearest ones in the Euclidean norm."""

    def lowest(self, gradient: Tensor) -> float:
        """Return the least `<gradient, S>` over allowed `S (m, C)`; `-inf` where there is none.

        With it `<gradient, Y> - lowest(gradient)` bounds what any labels can gain over `Y` under a
        convex objective (Frank and Wolfe 1956), which is the certificate of constrained solvers.
        """
        return float("-inf") if bool((gradient != 0).any()) else 0.0
