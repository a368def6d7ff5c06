"""From names and arrays to a label problem, and from a problem to the solver that fits."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.errors import IncompatibleError
from cvxdistill.heads import Head, RidgeHead, Target
from cvxdistill.labels import CONSTRAINTS, LOSSES, LabelConstraint, LabelLoss
from cvxdistill.problem import LabelProblem, LabelSolver
from cvxdistill.statistics import TargetStatistics


def build_problem(
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
) -> LabelProblem:
    """Return the label problem; arguments as in [solve_labels][cvxdistill.solvers.solve_labels].

    Raises:
        InputError: sizes, names or values that do not fit.
    """
    bases = (base_features,) if isinstance(base_features, Tensor) else tuple(base_features)
    # A pair (features, labels) is one target; a list holds one an extractor.
    targets = tuple(target) if isinstance(target, list) else (target,)
    # Moments are often kept on a CPU while features come from a GPU; the solve is where these are.
    device = bases[0].device if bases else torch.device("cpu")
    return LabelProblem(
        base_features=bases,
        targets=tuple(_moved(one, device) for one in targets),
        head=RidgeHead() if head is None else head,
        loss=LOSSES[check_choice("loss", loss, LOSSES)]() if isinstance(loss, str) else loss,
        constraint=CONSTRAINTS[check_choice("constraint", constraint, CONSTRAINTS)]()
        if isinstance(constraint, str)
        else constraint,
        target_l2=target_l2,
        prior=None if prior is None else prior.to(device),
        prior_weight=prior_weight,
        classes=num_classes,
    )


def _moved(target: Target, device: torch.device) -> Target:
    if not isinstance(target, TargetStatistics):
        features, labels = target
        return features.to(device), labels.to(device)
    return target if target.device == device else target.to(device)


def first_fitting(problem: LabelProblem, kinds: Iterable[type[LabelSolver]]) -> LabelSolver:
    """Return the first solver whose requirements the problem meets.

    Raises:
        IncompatibleError: none fits; the message has the reasons and a way out.
    """
    candidates = [kind() for kind in kinds]
    for candidate in candidates:
        if not candidate.missing(problem):
            return candidate
    reasons = "; ".join(
        f"`{candidate.name}` needs {' and '.join(candidate.missing(problem))}"
        for candidate in candidates
    )
    raise IncompatibleError(
        f"no solver fits this head, loss, constraint and target: {reasons}. {candidates[-1].remedy}"
    )
