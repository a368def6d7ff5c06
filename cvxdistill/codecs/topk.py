"""Labels of which a few entries are stored, and one number for all others."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.codecs.base import ArrayForm, EntryCodec, LabelCodec
from cvxdistill.codecs.feedback import round_rows
from cvxdistill.codecs.floats import Float16
from cvxdistill.codecs.integers import Int4, Int8
from cvxdistill.codecs.kinds import to_distributions
from cvxdistill.codecs.packing import pack, packed_size, unpack
from cvxdistill.errors import InputError

PLACES = "labels.places"
VALUES: dict[str, EntryCodec] = {"float16": Float16(), "int8": Int8(), "int4": Int4()}


@dataclasses.dataclass(frozen=True)
class TopKCodec(LabelCodec):
    r"""The `k` entries of a row that tell most, with their classes; the others share one number.

    Choose it where there are many classes and each example is like a few of them. Of a distribution
    the largest entries are kept, and what they leave of 1 is spread evenly over all other classes,
    which stores nothing more. Of scores those are kept without which the others vary least, some of
    the largest and some of the smallest, and the mean of the others is stored beside them. A class
    takes `ceil(log2 C)` bits.

    Args:
        k: entries of a row.
        values: how they are stored, `float16`, `int8` or `int4`.

    Raises:
        InputError: `k` below 1, or an unknown way to store values.

    References:
        Shen and Xing 2022, "A fast knowledge distillation framework for visual recognition",
        https://arxiv.org/abs/2112.01528

    Example:
        >>> labels = torch.tensor([[0.5, 0.25, 0.15, 0.1]], dtype=torch.float64)
        >>> TopKCodec(k=2).encode(labels, "distribution").decode().tolist()
        [[0.5, 0.25, 0.125, 0.125]]
    """

    k: int = 3
    values: str = "float16"

    name: ClassVar[str] = "topk"
    # A kept entry can be rounded below the others, which are then kept in its place.
    stable: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"`k` must be 1 or more; got {self.k}.")
        check_choice("values", self.values, VALUES)

    @property
    def inner(self) -> EntryCodec:
        """What stores the values."""
        return VALUES[self.values]

    def _encode(self, labels: Tensor, label_kind: str, metric: Tensor | None) -> dict[str, Tensor]:
        places, values = self._take(labels, label_kind)
        if metric is not None:
            rounding, shape = self.inner.rounding(values), (1, labels.shape[1])

            def nearest(row: Tensor) -> Tensor:
                places, values = self._take(row[None], label_kind)
                filled = self._fill(places, rounding(values), shape, label_kind)[0]
                return to_distributions(filled) if label_kind == "distribution" else filled

            places, values = self._take(round_rows(labels, metric, nearest), label_kind)
        kept = self.inner._encode(values, "scores", None)
        return {**kept, PLACES: pack(places, _place_bits(labels.shape[1]))}

    def _decode(
        self, arrays: Mapping[str, Tensor], shape: tuple[int, int], label_kind: str
    ) -> Tensor:
        m, classes = shape
        places = unpack(arrays[PLACES], _place_bits(classes), (m, min(self.k, classes)))
        if int(places.max()) >= classes:
            raise InputError(
                f"labels stored as `{self}` name class {int(places.max())} of {classes}."
            )
        values = self.inner._decode(arrays, (m, self._columns(classes, label_kind)), "scores")
        return self._fill(places, values, shape, label_kind)

    def _layout(self, examples: int, classes: int, label_kind: str) -> dict[str, ArrayForm]:
        kept = self.inner._layout(examples, self._columns(classes, label_kind), "scores")
        places = examples * min(self.k, classes)
        size = packed_size(places, _place_bits(classes))
        return {**kept, PLACES: ArrayForm(torch.uint8, (size,))}

    def _entry_bound(self, labels: Tensor, label_kind: str) -> Tensor:
        places, values = self._take(labels, label_kind)
        exact = self._fill(places, values, tuple(labels.shape), label_kind)
        off = self.inner._entry_bound(values, "scores")
        kept = places.shape[1]
        others = max(labels.shape[1] - kept, 1)
        # What the kept entries gain or lose, the others share.
        shared = off[:, kept:] if label_kind == "scores" else off.sum(1, keepdim=True) / others
        if shared.shape[1] == 0:
            shared = torch.zeros_like(off[:, :1])
        spread = shared.expand_as(labels).scatter(1, places, off[:, :kept])
        return (exact - labels).abs() + spread

    def _columns(self, classes: int, label_kind: str) -> int:
        kept = min(self.k, classes)
        return kept + (label_kind == "scores" and kept < classes)

    def _take(self, rows: Tensor, label_kind: str) -> tuple[Tensor, Tensor]:
        """Return the places `(m, k)` and values of kept entries; of scores, the others' mean too.

        Both fall from left to right, so that a column of values holds numbers of one size.
        """
        classes = rows.shape[1]
        kept = min(self.k, classes)
        if label_kind == "distribution":
            largest = to_distributions(rows).topk(kept, dim=1)
            return largest.indices, largest.values
        ordered, order = rows.sort(dim=1, descending=True, stable=True)
        if kept == classes:
            return order, ordered
        # The others are neighbours in this order; which ones, is told by how much they vary.
        windows = ordered.unfold(1, classes - kept, 1)
        first = windows.var(2, correction=0).argmin(1, keepdim=True)
        columns = torch.arange(kept).expand(len(rows), kept)
        columns = torch.where(columns < first, columns, columns + classes - kept)
        mean = windows.mean(2).gather(1, first)
        return order.gather(1, columns), torch.cat([ordered.gather(1, columns), mean], dim=1)

    def _fill(
        self, places: Tensor, values: Tensor, shape: tuple[int, ...], label_kind: str
    ) -> Tensor:
        """Return labels `shape` with the values at their places, and the others as they follow."""
        kept, classes = places.shape[1], shape[1]
        rest = values[:, kept:]
        if label_kind == "distribution":
            left = 1 - values.sum(1, keepdim=True)
            rest = (left / max(classes - kept, 1)).clamp_min(0)
        if rest.shape[1] == 0:
            return torch.zeros(shape, dtype=values.dtype).scatter(1, places, values)
        return rest.expand(shape).scatter(1, places, values[:, :kept])


def _place_bits(classes: int) -> int:
    return (classes - 1).bit_length()
