"""What errors of labels do to the objective that the labels were solved for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cvxdistill.checks import check_positive
from cvxdistill.errors import IncompatibleError
from cvxdistill.heads import Head, Target
from cvxdistill.solvers import build_problem
from cvxdistill.solvers.exact import stacked_system

# How much a plain error of labels counts beside what it does to the objective, as a share of the
# mean of the latter. Without it labels are tied to the extractors at hand: rounded to 2 bits for a
# LeNet of 84 features, 100 labels lose 3 points more on ConvNets than by plain rounding, 1 point
# with 0.3 and none with 2. For a ConvNet of 288 features 0.3 costs the others nothing, and 2 gives
# up half of what is gained.
DAMPING = 0.3


def label_metric(
    base_features: Tensor | Sequence[Tensor],
    target: Target | Sequence[Target],
    *,
    head: Head | None = None,
    target_l2: float | None = None,
    damping: float = DAMPING,
) -> Tensor:
    r"""Return `K (m, m)`: what an error `E` of labels adds to the solved objective, `tr(E' K E)`.

    With the objective `|F Y - G|^2 + const` of the label problem it is `F'F + damping * k I`, with
    `k` the mean diagonal of `F'F`. Give it to [stored_as][cvxdistill.artifact.Distilled.stored_as].

    Args:
        base_features: as in [solve_labels][cvxdistill.solvers.solve_labels].
        target: as there; a few thousand examples are enough.
        head: as there; linear in the labels.
        target_l2: as there.
        damping: how much a plain error counts beside; more of it suits networks that are not at
            hand, most of all where there are more base examples than features.

    Raises:
        InputError: sizes that do not fit, or a negative `damping`.
        IncompatibleError: a head that is not linear in the labels.

    Example:
        >>> Z, classes = torch.eye(4).double(), torch.arange(4)
        >>> label_metric(Z, (Z, classes)).shape
        torch.Size([4, 4])
    """
    check_positive("damping", damping, zero=True)
    problem = build_problem(base_features, target, head=head, target_l2=target_l2)
    if not problem.head.label_linear:
        raise IncompatibleError(
            "the objective is a quadratic in the labels only for a head that is linear in them, "
            f"such as RidgeHead; got {type(problem.head).__name__}. Round without a metric."
        )
    factor, _ = stacked_system(problem)
    plain = factor.mT @ factor
    eye = torch.eye(len(plain), dtype=plain.dtype, device=plain.device)
    return plain + damping * plain.diagonal().mean() * eye
