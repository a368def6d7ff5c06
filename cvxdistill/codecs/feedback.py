r"""Rounding that spends its errors where they matter least.

A head that is linear in the labels turns an error `E (m, C)` of the labels into an error `H E` of
its predictions, whose square is `tr(E' K E)` with the *metric* `K = H'H (m, m)`. Rounding every
entry to the nearest value makes `|E|^2` least, not that. Here rows are rounded one after another,
and each row takes up what the rows before it did to the predictions; then rows are visited again
until no single row can be improved. Both passes ask a codec for one thing only, the nearest row
that it can hold.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Pivots below this share of the largest entry belong to directions without any cost.
NO_COST = 1e-12
SWEEPS = 20

Nearest = Callable[[Tensor], Tensor]


def round_rows(labels: Tensor, metric: Tensor, nearest: Nearest) -> Tensor:
    r"""Return rows that a codec can hold, with a small `tr(E' K E)` for the error `E`.

    With the elimination `K = L' D L` (rows in the order in which they are rounded, `L` lower
    triangular with a unit diagonal) the cost is

        sum over rows i of   D_i |e_i + sum over j before i of L_ij e_j|^2,

    so row `i` is rounded at `y_i - sum L_ij e_j`. Rounding in such an order is the nearest-plane
    algorithm of Babai (1986), used for weights of networks by Frantar et al. (2023). The order puts
    rows of small cost last, which evens out the `D_i`. Then each row in turn moves to the best it
    can be while the others stay, as long as the cost falls.

    Args:
        labels: `(m, C)` float64.
        metric: `K (m, m)` float64, symmetric positive semidefinite.
        nearest: from the wanted values `(C,)` of a row to the nearest that it can hold.

    Returns:
        `(m, C)` float64, every row one of those that `nearest` gives.

    References:
        Babai 1986, "On Lovasz' lattice reduction and the nearest lattice point problem",
        https://doi.org/10.1007/BF02579403; Frantar et al. 2023, "GPTQ",
        https://arxiv.org/abs/2210.17323

    Example:
        >>> labels = torch.tensor([[0.4], [0.4]], dtype=torch.float64)
        >>> together = torch.ones(2, 2, dtype=torch.float64)
        >>> round_rows(labels, together, torch.round).flatten().tolist()
        [1.0, 0.0]
    """
    fed = _feed_back(labels, metric, nearest)
    plain = torch.stack([nearest(row) for row in labels])
    # Feedback does harm where it asks for labels that the codec cannot hold.
    start = min(fed, plain, key=lambda rounded: metric_error(rounded - labels, metric))
    return _settle(labels, metric, nearest, start)


def metric_error(error: Tensor, metric: Tensor) -> float:
    """Return `tr(E' K E)` of an error `E (m, C)`.

    Example:
        >>> metric_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
        15.0
    """
    return float((error * (metric @ error)).sum())


def _feed_back(labels: Tensor, metric: Tensor, nearest: Nearest) -> Tensor:
    order, lower = _eliminate(metric)
    error = torch.zeros_like(labels)
    rounded = labels.clone()
    for row, before in zip(order, lower, strict=True):
        rounded[row] = nearest(labels[row] - before @ error)
        error[row] = rounded[row] - labels[row]
    return rounded


def _eliminate(metric: Tensor) -> tuple[list[int], Tensor]:
    """Return the order of the rows, and for each how much of earlier rows' errors it takes up."""
    rest = metric.clone()
    m = len(rest)
    left = torch.ones(m, dtype=torch.bool, device=rest.device)
    order: list[int] = []
    shares = torch.zeros_like(rest)
    floor = NO_COST * float(rest.diagonal().max())
    for position in range(m - 1, -1, -1):
        pivots = rest.diagonal().where(left, torch.inf)
        # Pivots only fall as rows go, so one that costs nothing stays so: its row comes first.
        free = pivots <= floor
        costly = pivots.where(~free, torch.inf)
        if bool(torch.isinf(costly).all()):
            order += left.nonzero().flatten().tolist()
            break
        row = int(costly.argmin())
        order.append(row)
        left[row] = False
        share = (rest[row] / rest[row, row]) * left
        shares[position] = share
        rest = rest - torch.outer(share, share) * rest[row, row]
    return order[::-1], shares


def _settle(labels: Tensor, metric: Tensor, nearest: Nearest, rounded: Tensor) -> Tensor:
    """Let each row in turn move to the nearest it can hold to its best value, the others fixed."""
    rounded = rounded.clone()
    slope = metric @ (rounded - labels)
    costs = metric.diagonal()
    floor = NO_COST * float(costs.max())
    rows = [row for row in range(len(labels)) if float(costs[row]) > floor]
    for _ in range(SWEEPS):
        moved = False
        for row in rows:
            step = nearest(rounded[row] - slope[row] / costs[row]) - rounded[row]
            gain = -2 * float(step @ slope[row]) - float(costs[row]) * float(step @ step)
            if gain > 1e-12 * float(costs[row]) * float(step @ step):
                rounded[row] += step
                slope += torch.outer(metric[:, row], step)
                moved = True
        if not moved:
            break
    return rounded
