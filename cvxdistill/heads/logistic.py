"""Multinomial logistic regression with soft labels."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.errors import SolveError
from cvxdistill.heads.coupled import Coupled, CoupledHessian
from cvxdistill.heads.design import RowSpace
from cvxdistill.heads.implicit import implicit
from cvxdistill.heads.iterative import IterativeHead

# Armijo's constant and the smallest step of the line search.
SUFFICIENT, SHORTEST = 1e-4, 2.0**-40
# Below this predicted decrease, relative to the objective, differences of the objective are
# rounding, and the full Newton step is taken on trust.
NOISE = 1e-11


@dataclasses.dataclass(frozen=True)
class LogisticHead(IterativeHead):
    r"""Multinomial logistic regression on soft labels, differentiable in features, labels, `l2`.

    Choose it when the last layer is to be trained by cross-entropy. It is convex, but not linear
    in the labels, so labels for it come from first-order solvers. It minimises

        sum_i CE(softmax(z_i W + b), y_i) + lam/2 |W|^2,    CE(p, y) = -sum_c y_c log p_c,

    with `lam = l2`, or `l2 trace(Kb) / m` as in `RidgeHead`. A row of labels weighs as its sum: a
    row `s q` with `q` a distribution counts `s` times. Single entries may be negative, as
    they become between the steps of an optimiser, since the objective is convex wherever every
    row has a sum of zero or more.

    Newton steps with a line search, on the exact Hessian in `min(m, d)` coordinates a class;
    beyond 4000 unknowns the steps come from conjugate gradients. Derivatives of any order are
    implicit, through the optimality condition, with the Hessian at the optimum. Everything is
    computed in float64; dtype and device of the input come back.

    A free intercept is determined up to a constant over the classes; the one of least norm,
    `sum_c b_c = 0`, is returned, since it is the limit of a vanishing penalty.

    Args:
        l2: strength of the penalty, above zero; a number, or a scalar tensor to differentiate
            through. Without a penalty separable data have no minimiser.
        l2_scale: `absolute` (`1 / C` of scikit-learn) or `trace` (relative to the mean squared
            norm of a feature row).
        intercept: `free`, `penalised` (a column of ones inside the penalty) or `none`.
        tol: norm of the gradient, relative to `|Z| |Y|`, at which the solve ends; one more Newton
            step is taken from there.
        max_steps: limit of Newton steps.

    Raises:
        InputError: unknown option, or numbers out of range.

    References:
        Böhning 1992, "Multinomial logistic regression algorithm",
        https://doi.org/10.1007/BF00048682

    Example:
        >>> Z = torch.tensor([[-1.0], [1.0]])
        >>> fit = LogisticHead(l2=1.0).fit(Z, torch.tensor([[0.9, 0.1], [0.1, 0.9]]))
        >>> fit(Z).argmax(1).tolist()
        [0, 1]
    """

    l2: float | Tensor = 1e-2
    l2_scale: str = "absolute"
    intercept: str = "free"
    tol: float = 1e-10
    max_steps: int = 100

    def _solve(self, z: Tensor, y: Tensor, lam: Tensor, *, free: bool) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            space = RowSpace.of(z)
            tie = float(y.sum()) / y.shape[1] ** 2
            parts = Coupled.of(space.coordinates, lam, free=free, tie=tie)
            optimum, hessian = self._newton(parts, y)
        rows = space.coordinates.shape[1]

        def residual(weights: Tensor, z: Tensor, y: Tensor, lam: Tensor) -> Tensor:
            w, b = (weights[:-1], weights[-1]) if free else (weights, 0.0)
            error = (z @ w + b).softmax(1) * y.sum(1, keepdim=True) - y
            slope = z.mT @ error + lam * w
            if not free:
                return slope
            return torch.cat([slope, (error.sum(0) + tie * weights[-1].sum())[None]])

        def solve(rhs: Tensor) -> Tensor:
            """Solve in the row space; on its complement the Hessian is `lam` times the identity."""
            with torch.no_grad():
                wide, rest = (rhs[:-1], rhs[-1:]) if free else (rhs, rhs[:0])
                inside = space.down(wide)
                solved = hessian(torch.cat([inside, rest]))
                outside = (wide - space.up(inside)) / lam
                return torch.cat([space.up(solved[:rows]) + outside, solved[rows:]])

        start = torch.cat([space.up(optimum[:rows]), optimum[rows:]])
        weights = implicit(start, residual, solve, z, y, lam)
        return (weights[:-1], weights[-1]) if free else (weights, weights[0])

    def _newton(self, parts: Coupled, labels: Tensor) -> tuple[Tensor, CoupledHessian]:
        """Return the optimum in coordinates, and the Hessian there."""
        total = labels.sum(1, keepdim=True)
        scale = max(float(parts.design.norm() * labels.norm()), 1e-300)
        point = labels.new_zeros(parts.design.shape[1], labels.shape[1])
        size = float("inf")
        for _ in range(self.max_steps + 1):
            share = (parts.design @ point).softmax(1)
            gradient = parts.design.mT @ (total * share - labels) + parts.smooth_gradient(point)
            hessian = CoupledHessian.at(parts, total.sqrt() * share)
            step = -hessian(gradient)
            size = float(gradient.norm()) / scale
            if size <= self.tol:
                return point + step, hessian
            length = _line_search(parts, labels, point, step, float((gradient * step).sum()))
            point = point + length * step
        raise SolveError(
            f"stopped early: the logistic head took {self.max_steps} Newton steps and has a "
            f"relative gradient norm of {size:.1e}, above {self.tol:.1e}. Raise `max_steps`, `tol` "
            "or `l2`, or rescale the features."
        )


def objective(parts: Coupled, labels: Tensor, point: Tensor) -> Tensor:
    """Return the penalised cross-entropy of weights `point (q, C)`, a scalar."""
    logits = parts.design @ point
    entropy = labels.sum(1) * logits.logsumexp(1) - (labels * logits).sum(1)
    return entropy.sum() + parts.smooth_value(point)


def _line_search(
    parts: Coupled, labels: Tensor, point: Tensor, step: Tensor, slope: float
) -> float:
    """Halve the Newton step until it decreases the objective enough (Armijo)."""
    here = float(objective(parts, labels, point))
    if -slope <= NOISE * abs(here):
        return 1.0
    length = 1.0
    while length > SHORTEST:
        if float(objective(parts, labels, point + length * step)) <= (
            here + SUFFICIENT * length * slope
        ):
            return length
        length /= 2
    return length
