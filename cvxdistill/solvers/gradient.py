"""First-order steps in the labels, through any head and any loss."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_positive
from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import Simplex, SquaredLoss
from cvxdistill.problem import Certificate, LabelProblem, LabelSolution, LabelSolver, Status
from cvxdistill.seeding import generator
from cvxdistill.solvers.autograd import FullPass, StochasticObjective
from cvxdistill.solvers.exact import certify
from cvxdistill.solvers.options import check_limits
from cvxdistill.solvers.projected import ProjectedSolver

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
# How often the whole target is looked at, and the share of uniform labels in a start for problems
# that are not convex: some heads have no gradient at the corners of the simplex.
CHECKS = 10
SOFTENED = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class GradientSolver(LabelSolver):
    r"""Labels by Adam or SGD through the head's fit, projected after each step.

    Choose it where nothing exact is to be had: heads that are not linear in the labels, the hinge,
    sparse labels, user-defined heads. Each step draws one extractor and a batch of its target, fits
    the head to the labels so far, and takes a gradient step in the labels; the learning rate falls
    to zero along a half cosine. The whole target is looked at ten times on the way, and the best of
    these labels, the start included, come back.

    Its certificate has the projected gradient that was measured on the whole target; this is no
    bound of the optimum, and `SOLVED` says no more than that the steps have come to rest, where
    the problem is not convex at a local optimum. A bound is there only for a convex problem (a
    head linear in the labels, a convex loss) over labels on the simplex or in a box, that of Frank
    and Wolfe.

    Args:
        optimiser: `adam` or `sgd`.
        learning_rate: of the first step.
        max_steps: number of steps, unless the tolerance is met at one of the looks.
        batch_size: target examples a step.
        tolerance: of the projected gradient, relative to the gradient at the start.
        seed: of the batches.
        start: `(m, C)` labels to start from; else the prior, else zeros, or where the problem is
            not convex the distributions that a ridge head wants, softened.

    Raises:
        InputError: options out of range.

    References:
        Kingma and Ba 2015, "Adam", https://arxiv.org/abs/1412.6980

    Example:
        >>> from cvxdistill.solvers import solve_labels
        >>> g = torch.Generator().manual_seed(0)
        >>> features = torch.randn(50, 3, generator=g, dtype=torch.float64)
        >>> classes = (features[:, 0] > 0).long()
        >>> solution = solve_labels(features[:4], (features, classes), loss="hinge")
        >>> solution.status.name, solution.stats["objective_start"] > solution.objective
        ('STOPPED_EARLY', True)
    """

    optimiser: str = "adam"
    learning_rate: float = 0.02
    max_steps: int = 500
    batch_size: int = 1024
    tolerance: float = 1e-3
    seed: int = 0
    start: Tensor | None = None

    name: ClassVar[str] = "gradient"
    requires: ClassVar = {"target": ("examples",)}
    remedy: ClassVar[str] = (
        "Give each target as (features, labels); from moments, only the squared loss with "
        "RidgeHead() can be solved."
    )

    def __post_init__(self) -> None:
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_positive("learning_rate", self.learning_rate)
        check_limits(self.tolerance, self.max_steps)
        if self.batch_size < 1:
            raise InputError(f"`batch_size` must be 1 or more; got {self.batch_size}.")

    def _solve(self, problem: LabelProblem) -> LabelSolution:
        objective = StochasticObjective(problem)
        labels = problem.constraint.project(self._start(problem).detach().to(torch.float64))
        first = best = objective.full(labels)
        reference = max(float(first.gradient.norm()), 1e-300)
        last, steps = first, 0
        if not self._good(problem, first, reference):
            steps, best, last = self._descend(problem, objective, first, reference)
        certificate = self._certificate(problem, best, reference)
        finite = math.isfinite(best.value) and bool(torch.isfinite(best.labels).all())
        good = self._good(problem, best, reference)
        ended = Status.SOLVED if good else Status.STOPPED_EARLY
        return LabelSolution(
            labels=best.labels.to(problem.base_features[0].dtype),
            label_kind=problem.constraint.label_kind,
            status=ended if finite else Status.FAILED,
            objective=best.value,
            certificate=certificate,
            stats={
                "steps": float(steps),
                "objective_start": first.value,
                "objective_last": last.value,
                "objective_best": best.value,
            },
        )

    def _descend(
        self,
        problem: LabelProblem,
        objective: StochasticObjective,
        first: FullPass,
        reference: float,
    ) -> tuple[int, FullPass, FullPass]:
        """Take the steps; return their number, the best labels seen, and the last."""
        labels = first.labels.clone().requires_grad_()
        optimiser = OPTIMISERS[self.optimiser]([labels], lr=self.learning_rate)
        draws = generator(self.seed, "gradient-solver")
        every = max(self.max_steps // CHECKS, 1)
        best = last = first
        for step in range(1, self.max_steps + 1):
            rate = 0.5 * (1 + math.cos(math.pi * (step - 1) / self.max_steps))
            optimiser.param_groups[0]["lr"] = self.learning_rate * rate
            optimiser.zero_grad()
            objective.sample(labels, draws, self.batch_size).backward()
            optimiser.step()
            with torch.no_grad():
                labels.copy_(problem.constraint.project(labels))
            if step % every and step != self.max_steps:
                continue
            last = objective.full(labels.detach().clone())
            if last.value < best.value:
                best = last
            # Steps that have left the numbers behind do not find back.
            if not math.isfinite(last.value) or self._good(problem, last, reference):
                return step, best, last
        return step, best, last

    def _start(self, problem: LabelProblem) -> Tensor:
        shape = problem.num_examples, problem.num_classes
        if self.start is not None:
            if tuple(self.start.shape) != shape:
                raise InputError(
                    f"`start` must be of shape {shape}; got {tuple(self.start.shape)}."
                )
            return self.start
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

    def _good(self, problem: LabelProblem, at: FullPass, reference: float) -> bool:
        return _mapping(problem, at) <= self.tolerance * reference

    def _certificate(self, problem: LabelProblem, at: FullPass, reference: float) -> Certificate:
        optimality = _mapping(problem, at) / reference
        gap = frank_wolfe(problem, at)
        if problem.loss.quadratic and problem.head.label_linear:
            known = certify(problem, at.labels, optimality=optimality)
            return dataclasses.replace(known, gap_bound=gap)
        rank, full_rank = problem.base_rank
        pull = 0.0
        if problem.prior is not None:
            pull = problem.prior_weight * float((at.labels - problem.prior).square().sum())
        return Certificate(at.value - pull, None, None, rank, full_rank, optimality, gap)


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
