"""First-order steps in the labels as a run that can stop after any step and go on later."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_positive
from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import Simplex, SquaredLoss
from cvxdistill.problem import Certificate, LabelProblem, LabelSolution, Status
from cvxdistill.seeding import generator
from cvxdistill.solvers.autograd import FullPass, StochasticObjective
from cvxdistill.solvers.exact import certify
from cvxdistill.solvers.projected import ProjectedSolver
from cvxdistill.students import pack_optimiser, unpack_optimiser

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
# How often the whole target is looked at, and the share of uniform labels in a start for problems
# that are not convex: some heads have no gradient at the corners of the simplex.
CHECKS = 10
SOFTENED = 0.1


@dataclasses.dataclass(frozen=True)
class DescentOptions:
    """How the steps are taken.

    Attributes:
        optimiser: `adam` or `sgd`.
        learning_rate: of the first step; it falls to zero along a half cosine.
        steps: number of steps.
        batch_size: target examples a step; all of them where there are no more.
        tolerance: of the projected gradient, relative to the gradient at the start.
        seed: of the batches.

    Raises:
        InputError: options out of range.
    """

    optimiser: str = "adam"
    learning_rate: float = 0.02
    steps: int = 500
    batch_size: int = 1024
    tolerance: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_positive("learning_rate", self.learning_rate)
        check_positive("tolerance", self.tolerance)
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be 1 or more; got {getattr(self, name)}.")

    @property
    def every(self) -> int:
        """Steps between two looks at the whole target."""
        return max(self.steps // CHECKS, 1)


class LabelDescent:
    """Projected steps in the labels along gradients through the head's fit.

    Each step draws one extractor and a batch of its target, fits the head to the labels so far,
    takes an optimiser's step and projects onto the constraint. The whole target is looked at ten
    times on the way; the best labels of these looks, the start included, are the solution. The
    draws of a step follow from the seed and its number, so that a run restored from `state` ends
    with the same bits.

    Args:
        problem: on features and labels.
        options: how the steps are taken.
        start: `(m, C)` labels; else the prior, else zeros, or where the problem is not convex the
            distributions that a ridge head wants, softened.

    Raises:
        InputError: a `start` of another shape.
    """

    def __init__(
        self, problem: LabelProblem, options: DescentOptions, *, start: Tensor | None = None
    ) -> None:
        self._problem, self._options = problem, options
        self._objective = StochasticObjective(problem)
        labels = start_labels(problem, start).detach().to(torch.float64)
        self._first = self._objective.full(problem.constraint.project(labels))
        self._reference = max(float(self._first.gradient.norm()), 1e-300)
        self._best = self._last = self._first
        self._done = 0
        self._set(self._first.labels)

    def _set(self, labels: Tensor) -> None:
        self._labels = labels.clone().requires_grad_()
        kind = OPTIMISERS[self._options.optimiser]
        self._optimiser = kind([self._labels], lr=self._options.learning_rate)

    @property
    def at_rest(self) -> bool:
        """Whether further steps are of no use: the tolerance is met, or the numbers are lost."""
        return not math.isfinite(self._last.value) or self._good(self._last)

    def step(self, index: int) -> None:
        """Take the step of this number, counted from 0."""
        options, labels = self._options, self._labels
        rate = 0.5 * (1 + math.cos(math.pi * index / options.steps))
        self._optimiser.param_groups[0]["lr"] = options.learning_rate * rate
        self._optimiser.zero_grad()
        draws = generator(options.seed, "label descent", index)
        self._objective.sample(labels, draws, options.batch_size).backward()
        self._optimiser.step()
        with torch.no_grad():
            labels.copy_(self._problem.constraint.project(labels))
        self._done = index + 1
        if self._done % options.every == 0 or self._done == options.steps:
            self._last = self._objective.full(labels.detach().clone())
            if self._last.value < self._best.value:
                self._best = self._last

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on."""
        looks = {"best": self._best, "last": self._last}
        return {
            "labels": self._labels.detach().clone(),
            "done": torch.tensor(self._done),
            **{
                # Copies, since the best look often is the last one, and files share no tensors.
                f"{name}.{field}": torch.as_tensor(
                    getattr(look, field), dtype=torch.float64
                ).clone()
                for name, look in looks.items()
                for field in ("labels", "value", "gradient")
            },
            **pack_optimiser(self._optimiser, "optimiser"),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self._set(state["labels"])
        unpack_optimiser(self._optimiser, state, "optimiser")
        self._done = int(state["done"])
        self._best, self._last = (
            FullPass(
                state[f"{name}.labels"].clone(),
                float(state[f"{name}.value"]),
                state[f"{name}.gradient"].clone(),
            )
            for name in ("best", "last")
        )

    def solution(self, *, judge: LabelProblem | None = None) -> LabelSolution:
        """Return the best labels seen, the present ones included; no step is taken.

        Args:
            judge: the same problem in a form whose certificate is cheaper, such as moments.
        """
        last = self._last
        if not torch.equal(last.labels, self._labels):
            last = self._objective.full(self._labels.detach().clone())
        best = last if last.value < self._best.value else self._best
        finite = math.isfinite(best.value) and bool(torch.isfinite(best.labels).all())
        ended = Status.SOLVED if self._good(best) else Status.STOPPED_EARLY
        return LabelSolution(
            labels=best.labels.to(self._problem.base_features[0].dtype),
            label_kind=self._problem.constraint.label_kind,
            status=ended if finite else Status.FAILED,
            objective=best.value,
            certificate=self._certificate(best, judge or self._problem),
            stats={
                "steps": float(self._done),
                "objective_start": self._first.value,
                "objective_last": last.value,
                "objective_best": best.value,
            },
        )

    def _good(self, at: FullPass) -> bool:
        return _mapping(self._problem, at) <= self._options.tolerance * self._reference

    def _certificate(self, at: FullPass, judge: LabelProblem) -> Certificate:
        problem = self._problem
        optimality = _mapping(problem, at) / self._reference
        gap = frank_wolfe(problem, at)
        if problem.loss.quadratic and problem.head.label_linear:
            known = certify(judge, at.labels, optimality=optimality)
            return dataclasses.replace(known, gap_bound=gap)
        rank, full_rank = problem.base_rank
        pull = 0.0
        if problem.prior is not None:
            pull = problem.prior_weight * float((at.labels - problem.prior).square().sum())
        return Certificate(at.value - pull, None, None, rank, full_rank, optimality, gap)


def start_labels(problem: LabelProblem, start: Tensor | None) -> Tensor:
    """Return labels `(m, C)` to start from, not yet projected.

    Raises:
        InputError: a `start` of another shape.
    """
    shape = problem.num_examples, problem.num_classes
    if start is not None:
        if tuple(start.shape) != shape:
            raise InputError(f"`start` must be of shape {shape}; got {tuple(start.shape)}.")
        return start
    if problem.prior is not None:
        return problem.prior
    zeros = problem.base_features[0].new_zeros(shape, dtype=torch.float64)
    if problem.head.label_linear and problem.constraint.convex:
        return zeros
    easy = dataclasses.replace(
        problem, head=RidgeHead(), loss=SquaredLoss(), constraint=Simplex(), target_l2=None
    )
    labels = ProjectedSolver().solve(easy).labels.to(torch.float64)
    return (1 - SOFTENED) * labels + SOFTENED / shape[1]


def frank_wolfe(problem: LabelProblem, at: FullPass) -> float | None:
    """Return the relative gap at labels of a convex problem over a bounded set, else `None`.

    A subgradient is enough, and so is a set inside a convex one whose corners it has.
    """
    if not (problem.head.label_linear and problem.loss.convex):
        return None
    gap = float((at.gradient * at.labels).sum()) - problem.constraint.lowest(at.gradient)
    gap = max(gap, 0.0) / max(abs(at.value), 1e-300)
    return gap if math.isfinite(gap) else None


def _mapping(problem: LabelProblem, at: FullPass) -> float:
    """Return the norm of a projected unit step."""
    moved = problem.constraint.project(at.labels - at.gradient)
    return float((at.labels - moved).norm())
