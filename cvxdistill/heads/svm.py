"""The multi-class support vector machine of Crammer and Singer, with soft labels."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from cvxdistill.errors import SolveError
from cvxdistill.heads.coupled import Coupled
from cvxdistill.heads.design import RowSpace
from cvxdistill.heads.implicit import implicit
from cvxdistill.heads.interior_point import interior_point
from cvxdistill.heads.iterative import IterativeHead
from cvxdistill.linalg import solve_symmetric

# The interior-point solve goes as far as rounding lets it; the active set does the rest.
INNER_TOLERANCE = 1e-13
# Multipliers and slacks this far below zero, relative to the largest and to the margin, are
# rounding.
FEASIBLE = 1e-10
REPAIRS = 30


@dataclasses.dataclass(frozen=True)
class SVMHead(IterativeHead):
    r"""Crammer-Singer machine on soft labels, differentiable in features, labels and `l2`.

    Choose it where margins are wanted: labels of examples well inside their class drop out of
    the fit. Convex, but not linear in the labels, so labels for it come from first-order solvers.
    It minimises

        lam/2 |W|^2 + sum_i ( max_c (s_i f_ic + s_i - y_ic) - sum_c y_ic f_ic ),   f_i = z_i W + b,

    with row sums `s_i = sum_c y_ic` and `lam = l2`, or `l2 trace(Kb) / m` as in `RidgeHead`. A row
    `s q` with `q` a distribution counts `s` times the row `q`, for which this is
    `max_c (f_c + 1 - q_c) - sum_c q_c f_c`, and for true labels the loss of Crammer and Singer
    with `1 / l2` for their constant.

    An interior-point solve in `min(m, d)` coordinates a class finds the active set; the KKT
    equations on it are then solved exactly, and the duality gap is checked. Derivatives are those
    of the KKT equations on the active set. The solution is piecewise smooth: at a kink, where a
    multiplier and its slack are both zero, they are the derivatives of one of the pieces that
    meet there, an element of the generalised Jacobian. Inside a piece they are exact, second ones
    too. Everything is computed in float64; dtype and device of the input come back.

    Args:
        l2: strength of the penalty, above zero; a number, or a scalar tensor to differentiate
            through.
        l2_scale: `absolute`, or `trace` (relative to the mean squared norm of a feature row).
        intercept: `free` (the one with `sum_c b_c = 0`), `penalised` or `none`.
        tol: duality gap that is accepted, relative to the objective.
        max_steps: limit of interior-point steps.

    Raises:
        InputError: unknown option, or numbers out of range.

    References:
        Crammer and Singer 2001, "On the algorithmic implementation of multiclass kernel-based
        vector machines", https://www.jmlr.org/papers/v2/crammer01a.html; Lee et al. 2019,
        "Meta-learning with differentiable convex optimization", https://arxiv.org/abs/1904.03758

    Example:
        >>> Z = torch.tensor([[-1.0], [1.0]])
        >>> fit = SVMHead(l2=0.1).fit(Z, torch.eye(2))
        >>> fit(Z)
        tensor([[ 0.5000, -0.5000],
                [-0.5000,  0.5000]])
    """

    l2: float | Tensor = 1e-1
    l2_scale: str = "absolute"
    intercept: str = "free"
    tol: float = 1e-8
    max_steps: int = 100

    def _solve(self, z: Tensor, y: Tensor, lam: Tensor, *, free: bool) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            found = _solve(z, y, lam, free=free, max_steps=self.max_steps)
            self._check_gap(found, z, y, lam)
        solution = implicit(found.solution, found.kkt.residual, found.solve, z, y, lam)
        dual, b, _ = found.kkt.split(solution, y, lam)
        return -(z.mT @ dual), b

    def _check_gap(self, found: "_Found", z: Tensor, y: Tensor, lam: Tensor) -> None:
        dual, b, _ = found.kkt.split(found.solution, y, lam)
        total = y.sum(1, keepdim=True)
        weights = -(z.mT @ dual)
        primal = float(svm_objective(z, y, lam, weights, b))
        multipliers = (lam * dual + y).clamp_min(0.0)
        value = float(y.sum() - (multipliers * _shares(y)).sum() - lam / 2 * weights.square().sum())
        # How far the multipliers are from the constraints that the dual value takes for granted,
        # in units of the objective.
        off = float((multipliers.sum(1, keepdim=True) - total).abs().sum())
        if found.kkt.free:
            off += float(((multipliers - y).sum(0).abs() * (1 + b.abs())).sum())
        gap = abs(primal - value) + off
        size = abs(primal) + 1e-6 * float(total.sum())
        if not gap <= self.tol * size:
            raise SolveError(
                f"inaccurate: the SVM head has a duality gap of {gap:.1e} at objective "
                f"{primal:.3e}, above `tol` = {self.tol:.1e} of it. Raise `l2` or `tol`, or "
                "rescale the features."
            )


def svm_objective(z: Tensor, y: Tensor, lam: Tensor, weights: Tensor, b: Tensor) -> Tensor:
    """Return the objective at `weights (d, C)` and `b (C)`, a scalar."""
    logits = z @ weights + b
    total = y.sum(1, keepdim=True)
    hinge = (total * logits + total - y).amax(1) - (y * logits).sum(1)
    return lam / 2 * weights.square().sum() + hinge.sum()


@dataclasses.dataclass(frozen=True, eq=False)
class _Kkt:
    """The KKT equations on an active set, linear and symmetric, in `[D on it, b, xi / s]`.

    `D = (s a - Y) / lam (m, C)`, with multipliers `a`, is the unknown in place of `a`: weights are
    `-Z'D`, so a small `lam` magnifies no rounding. Outside the active set `a` is zero.

    Attributes:
        rows, columns: the active pairs of example and class.
        shape: `(m, C)`.
        free: whether `b` is unknown, else zero.
        tie: fixes the constant of a free `b`.
    """

    rows: Tensor
    columns: Tensor
    shape: tuple[int, int]
    free: bool
    tie: float

    def split(self, unknown: Tensor, y: Tensor, lam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return `D (m, C)`, `b (C)` and `xi / s (m)`."""
        (m, classes), active = self.shape, len(self.rows)
        dual = (-y / lam).index_put((self.rows, self.columns), unknown[:active])
        b = unknown[active : active + classes] if self.free else unknown.new_zeros(classes)
        return dual, b, unknown[-m:]

    def slack(self, unknown: Tensor, z: Tensor, y: Tensor, lam: Tensor) -> Tensor:
        """Return the slacks of all pairs, as shares of the row's weight, `(m, C)`."""
        dual, b, top = self.split(unknown, y, lam)
        return top[:, None] + z @ (z.mT @ dual) - b - 1 + _shares(y)

    def residual(self, unknown: Tensor, z: Tensor, y: Tensor, lam: Tensor) -> Tensor:
        """Return what is to be zero: active slacks, balance of a free intercept, row sums."""
        dual, b, _ = self.split(unknown, y, lam)
        parts = [self.slack(unknown, z, y, lam)[self.rows, self.columns], dual.sum(1)]
        if self.free:
            parts.insert(1, -dual.sum(0) - self.tie * b.sum())
        return torch.cat(parts)

    def jacobian(self, z: Tensor) -> Tensor:
        """Return the symmetric matrix of the equations."""
        (m, classes), active = self.shape, len(self.rows)
        size = active + (classes if self.free else 0) + m
        matrix = z.new_zeros(size, size)
        same = self.columns[:, None] == self.columns
        matrix[:active, :active] = (z @ z.mT)[self.rows][:, self.rows] * same
        index = torch.arange(active, device=z.device)
        links = [(size - m + self.rows, 1.0)]
        if self.free:
            links.append((active + self.columns, -1.0))
            matrix[active : active + classes, active : active + classes] = -self.tie
        for place, sign in links:
            matrix[index, place] = sign
            matrix[place, index] = sign
        return matrix


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    """A solution of the KKT equations, with the solve of their linearisation."""

    kkt: _Kkt
    solution: Tensor
    solve: Callable[[Tensor], Tensor]


