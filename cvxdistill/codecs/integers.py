"""Labels as whole numbers of few bits."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cvxdistill.codecs.base import LABELS, ArrayForm, EntryCodec
from cvxdistill.codecs.feedback import round_rows
from cvxdistill.codecs.kinds import to_distributions
from cvxdistill.codecs.packing import pack, packed_size, unpack

ZERO, STEP = "labels.zero", "labels.step"
# What the largest entry of a distribution is tried at: about so many places among the levels,
# at 8 bits every level. In memory, so many entries are tried at once.
PLACES_TRIED = 64
TRIED_AT_ONCE = 2**18
# Shares of the range of a column that its levels may cover, the whole of it first.
COVERED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)


class IntegerCodec(EntryCodec):
    r"""Every entry as one of `2^bits` levels, without gaps between the numbers.

    Scores of a column are `zero + step * k`. The levels span the part of the column's range that
    makes its squared error least: all of it at 8 bits, less at 2, where a few outliers would cost
    every other entry a wide step. `zero` and `step` take 16 bits each a column.

    The entries of a distribution are `k / sum k`. The sum says what a step is worth, so that there
    is nothing else to store, and the levels of a row always reach up to its largest entry. Which
    level this entry is at is tried for many places in the upper half of them.

    Attributes:
        bits: of an entry.
    """

    bits_each: ClassVar[int]
    # The lowest of the labels need not be the lowest level, and levels are laid anew.
    stable: ClassVar[tuple[str, ...]] = ("distribution",)

    @property
    def top(self) -> int:
        """The highest level."""
        return int(2**self.bits_each - 1)

    def rounding(self, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the rounding to the levels that suit these labels."""
        return Levels.fit(labels, self.top).rounded

    def _encode(self, labels: Tensor, label_kind: str, metric: Tensor | None) -> dict[str, Tensor]:
        if label_kind == "distribution":
            rounded = labels
            if metric is not None:
                rounded = round_rows(
                    labels, metric, lambda row: to_distributions(self._shares(row[None]))[0]
                )
            return {LABELS: pack(self._shares(rounded).long(), self.bits_each)}
        levels = Levels.fit(labels, self.top)
        rounded = labels if metric is None else round_rows(labels, metric, levels.rounded)
        return {
            LABELS: pack(levels.numbers(rounded), self.bits_each),
            ZERO: levels.zero,
            STEP: levels.step,
        }

    def _decode(
        self, arrays: Mapping[str, Tensor], shape: tuple[int, int], label_kind: str
    ) -> Tensor:
        numbers = unpack(arrays[LABELS], self.bits_each, shape)
        if label_kind == "distribution":
            return numbers.to(torch.float64)
        return Levels(arrays[ZERO], arrays[STEP], self.top).values(numbers)

    def _layout(self, examples: int, classes: int, label_kind: str) -> dict[str, ArrayForm]:
        size = packed_size(examples * classes, self.bits_each)
        form = {LABELS: ArrayForm(torch.uint8, (size,))}
        if label_kind == "scores":
            form |= {name: ArrayForm(torch.float16, (classes,)) for name in (ZERO, STEP)}
        return form

    def _entry_bound(self, labels: Tensor, label_kind: str) -> Tensor:
        if label_kind == "distribution":
            half = labels.amax(1, keepdim=True) / (2 * self.top)
            return half.expand_as(labels)
        levels = Levels.fit(labels, self.top)
        ends = levels.values(torch.tensor([[0], [self.top]]))
        outside = torch.maximum(ends[0] - labels, labels - ends[1])
        # Half a step between the levels, and all the way to them from outside.
        return torch.maximum(levels.step.double() / 2, outside)

    def _shares(self, rows: Tensor) -> Tensor:
        """Return whole numbers `(m, C)` whose shares of their sums are nearest to `rows`."""
        wanted = to_distributions(rows)
        # A row whose largest number is in the lower half is the same as one with all doubled.
        fine = max(1, PLACES_TRIED // self.top)
        places = torch.arange(fine * self.top + fine // 2, fine * self.top // 2, -1)
        tops = (places.to(wanted.dtype) / fine)[:, None, None]
        size = max(1, TRIED_AT_ONCE // (len(tops) * wanted.shape[1]))
        parts = []
        for part in wanted.split(size):
            numbers = (part / part.amax(1, keepdim=True) * tops).round().clamp_max(self.top)
            errors = (numbers / numbers.sum(2, keepdim=True) - part).square().sum(2)
            parts.append(numbers[errors.argmin(0), torch.arange(len(part))])
        return torch.cat(parts)


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
    """The levels `zero + step * k`, `k = 0 .. top`, of every column.

    Attributes:
        zero: `(C,)` float16.
        step: `(C,)` float16, zero or more.
        top: the highest `k`.
    """

    zero: Tensor
    step: Tensor
    top: int

    @classmethod
    def fit(cls, labels: Tensor, top: int) -> "Levels":
        """Return levels over the share of each column's range that has the least squared error."""
        low, high = labels.amin(0), labels.amax(0)
        tried = []
        for share in COVERED:
            cut = (1 - share) / 2 * (high - low)
            tried.append(cls.between(low + cut, high - cut, top))
        errors = torch.stack([(one.rounded(labels) - labels).square().sum(0) for one in tried])
        best = errors.argmin(0, keepdim=True)
        zeros = torch.stack([one.zero for one in tried])
        steps = torch.stack([one.step for one in tried])
        return cls(zeros.gather(0, best)[0], steps.gather(0, best)[0], top)

    @classmethod
    def between(cls, low: Tensor, high: Tensor, top: int) -> "Levels":
        """Return levels from `low (C,)` at the latest to `high` at the earliest."""
        zero = -_float16_above(-low)
        return cls(zero, _float16_above((high - zero.double()) / top), top)

    def numbers(self, labels: Tensor) -> Tensor:
        """Return the nearest `k (..., C)`."""
        step = self.step.double()
        places = torch.where(step > 0, (labels - self.zero.double()) / step, 0.0)
        return places.round().clamp(0, self.top).to(torch.int64)

    def values(self, numbers: Tensor) -> Tensor:
        """Return what `k (..., C)` stand for."""
        return self.zero.double() + self.step.double() * numbers

    def rounded(self, labels: Tensor) -> Tensor:
        """Return the nearest levels to `labels (..., C)`."""
        return self.values(self.numbers(labels))


def _float16_above(values: Tensor) -> Tensor:
    """Return the smallest float16 numbers that are not below `values`."""
    wide = values.numpy()
    near = wide.astype(np.float16)
    above = np.where(near < wide, np.nextafter(near, np.float16(np.inf)), near)
    return torch.from_numpy(above.astype(np.float16))


@dataclasses.dataclass(frozen=True)
class Int8(IntegerCodec):
    """8 bits an entry.

    Choose it for labels that are to be sent or kept: heads fitted to them lose nothing.

    Example:
        >>> Int8().bits(100, 10, "distribution"), Int8().bits(100, 10, "scores")
        (8000, 8336)
    """

    name: ClassVar[str] = "int8"
    bits_each: ClassVar[int] = 8


@dataclasses.dataclass(frozen=True)
class Int4(IntegerCodec):
    """4 bits an entry, two of them in a byte.

    Choose it where bits count more than a few tenths of a point.

    Example:
        >>> Int4().bits(100, 10, "distribution")
        4000
    """

    name: ClassVar[str] = "int4"
    bits_each: ClassVar[int] = 4


@dataclasses.dataclass(frozen=True)
class Int3(IntegerCodec):
    """3 bits an entry, eight of them in three bytes.

    Choose it where bits count more than about a point.

    Example:
        >>> Int3().bits(100, 10, "distribution")
        3000
    """

    name: ClassVar[str] = "int3"
    bits_each: ClassVar[int] = 3


@dataclasses.dataclass(frozen=True)
class Int2(IntegerCodec):
    """2 bits an entry, four of them in a byte.

    Choose it where bits count more than a few points of accuracy, and give it a metric.

    Example:
        >>> Int2().bits(100, 10, "distribution")
        2000
    """

    name: ClassVar[str] = "int2"
    bits_each: ClassVar[int] = 2
