r"""Forward selection of base examples by the exact label objective.

A ridge head fitted to base features `Zb` and any labels has weights `W` in the span of the rows of
`Zb`, centred ones for a free intercept; all of that span is reached, so solving the labels is the
same as minimising the target's objective over it. With a square root `F` of the target's penalised
normal matrix (`F'F = S + lam I`, `F'g = M`), it is a projection:

    objective of a span   =   |g - Q Q'g|^2 + residual,    Q = an orthonormal basis of F span.

One more direction `u` lowers it by `|x'e|^2 / |x - Q Q'x|^2`, with `x = F u` and `e = g - Q Q'g`.
Taking the direction that lowers it most is orthogonal least squares (Chen, Billings and Luo 1989)
with `C` outputs. After each step both numbers of every candidate change by one matrix-vector
product `Z (F'q)` and an outer product with `q'g`: `N (d + C)` operations for `N` candidates.

With a free intercept an example enters through its differences from the others, so the first alone
changes nothing and the second brings the first direction. The span does not depend on which
example is the reference. The best pair is therefore found first, and one of it is the reference
from then on: among up to `PAIRS` candidates by trying all pairs; among more, by trying all pairs
of those with the largest gain against the target's mean, then exchanging one end for the best of
all candidates, in turn, until neither end improves.

Exchanges go over the chosen examples in turn: each is taken out, and the best candidate for its
place put in, so that those chosen early are reconsidered in the company of the others.
"""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.choose.geometry import mean_row
from cvxdistill.choose.span import DEPENDENT, Space, Span
from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead, Target

# All pairs of so many candidates take a fraction of a second; the tables of pairs take 100 MB.
PAIRS = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """Examples in the order in which they were selected, and what each was worth.

    Attributes:
        positions: `(m,)` int64 rows of the candidates.
        objectives: `(m,)` float64: the objective that `solve_labels` reports for the first `k`
            examples, for `k = 1, 2, ..., m`.
        full_objective: the objective of the full-data head, which no selection goes below.
    """

    positions: Tensor
    objectives: Tensor
    full_objective: float


def select_forward(
    features: Tensor,
    target: Target,
    examples: int,
    *,
    head: RidgeHead | None = None,
    target_l2: float | None = None,
    exchanges: int = 0,
) -> Selection:
    """Select base examples one after another, each the one that lowers the objective most.

    Choose it to see how many base examples are worth having: one call gives the objective of every
    number up to `examples`, without solving for labels.

    Once the chosen examples span the feature space (with `d + 1` of them under a free intercept,
    `d` without, or fewer where features are dependent) labels are lossless, and further examples
    cannot lower the objective. They are then chosen by a fresh round among those left, so that
    every round spans the space again: the base stays well conditioned, and loses little when
    examples are taken out.

    Beside the features it keeps `8 N (C + 4)` bytes.

    Args:
        features: `(N, d)` candidates, any floating dtype; computed with in float64, by blocks.
        target: moments under the same extractor, or `(features (n, d), targets (n, C))`.
        examples: how many, `m`.
        head: the ridge head that labels will be solved for; `RidgeHead()` when not given. Of its
            penalty only that of the target matters.
        target_l2: as in `solve_labels`.
        exchanges: passes of exchanges over the chosen examples, at most; they end when nothing
            improves. With them a smaller selection is no longer the beginning of a larger one.

    Raises:
        InputError: sizes that do not fit, or more examples than candidates.

    Example:
        >>> import torch
        >>> from cvxdistill.statistics import TargetStatistics
        >>> z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> target = TargetStatistics(3, 2).update(z, (z[:, 0] > 0).long())
        >>> chosen = select_forward(z, target, 4)
        >>> bool(chosen.objectives[-1] <= chosen.full_objective * (1 + 1e-12))
        True
    """
    check_matrix("features", features)
    if not 1 <= examples <= len(features):
        raise InputError(
            f"`examples` must be between 1 and the {len(features):,} candidates; got {examples}."
        )
    if exchanges < 0:
        raise InputError(f"`exchanges` must be zero or more passes; got {exchanges}.")
    space = Space.of(features, target, head or RidgeHead(), target_l2)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = _one_round(space, free, examples)
    for _ in range(exchanges):
        if not _exchange_all(space, free, chosen):
            break
    objectives = space.objectives(torch.stack(chosen))
    while len(chosen) < examples:
        chosen += _one_round(space, free, examples - len(chosen))
    spanned = objectives[-1:].expand(examples - len(objectives))
    return Selection(
        torch.stack(chosen).cpu(),
        torch.cat([objectives, spanned]).cpu(),
        space.residual / space.count,
    )