def _shares(y: Tensor) -> Tensor:
    """Return each row of labels over its sum; a row without weight has no share in the hinge."""
    total = y.sum(1, keepdim=True)
    weighs = total > 0
    return torch.where(weighs, y / torch.where(weighs, total, 1.0), 0.0)


def _solve(z: Tensor, y: Tensor, lam: Tensor, *, free: bool, max_steps: int) -> _Found:
    """Find the active set by the interior-point method, then solve on it and repair it."""
    space = RowSpace.of(z)
    tie = float(y.sum()) / y.shape[1] ** 2 if free else 0.0
    parts = Coupled.of(space.coordinates, lam, free=free, tie=tie)
    inner = interior_point(parts, y, tol=INNER_TOLERANCE, max_steps=max_steps)
    total = y.sum(1, keepdim=True)
    weighs = total > 0
    safe = torch.where(weighs, total, 1.0)
    dual = (total * inner.multipliers - y) / lam
    rest = [inner.weights[-1]] if free else []
    rest.append((inner.top / safe).squeeze(1))
    active = (inner.multipliers > inner.slack / safe) & weighs
    first: _Found | None = None
    for _ in range(REPAIRS):
        rows, columns = active.nonzero(as_tuple=True)
        kkt = _Kkt(rows, columns, (len(y), y.shape[1]), free, tie)
        solve = solve_symmetric(kkt.jacobian(z))
        solution = start = torch.cat([dual[rows, columns], *rest])
        # The equations are linear; the second pass takes out the rounding of the first.
        for _ in range(2):
            solution = solution - solve(kkt.residual(solution, z, y, lam))
        first = first or _Found(kkt, start, solve)
        found = kkt.split(solution, y, lam)[0]
        wrong = active & (lam * found + y < -FEASIBLE * lam * found.abs().max())
        short = ~active & (kkt.slack(solution, z, y, lam) < -FEASIBLE) & weighs
        if not bool((wrong | short).any()):
            return _Found(kkt, solution, solve)
        active = (active & ~wrong) | short
    # A degenerate active set may go round in circles; the interior point is as good as its gap.
    assert first is not None
    return first
