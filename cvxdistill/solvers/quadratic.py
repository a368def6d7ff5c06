r"""Quadratic label problems over a convex set: accelerated projection, then interior point.

The problem is `min 1/2 <Y, Q Y> - <B, Y>` over an allowed set, one matrix for all classes. Its
certificate is the Frank-Wolfe gap `<grad, Y> - min_S <grad, S>`, which bounds what any allowed `S`
can gain over `Y`, since a convex function lies above its tangent.
"""

import dataclasses
import math

import torch
from torch import Tensor

from cvxdistill.labels import LabelConstraint
from cvxdistill.solvers.interior import InteriorPoint

# Projected steps before the interior point method takes over at the latest: on a pool of drawn
# ConvNets a hundred are enough, and where three hundred are not, thousands seldom are. A whole
# interior solve costs as much as two hundred, so where more than that are in sight it is cheaper.
FIRST_STEPS, IN_SIGHT = 300, 200
CHECK_EVERY = 20
INTERIOR_STEPS = 60
BEYOND = 1e-2


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticResult:
    """What the minimisation found.

    Attributes:
        labels: `(m, C)`, allowed.
        gap: proven upper bound of `objective - optimum`; infinite where nothing is proven.
        steps: projected gradient steps.
        interior_steps: steps of the interior point method.
    """

    labels: Tensor
    gap: float
    steps: int
    interior_steps: int


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticProgram:
    """`min 1/2 <Y, Q Y> - <B, Y>` over a convex set of labels.

    Attributes:
        matrix: `Q (m, m)` float64, symmetric positive semidefinite.
        linear: `B (m, C)` float64.
        constraint: convex, with an exact projection.

    Example:
        >>> from cvxdistill.labels import Simplex
        >>> Q, B = torch.eye(1, dtype=torch.float64), torch.tensor([[2.0, 0.0]]).double()
        >>> program = QuadraticProgram(Q, B, Simplex())
        >>> program.minimise(torch.zeros_like(B), tolerance=1e-9, max_steps=50).labels.tolist()
        [[1.0, 0.0]]
    """

    matrix: Tensor
    linear: Tensor
    constraint: LabelConstraint

    def gradient(self, labels: Tensor) -> Tensor:
        """Return the gradient `Q Y - B`."""
        return self.matrix @ labels - self.linear

    def gap(self, labels: Tensor) -> float:
        """Return the Frank-Wolfe gap at allowed `labels (m, C)`, at least zero.

        In a set without end, the gap is taken over the part that can hold better labels: those
        lie in an ellipsoid around the free minimiser, which the limits of a row then enclose.
        """
        gradient = self.gradient(labels)
        gap = float((gradient * labels).sum()) - self.constraint.lowest(gradient)
        if not math.isfinite(gap):
            gap = self._gap_in_reach(labels, gradient)
        return max(gap, 0.0)

    def _gap_in_reach(self, labels: Tensor, gradient: Tensor) -> float:
        limits = self.constraint.limits
        factor, info = torch.linalg.cholesky_ex(self.matrix)
        if limits is None or limits.total is not None or bool(info):
            return math.inf
        # No better labels are further from the free minimiser, in the norm of `Q`, than these.
        excess = torch.linalg.solve_triangular(factor, gradient, upper=False).square().sum()
        free = labels - torch.cholesky_solve(gradient, factor)
        reach = (torch.cholesky_inverse(factor).diagonal() * excess).sqrt()[:, None]
        low = (free - reach).clamp_min(limits.low)
        high = (free + reach).clamp_max(limits.high)
        ends = torch.where(gradient > 0, low, high)
        return float((gradient * (labels - ends)).sum())

    def mapping(self, labels: Tensor, largest: float) -> Tensor:
        """Return the gradient mapping, `L (Y - project(Y - grad / L))`; zero at the optimum."""
        moved = self.constraint.project(labels - self.gradient(labels) / largest)
        return largest * (labels - moved)

    def minimise(self, start: Tensor, *, tolerance: float, max_steps: int) -> QuadraticResult:
        """Minimise until the gap is at most `tolerance`, or until `max_steps` projected steps.

        Args:
            start: `(m, C)`, projected first.
            tolerance: absolute.
            max_steps: projected steps in all.

        References:
            Beck and Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm",
            https://doi.org/10.1137/080716542; O'Donoghue and Candes 2015, "Adaptive restart for
            accelerated gradient schemes", https://doi.org/10.1007/s10208-013-9150-3
        """
        start = self.constraint.project(start)
        if not self._has_interior():
            return self._accelerate(start, tolerance, max_steps)
        first = min(max_steps, FIRST_STEPS)
        result = self._accelerate(start, tolerance, first, patience=IN_SIGHT)
        if result.gap <= tolerance or result.steps >= max_steps:
            return result
        result = self._interior(result, tolerance)
        if result.gap <= tolerance:
            return result
        more = self._accelerate(result.labels, tolerance, max_steps - result.steps)
        best = more if more.gap <= result.gap else result
        return dataclasses.replace(
            best, steps=result.steps + more.steps, interior_steps=result.interior_steps
        )

    def _has_interior(self) -> bool:
        limits = self.constraint.limits
        return limits is not None and (math.isfinite(limits.low) or math.isfinite(limits.high))

    def _accelerate(
        self, labels: Tensor, tolerance: float, max_steps: int, patience: float = math.inf
    ) -> QuadraticResult:
        """Accelerated projected gradient, restarted where momentum points uphill.

        It gives up where, at the pace of late, more than `patience` steps are still to come.
        """
        largest = largest_eigenvalue(self.matrix)
        best, smallest = labels, self.gap(labels)
        seen = [smallest]
        ahead, momentum, step = labels, 1.0, 0
        while step < max_steps and smallest > tolerance:
            moved = self.constraint.project(ahead - self.gradient(ahead) / largest)
            step += 1
            if float(((ahead - moved) * (moved - labels)).sum()) > 0:
                momentum, ahead = 1.0, moved
            else:
                following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
                ahead = moved + (momentum - 1) / following * (moved - labels)
                momentum = following
            labels = moved
            if step % CHECK_EVERY == 0 or step == max_steps:
                gap = self.gap(labels)
                if gap < smallest:
                    best, smallest = labels, gap
                seen.append(smallest)
                if len(seen) > 3 and _steps_to_come(seen, tolerance) > patience:
                    break
        return QuadraticResult(best, smallest, step, 0)

    def _interior(self, result: QuadraticResult, tolerance: float) -> QuadraticResult:
        limits = self.constraint.limits
        assert limits is not None, "checked by minimise"
        solver = InteriorPoint(self.matrix, self.linear, limits)
        best, smallest, taken = result.labels, result.gap, 0
        # A few steps more cost little, and leave a small gradient beside a small gap.
        while taken < INTERIOR_STEPS and smallest > BEYOND * tolerance and solver.step():
            taken += 1
            labels = self.constraint.project(solver.labels)
            gap = self.gap(labels)
            if gap < smallest:
                best, smallest = labels, gap
            elif smallest <= tolerance:
                break
        return QuadraticResult(best, smallest, result.steps, taken)


def _steps_to_come(gaps: list[float], tolerance: float) -> float:
    """Return how many steps are left at the pace of the last two checks."""
    if not 0 < gaps[-1] < gaps[-3] or gaps[-1] <= tolerance:
        return 0.0 if gaps[-1] <= tolerance else math.inf
    pace = math.log(gaps[-3] / gaps[-1]) / (2 * CHECK_EVERY)
    return math.log(gaps[-1] / max(tolerance, 1e-300)) / pace


def largest_eigenvalue(matrix: Tensor) -> float:
    """Return the largest eigenvalue of a symmetric positive semidefinite matrix, above zero."""
    return max(float(torch.linalg.eigvalsh(matrix)[-1]), 1e-300)
