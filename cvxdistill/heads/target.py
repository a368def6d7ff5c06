"""The target's side of the label problem: how good given head weights are on the whole target."""

import dataclasses
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.errors import InputError
from cvxdistill.heads.fit import LinearFit
from cvxdistill.linalg import QuadraticRoot, root_of_normal_equations, root_of_rows
from cvxdistill.statistics import TargetStatistics

# Rows a block of the streaming QR: large enough that the triangle (d + C rows) on top of it adds
# little work, small enough that the float64 copy of a block stays small.
BLOCK_ROWS = 4096

Target: TypeAlias = TargetStatistics | tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class TargetRoot:
    r"""The penalised squared error of a linear head on the target, as a sum of squares.

    For head weights `V = [W; b] (d + 1, C)`,

        root.value(V) = |Zt W + 1 b' - T|^2 + lam |W|^2   (+ lam |b|^2, intercept penalised).

    Attributes:
        root: the quadratic in `V`, float64.
        count: number of target examples `n`, or the sum of their weights.
        full: the head that minimises it, the *full-data head*.
    """

    root: QuadraticRoot
    count: float
    full: LinearFit

    def gap(self, fit: LinearFit) -> float:
        """Return how far `fit` is above the full-data head, summed over the target.

        It is computed as `|F (V - V_full)|^2` and so without cancellation: a gap of 1e-20 of the
        value still has correct digits, where a difference of two values would be rounding.
        """
        difference = stack(fit) - stack(self.full)
        return float((self.root.factor @ difference).square().sum())

    def baseline_gap(self) -> float:
        """Return the gap of the best constant prediction: all that the full-data head explains."""
        constant = torch.zeros_like(stack(self.full))
        column = self.root.factor[:, -1]
        squares = float(column.square().sum())
        if squares > 0:
            constant[-1] = column @ self.root.rhs / squares
        return self.gap(LinearFit(constant[:-1], constant[-1]))


def stack(fit: LinearFit) -> Tensor:
    """Return `V = [W; b] (d + 1, C)`."""
    return torch.cat([fit.weights, fit.intercept[None]])


@dataclasses.dataclass(frozen=True, eq=False)
class SeenMoments:
    """The target's moments as a penalty sees them, before the penalty is added.

    With a free intercept features and labels are centred (`mean` and `label_mean` remember what
    was taken off); with a penalised one a column of ones is a feature like any other. `count` is
    the number of examples, or the sum of their weights.
    """

    intercept: str
    count: float
    mean: Tensor
    label_mean: Tensor
    trace: Tensor
    source: Target

    @classmethod
    def of(cls, target: Target, intercept: str) -> "SeenMoments":
        """Read the means and the trace of the Gram matrix off moments or off features.

        Raises:
            InputError: no examples, or features and labels that do not fit one another.
        """
        n: float
        if isinstance(target, TargetStatistics):
            # An example counts as often as it weighs.
            n, mean, label_mean = target.weight, target.feature_mean, target.label_mean
            if n == 0:
                weightless = f"{target.count} that weigh nothing" if target.count else "none"
                raise InputError(
                    f"the target must have examples; got moments of {weightless}. Call `update` "
                    "first."
                )
            centred = target.feature_scatter.trace()
        else:
            features, labels = target
            check_matrix("target features", features)
            check_matrix("target labels", labels, rows=len(features))
            n = len(features)
            mean = _blockwise_mean(features)
            label_mean = _blockwise_mean(labels)
            centred = torch.stack([(b - mean).square().sum() for b in _blocks(features)]).sum()
        extra = {"free": 0.0, "none": 0.0, "penalised": float(n)}[intercept]
        raw = 0.0 if intercept == "free" else n * mean.square().sum()
        return cls(intercept, n, mean, label_mean, centred + raw + extra, target)

    def root(self, lam: float) -> TargetRoot:
        """Return the target's sum of squares for the absolute penalty `lam`."""
        if isinstance(self.source, TargetStatistics):
            scatter, cross, total = self.normal_equations(self.source)
            eye = torch.eye(len(scatter), dtype=scatter.dtype, device=scatter.device)
            root = root_of_normal_equations(scatter + lam * eye, cross, total)
        else:
            root = root_of_rows(self._rows(*self.source, lam))
        solved = root.minimiser()
        if self.intercept == "penalised":
            return TargetRoot(root, self.count, LinearFit(solved[:-1], solved[-1]))
        factor = torch.nn.functional.pad(root.factor, (0, 1))
        rhs = root.rhs
        offset = torch.zeros_like(self.label_mean)
        if self.intercept == "free":
            # What is left of the squared error once the centred part is known: the error of the
            # mean prediction, n |W' mean z + b - mean t|^2.
            row = torch.cat([self.mean, self.mean.new_ones(1)]) * self.count**0.5
            factor = torch.cat([factor, row[None]])
            rhs = torch.cat([rhs, self.label_mean[None] * self.count**0.5])
            offset = self.label_mean - self.mean @ solved
        augmented = QuadraticRoot(factor, rhs, root.residual, root.rank)
        return TargetRoot(augmented, self.count, LinearFit(solved, offset))

    def normal_equations(self, statistics: TargetStatistics) -> tuple[Tensor, Tensor, float]:
        """Return the Gram matrix `(q, q)`, the cross products `(q, C)` and the labels' square."""
        scatter, cross = statistics.feature_scatter, statistics.cross_scatter
        total = float(statistics.label_scatter.trace())
        if self.intercept == "free":
            return scatter, cross, total
        mean = self.mean
        if self.intercept == "penalised":
            # A column of ones has mean one and no scatter.
            mean = torch.cat([mean, mean.new_ones(1)])
            scatter = torch.nn.functional.pad(scatter, (0, 1, 0, 1))
            cross = torch.nn.functional.pad(cross, (0, 0, 0, 1))
        scatter = scatter + self.count * torch.outer(mean, mean)
        cross = cross + self.count * torch.outer(mean, self.label_mean)
        return scatter, cross, total + self.count * float(self.label_mean.square().sum())

    def _rows(
        self, features: Tensor, labels: Tensor, lam: float
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield blocks of rows as the penalty sees them, the penalty's own rows last."""
        q = features.shape[1] + (self.intercept == "penalised")
        for z, t in zip(_blocks(features), _blocks(labels), strict=True):
            if self.intercept == "free":
                yield z - self.mean, t - self.label_mean
            elif self.intercept == "penalised":
                yield torch.cat([z, z.new_ones(len(z), 1)], dim=1), t
            else:
                yield z, t
        if lam > 0:
            eye = torch.eye(q, dtype=torch.float64, device=features.device)
            yield eye * lam**0.5, eye.new_zeros(q, labels.shape[1])


def _blocks(matrix: Tensor) -> Iterator[Tensor]:
    return (block.to(torch.float64) for block in matrix.detach().split(BLOCK_ROWS))


def _blockwise_mean(matrix: Tensor) -> Tensor:
    return torch.stack([block.sum(0) for block in _blocks(matrix)]).sum(0) / len(matrix)
