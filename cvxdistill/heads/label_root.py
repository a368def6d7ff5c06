"""The target's squared error as a function of the base labels."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.heads.fit import LabelMap
from cvxdistill.heads.target import TargetRoot, stack
from cvxdistill.linalg import QuadraticRoot


@dataclasses.dataclass(frozen=True, eq=False)
class LabelRoot:
    r"""The penalised squared error of a head fitted to base labels `Y (m, C)`, a sum of squares.

        root.value(Y) = |H Y - T|^2 + lam |W(Y)|^2

    Attributes:
        root: the quadratic in `Y`, float64.
        count: number of target examples `n`, or the sum of their weights.
        full_value: the same at the full-data head, which no labels go below; `None` where that
            head is too large to be solved for.
        explained: how far the best constant prediction is above the full-data head, or `None`.
    """

    root: QuadraticRoot
    count: float
    full_value: float | None
    explained: float | None

    def gap(self, labels: Tensor) -> float | None:
        """Return how far the head of `labels` is above the full-data head, if that is known."""
        if self.full_value is None:
            return None
        return max(self.root.value(labels) - self.full_value, 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class LinearLabelRoot(LabelRoot):
    """The same for a head with finite weights, whose gap is computed without cancellation.

    Attributes:
        mapped: from labels to weights.
        target: the squared error as a function of the weights.
    """

    mapped: LabelMap
    target: TargetRoot

    @classmethod
    def of(cls, mapped: LabelMap, target: TargetRoot) -> "LinearLabelRoot":
        """Compose `|F V - g|^2` with `V = B Y`."""
        full_map = torch.cat([mapped.weights, mapped.intercept[None]])
        root = dataclasses.replace(target.root, factor=target.root.factor @ full_map)
        return cls(
            root=root,
            count=target.count,
            full_value=target.root.value(stack(target.full)),
            explained=target.baseline_gap(),
            mapped=mapped,
            target=target,
        )

    def gap(self, labels: Tensor) -> float:
        """Return how far the head of `labels` is above the full-data head."""
        return self.target.gap(self.mapped.fit(labels))
