r"""The interior-point solve of the Crammer-Singer machine.

In slack form the problem reads, with `x_i` the rows of the design, `f = X V` and row sums `s`,

    min  smooth(V) + sum_i xi_i - <Y, f>
    s.t. w_ic = xi_i - s_i f_ic - s_i + y_ic >= 0        (multipliers a_ic >= 0, sum_c a_ic = 1).

Eliminating `xi`, `w` and `a` from a Newton step leaves a system in `V` alone with the Laplacians
of weights `u_i = s_i sigma_i / sqrt(sum_c sigma_ic)`, `sigma = a / w`: the form of `coupled`.
"""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.errors import SolveError
from cvxdistill.heads.coupled import Coupled, CoupledHessian

# How far towards the boundary a step may go.
TO_BOUNDARY = 0.995
# Steps without progress after which, once below the bound, rounding is taken to be the limit.
STALLED, STALLED_BELOW = 4, 1e-7


@dataclasses.dataclass(frozen=True, eq=False)
class Iterate:
    """A point inside: weights `V (q, C)`, `xi (m, 1)`, slacks and multipliers `(m, C)`."""

    weights: Tensor
    top: Tensor
    slack: Tensor
    multipliers: Tensor

    def moved(self, step: "Iterate") -> "Iterate":
        """Return the point after the longest step in which slacks and multipliers stay positive.

        One length for both sides, since a quadratic objective couples them.
        """
        length = min(_longest(self.slack, step.slack), _longest(self.multipliers, step.multipliers))
        return Iterate(
            *(
                value + length * change
                for value, change in zip(_tensors(self), _tensors(step), strict=True)
            )
        )


def interior_point(parts: Coupled, labels: Tensor, *, tol: float, max_steps: int) -> Iterate:
    """Solve by Mehrotra's predictor and corrector, both from one factorisation.

    Args:
        parts: design and penalty.
        labels: `(m, C)` float64, with row sums of zero or more.
        tol: total complementarity and gradient norm, relative to the size of the data.
        max_steps: limit of steps.

    Raises:
        SolveError: the limit came first.

    References:
        Mehrotra 1992, "On the implementation of a primal-dual interior point method",
        https://doi.org/10.1137/0802028
    """
    total = labels.sum(1, keepdim=True)
    m, classes = labels.shape
    zeros = labels.new_zeros(parts.design.shape[1], classes)
    room = float(total.max().clamp_min(1e-300))
    top = (total - labels).amax(1, keepdim=True) + room
    now = Iterate(zeros, top, top - total + labels, labels.new_full((m, classes), 1.0 / classes))
    scale = max(float(parts.design.norm() * labels.norm()), 1e-300)
    worst, best, stalled = float("inf"), now, 0
    for _ in range(max_steps):
        gap, slope = _errors(parts, labels, total, now)
        reached = max(gap / _size(parts, labels, total, now), slope / scale)
        if reached <= tol:
            return now
        stalled = 0 if reached < worst else stalled + 1
        if reached < worst:
            worst, best = reached, now
        elif stalled >= STALLED and worst < STALLED_BELOW:
            # Rounding has taken over; whether the best is good enough is for the caller to judge.
            return best
        try:
            now = _step(parts, labels, total, now)
        except SolveError:
            return best
    raise SolveError(
        f"stopped early: the SVM head took {max_steps} interior-point steps and is at {worst:.1e}, "
        f"above {tol:.1e}. Raise `max_steps` or `l2`, or rescale the features."
    )


def _errors(parts: Coupled, labels: Tensor, total: Tensor, now: Iterate) -> tuple[float, float]:
    gradient = parts.design.mT @ (total * now.multipliers - labels)
    gradient = gradient + parts.smooth_gradient(now.weights)
    return float((now.slack * now.multipliers).sum()), float(gradient.norm())


def _size(parts: Coupled, labels: Tensor, total: Tensor, now: Iterate) -> float:
    """Return the objective, which on separable data is much smaller than the sum of weights."""
    value = parts.smooth_value(now.weights) + now.top.sum()
    value = value - (labels * (parts.design @ now.weights)).sum()
    return abs(float(value)) + 1e-6 * max(float(total.sum()), 1e-300)


def _step(parts: Coupled, labels: Tensor, total: Tensor, now: Iterate) -> Iterate:
    ratio = now.multipliers / now.slack
    ratio_sum = ratio.sum(1, keepdim=True)
    hessian = CoupledHessian.at(parts, total * ratio / ratio_sum.sqrt())
    product = now.slack * now.multipliers
    slack_error = now.slack - now.top + total * (parts.design @ now.weights) + total - labels
    gradient = parts.design.mT @ (total * now.multipliers - labels)
    gradient = gradient + parts.smooth_gradient(now.weights)
    row_error = now.multipliers.sum(1, keepdim=True) - 1

    def solve(target: Tensor) -> Iterate:
        """Solve for the step to complementarity products `target`."""
        push = (target - product) / now.slack + ratio * slack_error
        share = ratio / ratio_sum
        pushed = row_error + push.sum(1, keepdim=True)
        held = push - share * pushed
        weights = hessian(-gradient - parts.design.mT @ (total * held))
        moved = total * (parts.design @ weights)
        top = pushed / ratio_sum + (share * moved).sum(1, keepdim=True)
        slack = top - moved - slack_error
        return Iterate(weights, top, slack, (target - product) / now.slack - ratio * slack)

    predicted = solve(torch.zeros_like(product))
    reach = now.moved(predicted)
    mean = float(product.mean())
    centring = (max(float((reach.slack * reach.multipliers).mean()), 0.0) / mean) ** 3
    target = centring * mean - predicted.slack * predicted.multipliers
    return now.moved(solve(target))


def _longest(value: Tensor, step: Tensor) -> float:
    limit = torch.where(step < 0, -value / step.clamp_max(-1e-300), torch.inf)
    return min(1.0, TO_BOUNDARY * float(limit.min()))


def _tensors(point: Iterate) -> tuple[Tensor, ...]:
    return point.weights, point.top, point.slack, point.multipliers