def _one_round(space: Space, free: Tensor, examples: int) -> list[Tensor]:
    """Select up to `examples` of the free candidates, until they span all that can be reached.

    Returns:
        The positions selected, at least one, which are no longer free.
    """
    origin = torch.zeros_like(space.features[0], dtype=torch.float64)
    references = []
    if space.intercept == "free":
        references = [_best_reference(space, free)]
        origin = space.point(references[0])
        free[references[0]] = False
    span = Span(space, origin, [])
    while len(references) + len(span.members) < examples:
        best, gain = span.best(free)
        if bool(gain < 0):
            break
        free[best] = False
        span.add(best)
    chosen = references + span.members
    if not chosen:
        # Only zero rows are left: one is as good as another.
        chosen = [free.to(torch.int8).argmax()]
        free[chosen[0]] = False
    return chosen


def _exchange_all(space: Space, free: Tensor, chosen: list[Tensor]) -> bool:
    """Reconsider each of the chosen examples once, in place; return whether any was exchanged."""
    places = range(len(chosen))
    # A reference is not exchanged itself; it has its turn with another as the reference.
    turns = [(0, places[1:]), (1, places[:1])] if space.intercept == "free" else [(None, places)]
    changed = False
    for reference, turn in turns if len(chosen) > 1 else ():
        others = [place for place in places if place != reference]
        origin = torch.zeros_like(space.point(chosen[0]))
        if reference is not None:
            origin = space.point(chosen[reference])
        span = Span(space, origin, [chosen[place] for place in others])
        for place in turn:
            index = others.index(place)
            if span.exchange(index, free):
                free[chosen[place]] = True
                chosen[place] = span.members[index]
                free[chosen[place]] = False
                changed = True
    return changed


def _best_reference(space: Space, free: Tensor) -> Tensor:
    """Return one end of the best pair of free candidates, the one nearer to the mean of all."""
    centre = mean_row(space.features)
    lengths = space.lengths(centre)
    pulls = space.along(space.rhs.mT, centre)
    squares = pulls.square().sum(1)

    def gains(ends: Tensor, others: Tensor, products: Tensor) -> Tensor:
        """Return what pairs of `ends (j)` and `others (k)` gain, from their inner products."""
        sums = lengths[ends][:, None] + lengths[others]
        apart = sums - 2 * products
        pull = squares[ends][:, None] + squares[others] - 2 * pulls[ends] @ pulls[others].mT
        allowed = (apart > DEPENDENT * sums) & free[others]
        return torch.where(allowed, pull / apart, -1.0)

    alone = torch.where(free, squares / lengths.clamp(min=1e-300), -1.0)
    likely = alone.topk(min(PAIRS, int(free.sum()))).indices
    points = space.coordinates(likely, centre)
    table = gains(likely, likely, points @ points.mT)
    best = table.max()
    flat = table.argmax()
    pair = likely[torch.stack([flat // len(likely), flat % len(likely)])]
    everyone = torch.arange(len(free), device=free.device)
    # How many of the two ends are known to have the best of all partners.
    settled = 0 if len(likely) < int(free.sum()) else 2
    while settled < 2:
        products = space.along(space.coordinates(pair[:1], centre), centre)
        row = gains(pair[:1], everyone, products.mT)[0]
        # An improvement by rounding alone could go back and forth for ever.
        if bool(row.max() > best * (1 + 1e-9)):
            best, pair, settled = row.max(), torch.stack([row.argmax(), pair[0]]), 1
        else:
            pair, settled = pair.flip(0), settled + 1
    return pair[lengths[pair].argmin()]
