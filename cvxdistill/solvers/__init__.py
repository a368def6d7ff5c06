"""Solvers by name, and the one call that chooses among them."""

from collections.abc import Sequence

from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.errors import IncompatibleError
from cvxdistill.heads import Head, RidgeHead, Target
from cvxdistill.labels import CONSTRAINTS, LOSSES, LabelConstraint, LabelLoss
from cvxdistill.problem import LabelProblem, LabelSolution, LabelSolver
from cvxdistill.solvers.exact import ExactSolver

SOLVERS: dict[str, type[LabelSolver]] = {
    "exact": ExactSolver,
}

__all__ = ["SOLVERS", "ExactSolver", "LabelSolver", "solve_labels"]


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
    solver: str | LabelSolver | None = None,
) -> LabelSolution:
    r"""Solve for the labels with which a head fitted to the base does best on the target.

    Args:
        base_features: `(m, d)`, or a list of them, one an extractor.
        target: `TargetStatistics`, or `(features (n, d), labels)` with integer classes `(n,)` or
            coded targets `(n, C)`; or a list of either, one an extractor.
        head: the head whose fit the labels are for; `RidgeHead()` when not given.
        loss: a name in `LOSSES`, or a loss.
        constraint: a name in `CONSTRAINTS`, or a constraint.
        target_l2: penalty of the full-data head inside the label objective, in the head's own
            scale; `None` is the head's own, which is what makes lossless labels possible, and 0 is
            the plain loss.
        prior: `(m, C)` labels to stay near.
        prior_weight: strength of the pull towards `prior`.
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
    bases = (base_features,) if isinstance(base_features, Tensor) else tuple(base_features)
    # A pair (features, labels) is one target; a list holds one an extractor.
    targets = tuple(target) if isinstance(target, list) else (target,)
    problem = LabelProblem(
        base_features=bases,
        targets=targets,  # type: ignore[arg-type]
        head=RidgeHead() if head is None else head,
        loss=LOSSES[check_choice("loss", loss, LOSSES)]() if isinstance(loss, str) else loss,
        constraint=CONSTRAINTS[check_choice("constraint", constraint, CONSTRAINTS)]()
        if isinstance(constraint, str)
        else constraint,
        target_l2=target_l2,
        prior=prior,
        prior_weight=prior_weight,
    )
    return _choose(problem, solver).solve(problem)


def _choose(problem: LabelProblem, solver: str | LabelSolver | None) -> LabelSolver:
    if isinstance(solver, LabelSolver):
        return solver
    if solver is not None:
        return SOLVERS[check_choice("solver", solver, SOLVERS)]()
    candidates = [kind() for kind in SOLVERS.values()]
    for candidate in candidates:
        if not candidate.missing(problem):
            return candidate
    reasons = "; ".join(
        f"`{candidate.name}` needs {' and '.join(candidate.missing(problem))}"
        for candidate in candidates
    )
    raise IncompatibleError(f"no solver fits this head, loss and constraint: {reasons}.")
