r"""The move of labels that a cross-entropy wants, where predictions are known to first order.

    min over D of   (1/E) sum_e (1/n_e) sum_i CE(f_ei + h_ei D, t_ei)   +   weight |D|^2

`f_ei` is what network `e` says of target example `i` now, `h_ei` the first-order change of that by
the labels. The problem is convex, and its optimum is the step of a Gauss-Newton method on the
labels whose length `weight` limits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cvxdistill.checks import check_finite, check_positive
from cvxdistill.errors import InputError
from cvxdistill.labels import one_hot
from cvxdistill.solvers.newton import newton
from cvxdistill.solvers.softmax import SoftmaxObjective, SoftmaxState

# Of the gradient at the start. The labels are linearised anew afterwards, so more digits are lost
# on the first-order model's own error, which is far larger.
ACCURACY = 1e-3
MAX_STEPS = 20


def solve_displacement(
    offsets: Sequence[Tensor],
    transfers: Sequence[Tensor],
    classes: Sequence[Tensor],
    *,
    weight: float,
) -> Tensor:
    """Return the move `D (m, C)` of labels, float64.

    Args:
        offsets: predictions now, `(n_e, C)`, one an entry a network.
        transfers: their first-order change by the labels, `(n_e, m)`.
        classes: of the target examples, `(n_e,)`.
        weight: price of a move, in nats by its squared length; above zero.

    Raises:
        InputError: sizes that do not fit, a weight that is not above zero, or entries that are
            not finite.

    Example:
        >>> offsets, transfers = [torch.zeros(2, 2)], [torch.eye(2)]
        >>> move = solve_displacement(offsets, transfers, [torch.tensor([0, 1])], weight=1e-2)
        >>> move.argmax(1).tolist()
        [0, 1]
    """
    check_positive("weight", weight)
    sizes = [(len(f), len(h), len(c)) for f, h, c in zip(offsets, transfers, classes, strict=True)]
    if not sizes or any(len(set(size)) > 1 for size in sizes):
        raise InputError(
            f"each network needs as many offsets, transfers and classes; got sizes {sizes}."
        )
    for name, tensors in (("offsets", offsets), ("transfers", transfers)):
        for tensor in tensors:
            check_finite(name, tensor)
    if len(set(sizes)) == 1:
        # Networks with equally many examples count as one: fewer and longer products.
        offsets, transfers, classes = ([torch.cat(list(p))] for p in (offsets, transfers, classes))
    count, width = offsets[0].shape[1], transfers[0].shape[1]
    start = transfers[0].new_zeros(width, count, dtype=torch.float64)
    objective = SoftmaxObjective(
        transfers=tuple(h.to(torch.float64) for h in transfers),
        targets=tuple(one_hot(c, count).to(start) for c in classes),
        scale=1.0,
        root=start.new_zeros(1, width),
        prior=start,
        weight=weight,
        offsets=tuple(f.to(torch.float64) for f in offsets),
    )
    first = float(objective.at(start).gradient.norm())

    def done(state: SoftmaxState) -> bool:
        return float(state.gradient.norm()) <= ACCURACY * first

    return newton(objective, start, done=done, max_steps=MAX_STEPS).state.labels
