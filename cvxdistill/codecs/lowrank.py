"""Labels as the product of two narrow matrices."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.codecs.base import ArrayForm, EntryCodec, LabelCodec
from cvxdistill.codecs.floats import Float16
from cvxdistill.codecs.integers import Int8
from cvxdistill.errors import InputError

LEFT, RIGHT = "labels.left", "labels.right"
FACTORS: dict[str, EntryCodec] = {"float16": Float16(), "int8": Int8()}


@dataclasses.dataclass(frozen=True)
class LowRankCodec(LabelCodec):
    r"""Labels as `A B'` with `A (m, r)` and `B (C, r)`.

    Choose it where classes are many and labels move together, since it takes `r (m + C)` numbers
    for `m C`. The product nearest to labels `Y` projects rows on the leading eigenvectors `V` of
    `Y' Y` (Eckart and Young 1936), and with a metric `K` on those of `Y' K Y`: then `B = V`,
    rounded, and `A` is what fits best to that. Of distributions the uniform one is taken off first,
    whose direction they all share, so that rank `C - 1` is enough for any of them.

    Args:
        rank: `r`, the columns of both factors.
        values: how the factors are stored, `float16` or `int8`.

    Raises:
        InputError: `rank` below 1, or an unknown way to store factors.

    References:
        Eckart and Young 1936, "The approximation of one matrix by another of lower rank",
        https://doi.org/10.1007/BF02288367

    Example:
        >>> LowRankCodec(rank=4).bits(100, 26, "distribution")
        8064
    """

    rank: int = 4
    values: str = "float16"

    name: ClassVar[str] = "low-rank"
    stable: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"`rank` must be 1 or more; got {self.rank}.")
        check_choice("values", self.values, FACTORS)

    @property
    def inner(self) -> EntryCodec:
        """What stores the factors."""
        return FACTORS[self.values]

    def _encode(self, labels: Tensor, label_kind: str, metric: Tensor | None) -> dict[str, Tensor]:
        left, right = self._factors(labels, label_kind, metric)
        arrays: dict[str, Tensor] = {}
        for prefix, factor in ((LEFT, left), (RIGHT, right)):
            kept = self.inner._encode(factor, "scores", None)
            arrays |= {_renamed(name, prefix): array for name, array in kept.items()}
        return arrays

    def _decode(
        self, arrays: Mapping[str, Tensor], shape: tuple[int, int], label_kind: str
    ) -> Tensor:
        rank = self._rank(*shape)
        both = []
        for prefix, rows in ((LEFT, shape[0]), (RIGHT, shape[1])):
            names = self.inner._layout(rows, rank, "scores")
            own = {name: arrays[_renamed(name, prefix)] for name in names}
            both.append(self.inner._decode(own, (rows, rank), "scores"))
        return both[0] @ both[1].mT + _shared(shape[1], label_kind)

    def _layout(self, examples: int, classes: int, label_kind: str) -> dict[str, ArrayForm]:  # noqa: ARG002
        rank = self._rank(examples, classes)
        return {
            _renamed(name, prefix): form
            for prefix, rows in ((LEFT, examples), (RIGHT, classes))
            for name, form in self.inner._layout(rows, rank, "scores").items()
        }

    def _entry_bound(self, labels: Tensor, label_kind: str) -> Tensor:
        left, right = self._factors(labels, label_kind, None)
        missing = (left @ right.mT + _shared(labels.shape[1], label_kind) - labels).abs()
        return missing + self.inner._entry_bound(left, "scores") @ right.abs().mT

    def _rank(self, examples: int, classes: int) -> int:
        return min(self.rank, examples, classes)

    def _factors(
        self, labels: Tensor, label_kind: str, metric: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return `A (m, r)`, and `B (C, r)` as it comes out of the store."""
        plain = labels - _shared(labels.shape[1], label_kind)
        rank = self._rank(*labels.shape)
        seen = plain if metric is None else metric @ plain
        vectors = torch.linalg.eigh(plain.mT @ seen).eigenvectors
        right = vectors[:, -rank:].flip(1).contiguous()
        right = self.inner.rounding(right)(right)
        return plain @ torch.linalg.pinv(right).mT, right


def _shared(classes: int, label_kind: str) -> float:
    return 1 / classes if label_kind == "distribution" else 0.0


def _renamed(name: str, prefix: str) -> str:
    """Return the name of a factor's array: `labels.step` of the left one is `labels.left.step`."""
    return prefix + name.removeprefix("labels")
