"""Solvers by name, and the one call that chooses among them."""

from collections.abc import Sequence

from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.heads import Head, Target
from cvxdistill.labels import LabelConstraint, LabelLoss
from cvxdistill.problem import LabelSolution, LabelSolver
from cvxdistill.solvers.build import build_problem, first_fitting
from cvxdistill.solvers.choose import Choice, HeldOut, choose_prior_weight, choose_temperature
from cvxdistill.solvers.cross_entropy import CrossEntropySolver
from cvxdistill.solvers.descent import DescentOptions, LabelDescent, start_labels
from cvxdistill.solvers.exact import ExactSolver
from cvxdistill.solvers.gradient import GradientSolver
from cvxdistill.solvers.projected import ProjectedSolver

# The first that fits is taken: from exact to first-order.
SOLVERS: dict[str, type[LabelSolver]] = {
    "exact": ExactSolver,
    "projected": ProjectedSolver,
    "cross-entropy": CrossEntropySolver,
    "gradient": GradientSolver,
}

__all__ = [
    "SOLVERS",
    "Choice",
    "CrossEntropySolver",
    "DescentOptions",
    "ExactSolver",
    "GradientSolver",
    "HeldOut",
    "LabelDescent",
    "LabelSolver",
    "ProjectedSolver",
    "build_problem",
    "choose_prior_weight",
    "choose_temperature",
    "solve_labels",
    "start_labels",
]


def solve_labels(
    base_features: Tensor | Sequence[Tensor],
    target: Target | Sequence[Target],
    *,
    head: Head | None = None,
    loss: str | LabelLoss = "squared",
    constraint: str | LabelConstraint = "free",
    target_l2: float | None = None,
    prior: Tensor | None = None,
    prior_weight: float = 0.0,
    num_classes: int | None = None,
    solver: str | LabelSolver | None = None,
) -> LabelSolution:
    r"""Solve for the labels with which a head fitted to the base does best on the target.

    Args:
        base_features: `(m, d)`, or a list of them, one an extractor.
        target: `TargetStatistics`, or `(features (n, d), labels)` with integer classes `(n,)` or
            coded targets `(n, C)`; or a list of either, one an extractor. Losses other than
            `squared` need features and labels.
        head: the head whose fit the labels are for; `RidgeHead()` when not given.
        loss: a name in `LOSSES`, or a loss.
        constraint: a name in `CONSTRAINTS`, or a constraint.
        target_l2: penalty of the full-data head inside the label objective, in the head's own
            scale; `None` is the head's own, which is what makes lossless labels possible, and 0 is
            the plain loss.
        prior: `(m, C)` labels to stay near.
        prior_weight: strength of the pull towards `prior`.
        num_classes: of integer labels that may lack the last classes; read off when not given.
        solver: a name in `SOLVERS`, or a solver; the first that fits when not given.

    Returns:
        The labels with status, objective and certificate.

    Raises:
        InputError: sizes, names or values that do not fit.
        IncompatibleError: no solver for this head, loss and constraint.
        SolveError: a singular base problem, which only `l2 = 0` can give.

    Example:
        With as many base examples as features and one more, labels are lossless:

        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> features = torch.randn(100, 3, generator=g, dtype=torch.float64)
        >>> classes = (features[:, 0] > 0).long()
        >>> solution = solve_labels(features[:4], (features, classes))
        >>> solution.certificate.lossless
        True
    """
    problem = build_problem(
        base_features,
        target,
        head=head,
        loss=loss,
        constraint=constraint,
        target_l2=target_l2,
        prior=prior,
        prior_weight=prior_weight,
        num_classes=num_classes,
    )
    if isinstance(solver, str):
        solver = SOLVERS[check_choice("solver", solver, SOLVERS)]()
    if solver is None:
        solver = first_fitting(problem, SOLVERS.values())
    return solver.solve(problem)
