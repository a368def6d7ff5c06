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
"""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.choose.geometry import blocks, mean_row
from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead, Target

# All pairs of so many candidates take a fraction of a second; the tables of pairs take 100 MB.
PAIRS = 2048
# A candidate is taken to lie in the span when less than this share of its squared length is
# outside: what is left is then known to four digits, and labels would have to be 1e4 times larger
# to make use of it.
DEPENDENT = 1e-8


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
) -> Selection:
    """Select base examples one after another, each the one that lowers the objective most.

    Choose it to see how many base examples are worth having: one call gives the objective of every
    number up to `examples`, without solving for labels.

    Once the chosen examples span the feature space (with `d + 1` of them under a free intercept,
    `d` without, or fewer where features are dependent) labels are lossless, and further examples
    cannot lower the objective. They are then chosen by a fresh round among those left, so that
    every round spans the space again: the base stays well conditioned, and loses little when
    examples are taken out.

    Args:
        features: `(N, d)` candidates, any floating dtype; computed with in float64, by blocks.
        target: moments under the same extractor, or `(features (n, d), targets (n, C))`.
        examples: how many, `m`.
        head: the ridge head that labels will be solved for; `RidgeHead()` when not given. Of its
            penalty only that of the target matters.
        target_l2: as in `solve_labels`.

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
    space = _Space.of(features, target, head or RidgeHead(), target_l2)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen: list[Tensor] = []
    explained: list[Tensor] = []
    first_round = True
    while len(chosen) < examples:
        taken, left = _one_round(space, free, examples - len(chosen))
        free[torch.stack(taken)] = False
        explained += left if first_round else [explained[-1]] * len(taken)
        chosen += taken
        first_round = False
    objectives = (torch.stack(explained) + space.residual) / space.count
    return Selection(torch.stack(chosen).cpu(), objectives.cpu(), space.residual / space.count)


@dataclasses.dataclass(frozen=True, eq=False)
class _Space:
    """Candidates as directions of weights, and the target's objective on them.

    Attributes:
        features: `(N, d)` as given.
        factor: `F (p, q)`, with `q = d`, or `d + 1` for a penalised intercept.
        rhs: `g (p, C)`.
        residual: what no direction explains.
        count: number of target examples, by which objectives are divided.
        intercept: of the head.
    """

    features: Tensor
    factor: Tensor
    rhs: Tensor
    residual: float
    count: float
    intercept: str

    @classmethod
    def of(
        cls, features: Tensor, target: Target, head: RidgeHead, target_l2: float | None
    ) -> "_Space":
        found = head.target_root(target, target_l2=target_l2)
        root = found.root
        factor, rhs = root.factor.to(features.device), root.rhs.to(features.device)
        if head.intercept == "free":
            # The last row is the error of the mean prediction, which the intercept makes zero.
            factor, rhs = factor[:-1, :-1], rhs[:-1]
        elif head.intercept == "none":
            factor = factor[:, :-1]
        if factor.shape[1] != features.shape[1] + (head.intercept == "penalised"):
            raise InputError(
                f"candidates and target must agree in features; got {features.shape[1]} and "
                f"{found.full.weights.shape[0]}. Embed both with the same extractor."
            )
        return cls(features, factor, rhs, root.residual, found.count, head.intercept)

    def directions(self, origin: Tensor, rows: Tensor) -> Tensor:
        """Return the directions `(n, q)` of feature rows seen from the origin."""
        seen = rows.to(torch.float64) - origin
        if self.intercept == "penalised":
            seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
        return seen

    def products(self, origin: Tensor, right: Tensor) -> Tensor:
        """Return `U right (N, k)` for the directions `U` of all candidates."""
        return torch.cat([self.directions(origin, b) @ right for b in blocks(self.features)])

    def lengths(self, origin: Tensor) -> Tensor:
        """Return `|F u|^2 (N,)` of all candidates."""
        return torch.cat(
            [
                (self.directions(origin, b) @ self.factor.mT).square().sum(1)
                for b in blocks(self.features)
            ]
        )


def _one_round(space: _Space, free: Tensor, examples: int) -> tuple[list[Tensor], list[Tensor]]:
    """Select up to `examples` of the free candidates, until they span all that can be reached.

    Returns:
        Their positions, at least one, and after each the part of `|g|^2` that is left.
    """
    origin = torch.zeros_like(space.features[0], dtype=torch.float64)
    taken: list[Tensor] = []
    left: list[Tensor] = []
    error = space.rhs
    if space.intercept == "free":
        reference = _best_reference(space, free)
        origin = space.features[reference].to(torch.float64)
        taken, left = [reference], [error.square().sum()]
    lengths = space.lengths(origin)
    pulls = space.products(origin, space.factor.mT @ error)
    outside = lengths.clone()
    basis = space.factor.new_zeros(len(space.factor), 0)
    free = free.clone()
    while len(taken) < examples:
        if taken:
            free[taken[-1]] = False
        fresh = free & (outside > DEPENDENT * lengths)
        gains = torch.where(fresh, pulls.square().sum(1) / outside, -1.0)
        best = gains.argmax()
        if float(gains[best]) < 0:
            break
        vector = space.factor @ space.directions(origin, space.features[best][None])[0]
        for _ in range(2):
            # Twice is enough for orthogonality to the last digit (Parlett 1980).
            vector = vector - basis @ (basis.mT @ vector)
        vector = vector / torch.linalg.vector_norm(vector)
        share = vector @ error
        error = error - torch.outer(vector, share)
        along = space.products(origin, space.factor.mT @ vector[:, None])
        outside = outside - along.square().squeeze(1)
        pulls = pulls - along * share
        basis = torch.cat([basis, vector[:, None]], dim=1)
        taken.append(best)
        left.append(error.square().sum())
    if not taken:
        # Only repeated or zero candidates are left: one is as good as another.
        taken, left = [free.to(torch.int8).argmax()], [error.square().sum()]
    return taken, left


def _best_reference(space: _Space, free: Tensor) -> Tensor:
    """Return one end of the best pair of free candidates, the one nearer to their mean."""
    centre = mean_row(space.features[free])
    lengths = space.lengths(centre)
    pulls = space.products(centre, space.factor.mT @ space.rhs)
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
    points = space.directions(centre, space.features[likely]) @ space.factor.mT
    table = gains(likely, likely, points @ points.mT)
    best = table.max()
    pair = likely[torch.stack(torch.unravel_index(table.argmax(), table.shape))]
    everyone = torch.arange(len(free), device=free.device)
    improved = len(likely) < int(free.sum())
    while improved:
        point = space.factor @ space.directions(centre, space.features[pair[:1]])[0]
        row = gains(pair[:1], everyone, space.products(centre, point @ space.factor)[None])[0]
        # An improvement by rounding alone could go back and forth for ever.
        improved = bool(row.max() > best * (1 + 1e-9))
        if improved:
            best, pair = row.max(), torch.stack([row.argmax(), pair[0]])
    return pair[lengths[pair].argmin()]
