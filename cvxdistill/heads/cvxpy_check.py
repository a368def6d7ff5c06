"""Checks of a cone solver's answer: optimality conditions, the user's own problem, the gradient."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import diffcp.cones  # type: ignore[import-untyped]
import numpy as np
import torch
from torch import Tensor

from cvxdistill.errors import GradientWarning, SolveError
from cvxdistill.seeding import generator

# Steps of the central differences, as a fraction of the largest label. A kink of the problem
# spoils the large ones, the solver's tolerance the small ones; a right gradient agrees with one.
STEPS = (1e-3, 1e-4, 1e-2)


@dataclasses.dataclass(frozen=True, eq=False)
class ConeProgram:
    """`min c'x` subject to `Ax + s = b`, `s` in the product of `cones` (SCS's order)."""

    A: Any
    b: np.ndarray
    c: np.ndarray
    cones: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Residuals:
    """How far an answer is from the optimality conditions of a cone program, relative.

    Attributes:
        primal: of `Ax + s = b`.
        dual: of `A'y + c = 0`.
        gap: of `c'x + b'y = 0`.
        cone: of `s` and `y` in the cone and its dual.
    """

    primal: float
    dual: float
    gap: float
    cone: float

    @property
    def worst(self) -> float:
        """The largest; infinite when one is NaN."""
        values = (self.primal, self.dual, self.gap, self.cone)
        return max(values) if all(np.isfinite(values)) else float("inf")

    def __str__(self) -> str:
        return (
            f"residuals primal {self.primal:.1e}, dual {self.dual:.1e}, gap {self.gap:.1e}, "
            f"cone {self.cone:.1e}"
        )


def cone_residuals(program: ConeProgram, x: np.ndarray, y: np.ndarray, s: np.ndarray) -> Residuals:
    """Return the residuals of a primal, dual and slack vector, from the data alone."""
    if not all(np.isfinite(value).all() for value in (x, y, s)):
        return Residuals(*[float("inf")] * 4)
    a, b, c = program.A, program.b, program.c
    cones = diffcp.cones.parse_cone_dict(program.cones)
    ax, aty = a @ x, a.T @ y
    cx, by = float(c @ x), float(b @ y)
    return Residuals(
        primal=_size(ax + s - b) / (1 + max(_size(ax), _size(s), _size(b))),
        dual=_size(aty + c) / (1 + max(_size(aty), _size(c))),
        gap=abs(cx + by) / (1 + min(abs(cx), abs(by))),
        cone=max(
            _size(s - diffcp.cones.pi(s, cones)) / (1 + _size(s)),
            _size(y - diffcp.cones.pi(y, cones, dual=True)) / (1 + _size(y)),
        ),
    )


def check_own_problem(
    problem: Any, values: dict[Any, np.ndarray], *, objective: float, gap: float, tolerance: float
) -> None:
    """Check values in the user's own constraints and objective; parameters are already set.

    Args:
        problem: the user's `cvxpy.Problem`.
        values: of every variable.
        objective: as the cone program has it, up to the sense.
        gap: between the cone program's primal and dual objective, relative to `1 + |objective|`.
        tolerance: largest relative violation.

    Raises:
        SolveError: a constraint is violated, the objective is another, or it is so small that the
            solver's absolute tolerance hides it.
    """
    with np.errstate(all="ignore"):
        for variable in values:
            variable.save_value(np.zeros(variable.shape))
        at_zero = _number(problem.objective.expr.value)
        for variable, value in values.items():
            variable.save_value(value)
        found = _number(problem.objective.expr.value)
        worst = max((_violation(constraint) for constraint in problem.constraints), default=0.0)
    scale = 1 + max((_size(value) for value in values.values()), default=0.0)
    if not worst <= 10 * tolerance * scale:
        raise SolveError(
            f"expected a solution that meets the problem's own constraints; the worst is violated "
            f"by {worst:.1e}. Rescale the problem, or lower the solver's tolerances."
        )
    if not abs(found - objective) <= 100 * tolerance * (1 + abs(objective)):
        raise SolveError(
            f"expected the objective {objective:.6g} that the solver reports; the problem's own "
            f"objective at its answer is {found:.6g}. Rescale the problem."
        )
    # All solvers stop at an absolute gap. Where the whole objective is smaller than it, any
    # answer passes; zero labels, whose objective is zero at zero weights, are no such case.
    natural = max(abs(objective), abs(at_zero))
    if np.isfinite(at_zero) and at_zero != 0 and gap * (1 + abs(objective)) > 1e-3 * natural:
        raise SolveError(
            f"expected an objective that the solver can see; it is of size {natural:.1e} with a "
            f"duality gap of {gap * (1 + abs(objective)):.1e}. Scale features and labels towards 1."
        )


def check_gradient(
    solve: Callable[[Tensor], Tensor], labels: Tensor, *, tolerance: float, action: str
) -> None:
    r"""Compare the layer's gradient with respect to the labels with central differences.

    For a random projection `L(Y) = <G, solve(Y)>`, the derivative of `L` along a random direction
    and along its own gradient must be what `(L(Y + hU) - L(Y - hU)) / 2h` says, for one of three
    steps `h`.

    Args:
        solve: from labels `(m, C)`, float64, to all outputs in one vector.
        labels: where to compare.
        tolerance: largest relative error.
        action: `refuse` raises, `warn` warns.

    Raises:
        SolveError: the gradient is wrong, or cannot be compared, and `action` is `refuse`.
    """
    try:
        message = _compare_gradient(solve, labels, tolerance)
    except SolveError as error:
        message = f"the gradient could not be compared with finite differences: {error}"
    if message is None:
        return
    advice = (
        ' Use derivative="dense", raise `l2`, add a strongly convex term, or choose a head with '
        'its own gradient; `gradient_check="warn"` or `"off"` goes on regardless.'
    )
    if action == "refuse":
        raise SolveError(message + advice)
    warnings.warn(message + advice, GradientWarning, stacklevel=2)


def _compare_gradient(
    solve: Callable[[Tensor], Tensor], labels: Tensor, tolerance: float
) -> str | None:
    source = generator(0, "heads", "cvxpy", "gradient check")
    point = labels.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        out = solve(point)
        probe = torch.randn(out.shape, generator=source, dtype=out.dtype)
        (gradient,) = torch.autograd.grad((probe * out).sum(), point)
    size = max(float(labels.abs().max()), 1e-3)
    directions = [torch.randn(labels.shape, generator=source, dtype=labels.dtype)]
    if float(gradient.norm()) > 0:
        directions.append(gradient / gradient.abs().max())
    # What the solver's tolerance alone makes of a zero derivative.
    noise = 1e-6 * max(1.0, float((probe * out.detach()).abs().sum()) / size)
    for direction in directions:
        claimed = float((gradient * direction).sum())
        tried: list[tuple[float, float, float]] = []
        for step in STEPS:
            h = step * size
            with torch.no_grad():
                above, below = solve(labels + h * direction), solve(labels - h * direction)
            found = float((probe * (above - below)).sum()) / (2 * h)
            error = abs(found - claimed) / max(abs(found), abs(claimed), noise / tolerance)
            tried.append((error, found, h))
            if error <= tolerance:
                break
        else:
            error, found, h = min(tried)
            return (
                f"expected a gradient in the labels within {tolerance:.0e} of central differences; "
                f"got {claimed:.6g} where differences with step {h:.1e} say {found:.6g}, a "
                f"relative error of {error:.1e}."
            )
    return None


def _size(value: np.ndarray) -> float:
    return float(np.abs(value).max()) if np.size(value) else 0.0


def _number(value: Any) -> float:
    return float("nan") if value is None else float(np.asarray(value).squeeze())


def _violation(constraint: Any) -> float:
    return _size(np.asarray(constraint.violation(), dtype=float))
