"""The span of chosen examples in the metric of the label objective, and what others add to it."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.choose.geometry import blocks
from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead, Target

# A candidate is taken to lie in the span when less than this share of its squared length is
# outside: what is left is then known to four digits, and labels would have to be 1e4 times larger
# to make use of it.
DEPENDENT = 1e-8


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """Candidates as directions of weights, and the target's objective on them.

    A direction `u (q)` has the coordinates `x = F u (p)`, in which the objective is Euclidean.

    Attributes:
        features: `(N, d)` candidates as given.
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
    ) -> "Space":
        """Read `F`, `g` and the residual off the target.

        Raises:
            InputError: features and target that do not fit one another.
        """
        found = head.target_root(target, target_l2=target_l2)
        if len(found.full.weights) != features.shape[1]:
            raise InputError(
                f"candidates and target must agree in features; got {features.shape[1]} and "
                f"{len(found.full.weights)}. Embed both with the same extractor."
            )
        factor, rhs = found.root.factor.to(features.device), found.root.rhs.to(features.device)
        if head.intercept == "free":
            # The last row is the error of the mean prediction, which the intercept makes zero.
            factor, rhs = factor[:-1, :-1], rhs[:-1]
        elif head.intercept == "none":
            factor = factor[:, :-1]
        return cls(features, factor, rhs, found.root.residual, found.count, head.intercept)

    def point(self, position: Tensor) -> Tensor:
        """Return one candidate's features `(d,)` in float64."""
        return self.features[position].to(torch.float64)

    def directions(self, rows: Tensor, origin: Tensor) -> Tensor:
        """Return the directions `(n, q)` of feature rows seen from the origin."""
        seen = rows.to(torch.float64) - origin
        if self.intercept == "penalised":
            seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
        return seen

    def coordinates(self, positions: Tensor, origin: Tensor) -> Tensor:
        """Return the coordinates `(n, p)` of some candidates."""
        return self.directions(self.features[positions], origin) @ self.factor.mT

    def along(self, vectors: Tensor, origin: Tensor) -> Tensor:
        """Return the inner products `(N, k)` of all candidates' coordinates with `vectors (k, p)`.

        They are taken as `Z (F'v)`, which costs `N d k` and not `N d p`.
        """
        right = (vectors @ self.factor).mT
        return torch.cat([self.directions(b, origin) @ right for b in blocks(self.features)])

    def lengths(self, origin: Tensor, basis: Tensor | None = None) -> Tensor:
        """Return the squared lengths `(N,)` of all candidates, or of their parts outside a basis.

        Args:
            origin: where candidates are seen from.
            basis: `(p, r)` orthonormal columns.
        """
        found = []
        for block in blocks(self.features):
            points = self.directions(block, origin) @ self.factor.mT
            if basis is not None:
                points = points - (points @ basis) @ basis.mT
            found.append(points.square().sum(1))
        return torch.cat(found)

    def objectives(self, positions: Tensor) -> Tensor:
        """Return the objectives `(k,)` of the first 1, 2, ..., `k` independent examples, solved."""
        origin = torch.zeros_like(self.point(positions[0]))
        if self.intercept == "free":
            # The first is the reference: it brings no direction.
            origin, positions = self.point(positions[0]), positions[1:]
        basis = torch.linalg.qr(self.coordinates(positions, origin).mT).Q
        shares = basis.mT @ self.rhs
        rest = (self.rhs - basis @ shares).square().sum()
        # Summed from the end, so that a small objective is not the difference of large ones.
        gains = shares.square().sum(1)
        left = torch.cat([rest[None], rest + gains.flip(0).cumsum(0)]).flip(0)
        left = left if self.intercept == "free" else left[1:]
        return (self.residual + left) / self.count


class Span:
    """The span of some examples seen from an origin, kept up to date for all candidates.

    Attributes:
        members: positions of the examples that span it.
    """

    def __init__(self, space: Space, origin: Tensor, members: list[Tensor]) -> None:
        self.members = members
        self._space, self._origin = space, origin
        self._lengths = space.lengths(origin)
        if members:
            basis = torch.linalg.qr(self._points().mT).Q
            self._outside = space.lengths(origin, basis)
            self._error = space.rhs - basis @ (basis.mT @ space.rhs)
        else:
            self._outside, self._error = self._lengths, space.rhs
        self._pulls = space.along(self._error.mT, origin)

    def best(self, free: Tensor) -> tuple[Tensor, Tensor]:
        """Return which free candidate lowers the objective most, and by how much.

        Of equals the one farthest outside is taken: the last direction, which all candidates
        complete alike, is then the best conditioned. The gain is negative where all of them lie in
        the span already.
        """
        gains = self._gains(free)
        equal = gains >= gains.max() * (1 - 1e-9)
        best = torch.where(equal, self._outside, -1.0).argmax()
        return best, gains[best]

    def add(self, position: Tensor) -> None:
        """Take one more example in: a rank-one update of every candidate's numbers."""
        vector = self._space.coordinates(position[None], self._origin)[0]
        if self.members:
            basis = torch.linalg.qr(self._points().mT).Q
            for _ in range(2):
                # Twice is enough for orthogonality to the last digit (Parlett 1980).
                vector = vector - basis @ (basis.mT @ vector)
        self.members = [*self.members, position]
        self._move(vector / torch.linalg.vector_norm(vector), sign=-1.0)

    def exchange(self, index: int, free: Tensor) -> bool:
        """Put the best of the free candidates in the place of one member, if that is better.

        The part of the span that only this member reaches is its row of the pseudo-inverse, so
        taking it out is a rank-one update as well.
        """
        dual = torch.linalg.pinv(self._points())[:, index]
        self._move(dual / torch.linalg.vector_norm(dual), sign=1.0)
        old = self.members.pop(index)
        gains = self._gains(free.index_fill(0, old, value=True))
        best = gains.argmax()
        # An improvement by rounding alone could go back and forth for ever.
        better = bool(gains[best] > gains[old] * (1 + 1e-9))
        self.add(best if better else old)
        self.members.insert(index, self.members.pop())
        return better

    def _gains(self, free: Tensor) -> Tensor:
        fresh = free & (self._outside > DEPENDENT * self._lengths)
        return torch.where(fresh, self._pulls.square().sum(1) / self._outside, -1.0)

    def _points(self) -> Tensor:
        return self._space.coordinates(torch.stack(self.members), self._origin)

    def _move(self, unit: Tensor, *, sign: float) -> None:
        """Add a unit vector to the span (`sign` -1) or take it out (+1)."""
        share = unit @ self._space.rhs
        along = self._space.along(unit[None], self._origin)
        self._outside = self._outside + sign * along.square().squeeze(1)
        self._pulls = self._pulls + sign * along * share
        self._error = self._error + sign * torch.outer(unit, share)
