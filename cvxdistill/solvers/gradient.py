"""First-order steps in the labels, through any head and any loss."""

import dataclasses
from typing import ClassVar

from torch import Tensor

from cvxdistill.problem import LabelProblem, LabelSolution, LabelSolver
from cvxdistill.solvers.descent import DescentOptions, LabelDescent
from cvxdistill.solvers.options import check_limits


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
        >>> import torch
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
        check_limits(self.tolerance, self.max_steps)
        self._options()

    def _options(self) -> DescentOptions:
        return DescentOptions(
            optimiser=self.optimiser,
            learning_rate=self.learning_rate,
            steps=self.max_steps,
            batch_size=self.batch_size,
            tolerance=self.tolerance,
            seed=self.seed,
        )

    def _solve(self, problem: LabelProblem) -> LabelSolution:
        descent = LabelDescent(problem, self._options(), start=self.start)
        for index in range(self.max_steps):
            if descent.at_rest:
                break
            descent.step(index)
        return descent.solution()
