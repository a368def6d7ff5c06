"""Accelerated majorisation, for the cross-entropy of labels in a convex set."""

import dataclasses
import math
from typing import Protocol

from torch import Tensor

from cvxdistill.labels import LabelConstraint
from cvxdistill.solvers.quadratic import QuadraticProgram
from cvxdistill.solvers.softmax import SoftmaxObjective, SoftmaxState

# The Hessian of a softmax is at most one half of the identity; confident predictions have far
# less, so the steps start with a share of it and give way where the bound turns out too low.
FIRST_SHARE, LARGEST_SHARE = 1 / 16, 1 / 2
INNER_STEPS = 2000


class Bound(Protocol):
    """Judges states: `gap` is the relative gap proven so far."""

    gap: float
    tolerance: float

    def reached(self, state: SoftmaxState) -> bool:
        """Take in a state, and say whether it is good enough."""


@dataclasses.dataclass(eq=False)
class MajoriseResult:
    """Where the iteration ended, with its steps and the passes over the targets."""

    state: SoftmaxState
    steps: int
    passes: int


def majorise(
    objective: SoftmaxObjective,
    constraint: LabelConstraint,
    labels: Tensor,
    *,
    bound: Bound,
    max_steps: int,
) -> MajoriseResult:
    """Minimise the objective over a convex set of labels.

    Around a point `Z` the objective is below `<grad, Y - Z> + 1/2 |Y - Z|^2` in the norm of
    `L s^2 sum_e a_e H_e'H_e` plus the Hessian of penalty and prior, for `L = 1/2` at the latest.
    The bound is minimised over the set as a quadratic program; its conditioning then no longer
    counts, only that of the softmax. Steps are accelerated, and restarted where the objective
    rises.

    Args:
        objective: of the labels.
        constraint: convex, with an exact projection.
        labels: the start `(m, C)`, allowed.
        bound: judges each state.
        max_steps: limit of steps.

    References:
        Böhning and Lindsay 1988, "Monotonicity of quadratic-approximation algorithms",
        https://doi.org/10.1007/BF00049423; Beck and Teboulle 2009,
        https://doi.org/10.1137/080716542
    """
    gram, ridge, share = objective.gram(), objective.ridge(), FIRST_SHARE
    state = ahead = objective.at(labels)
    result, momentum = MajoriseResult(state, 0, 1), 1.0
    while not bound.reached(result.state) and result.steps < max_steps:
        state, gap = result.state, min(bound.gap, 1.0)
        inner = max(1e-3 * gap, 1e-2 * bound.tolerance) * abs(state.value)
        while True:
            matrix = share * gram + ridge
            program = QuadraticProgram(matrix, matrix @ ahead.labels - ahead.gradient, constraint)
            moved = program.minimise(state.labels, tolerance=inner, max_steps=INNER_STEPS).labels
            trial = objective.at(moved)
            result.passes += 1
            step = moved - ahead.labels
            model = ahead.value + float((ahead.gradient * step).sum())
            model += 0.5 * float((step * (matrix @ step)).sum())
            if share >= LARGEST_SHARE or trial.value <= model + inner:
                break
            share = min(2 * share, LARGEST_SHARE)
        result.steps += 1
        if trial.value > state.value and momentum > 1:
            momentum, ahead = 1.0, state
            continue
        following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
        push = (momentum - 1) / following
        momentum = following
        if trial.value <= state.value:
            result.state = trial
        ahead = trial
        if push > 0:
            ahead = objective.at(trial.labels + push * (trial.labels - state.labels))
            result.passes += 1
    return result
