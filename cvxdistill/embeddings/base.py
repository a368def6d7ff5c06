"""What a set of embeddings is: rows of features with their targets, in shards, never read whole.

Embeddings that other programs wrote come in many formats and sizes. Every reader gives the same
view of them: a list of shards with their numbers of rows, and rows from one number to another.
"""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.embeddings.places import choose_split
from cvxdistill.embeddings.stored import Contents, StoredRows, check_alike, check_features
from cvxdistill.embeddings.targets import TargetCoding, TargetKind, as_weights, find_coding
from cvxdistill.errors import InputError


@dataclasses.dataclass(frozen=True)
class Shard:
    """One piece of a set of embeddings.

    Attributes:
        name: what messages call it, usually its path.
        rows: number of rows in it.
    """

    name: str
    rows: int


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Some consecutive rows.

    Attributes:
        features: `(n, d)`, floating, in the type in which they are stored, finite.
        targets: `(n,)` int64 classes from 0, `(n, C)` float64 real targets, or `None`.
        weights: `(n,)` float64 weights of examples, not negative, or `None` where all weigh 1.
        start: number of the first row in the whole set.
        shard: number of the shard that all of these rows are in.
    """

    features: Tensor
    targets: Tensor | None
    weights: Tensor | None
    start: int
    shard: int

    def __len__(self) -> int:
        return len(self.features)


@dataclasses.dataclass(frozen=True)
class EmbeddingLayout:
    """What is known of a set of embeddings before its rows are read.

    Attributes:
        shards: in reading order.
        num_features: `d`.
        dtype: of the features as stored, such as `float16`.
        target_kind: `classes`, `real` or `none`.
        target_names: one name a class or a real target, of length `C`; empty without targets.
        weighted: whether rows carry weights.
    """

    shards: tuple[Shard, ...]
    num_features: int
    dtype: str
    target_kind: TargetKind
    target_names: tuple[str, ...] = ()
    weighted: bool = False

    @property
    def num_rows(self) -> int:
        """Number of rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def num_targets(self) -> int:
        """`C`, number of classes or of real targets."""
        return len(self.target_names)


class EmbeddingReader(ABC):
    """Reads one format. To add one: a subclass in a file of its own and one line in `READERS`.

    A subclass says how headers, labels and rows of a shard are read; that shards agree, how labels
    are numbered, and that entries are finite is settled here, for all formats alike.

    The contract, checked for every registered reader: rows come in the order of the shards, each
    once, whatever `batch_rows`; `rows(a, b)` gives exactly the rows `a <= i < b` of that order; no
    batch crosses a shard; opening reads headers, labels at most, and never all features; damaged,
    mis-shaped, non-finite and pickled input raises `InputError`, which names the shard.

    Args:
        path: file or folder.
        split: the part to read, such as `train`, where `path` holds several.
        features: name of the array, tensor or column of features; guessed when not given.
        labels: the same for labels.
        weights: the same for weights of examples.

    Class attributes:
        name: the key in `READERS`.
    """

    name: ClassVar[str]

    def __init__(
        self,
        path: Path | str,
        *,
        split: str | None = None,
        features: str | None = None,
        labels: str | None = None,
        weights: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.split = split
        self.features = features
        self.labels = labels
        self.weights = weights

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether what lies at `path` looks like this format; never raises."""

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Return the parts that can be read, in the order train, validation, test; or `all`.

        Raises:
            InputError: nothing there.
        """

    @abstractmethod
    def _open(self) -> Contents:
        """Read the headers of all shards of the chosen split."""

    @abstractmethod
    def _labels(self, shard: int) -> Iterator[NDArray[Any]]:
        """Yield all labels of a shard in order, in blocks; called for labelled shards only."""

    @abstractmethod
    def _stored(self, shard: int, start: int, stop: int, size: int) -> Iterator[StoredRows]:
        """Yield the rows `start` to `stop` of a shard in order, `size` at a time at most."""

    @functools.cached_property
    def chosen_split(self) -> str:
        """The one of `splits()` that is read.

        Raises:
            InputError: nothing there, several splits and none named, or one that is not there.
        """
        return choose_split(self.split, self.splits(), place=self.path)

    @functools.cached_property
    def _contents(self) -> Contents:
        contents = self._open()
        check_alike(contents, place=self.path)
        return contents

    @functools.cached_property
    def _coding(self) -> TargetCoding:
        if not self._contents.first.labelled:
            return TargetCoding("none", ())
        return find_coding(self._label_blocks(), self._contents.class_names)

    def _label_blocks(self) -> Iterator[tuple[str, int, NDArray[Any]]]:
        """Yield the name of the shard, the first row's number, and labels, for all labels."""
        for index, header in enumerate(self._contents.headers):
            start = 0
            for block in self._labels(index) if header.rows else ():
                yield header.name, start, block
                start += len(block)

    def targets(self) -> Iterator[Tensor]:
        """Yield the targets of all rows in order, in blocks, without reading features."""
        for name, start, block in self._label_blocks():
            yield self._coding.code(block, name=name, start=start)

    @functools.cached_property
    def layout(self) -> EmbeddingLayout:
        """What is known before rows are read; computed once.

        Raises:
            InputError: nothing there, or shards that contradict one another.
        """
        first = self._contents.first
        return EmbeddingLayout(
            shards=tuple(Shard(header.name, header.rows) for header in self._contents.headers),
            num_features=first.num_features,
            dtype=first.dtype,
            target_kind=self._coding.kind,
            target_names=self._coding.names,
            weighted=first.weighted,
        )

    def read(self, shard: int, start: int, stop: int) -> Rows:
        """Return rows `start` to `stop`, counted inside a shard; features checked to be finite.

        Compressed formats decode from the beginning of a row group or an archive: to read on and
        on, use `rows`.

        Raises:
            InputError: a range outside the shard, a damaged shard, or entries that are not finite.
        """
        header = self._contents.headers[shard]
        if not 0 <= start <= stop <= header.rows:
            raise InputError(
                f"rows of {header.name} must lie in 0..{header.rows}; got {start} to {stop}."
            )
        if start == stop:
            return self._no_rows(shard, start)
        parts = list(self._checked(shard, start, stop, stop - start))
        if len(parts) == 1:
            return parts[0]
        targets = [part.targets for part in parts if part.targets is not None]
        weights = [part.weights for part in parts if part.weights is not None]
        return dataclasses.replace(
            parts[0],
            features=torch.cat([part.features for part in parts]),
            targets=torch.cat(targets) if targets else None,
            weights=torch.cat(weights) if weights else None,
        )

    def rows(
        self, start: int = 0, stop: int | None = None, *, batch_rows: int = 65536
    ) -> Iterator[Rows]:
        """Yield rows `start <= i < stop` of the whole set, a batch at a time, shard after shard.

        Args:
            start: first row.
            stop: row after the last; the number of rows when not given.
            batch_rows: rows in a batch at most.

        Raises:
            InputError: a range outside the set, or a shard that cannot be read.
        """
        total = self.layout.num_rows
        stop = total if stop is None else stop
        if not 0 <= start <= stop <= total or batch_rows < 1:
            raise InputError(
                f"rows must lie in 0..{total} and batches have 1 row or more; got {start} to "
                f"{stop} in batches of {batch_rows}."
            )
        first = 0
        for index, shard in enumerate(self.layout.shards):
            low, high = max(start - first, 0), min(stop - first, shard.rows)
            if low < high:
                yield from self._checked(index, low, high, batch_rows)
            first += shard.rows

    def _checked(self, shard: int, start: int, stop: int, size: int) -> Iterator[Rows]:
        first = sum(header.rows for header in self._contents.headers[:shard])
        name = self._contents.headers[shard].name
        width = self._contents.first.num_features
        at = start
        for stored in self._stored(shard, start, stop, size):
            check_features(stored.features, columns=width, name=name, start=at)
            labels, weights = stored.labels, stored.weights
            yield Rows(
                features=stored.features,
                targets=None if labels is None else self._coding.code(labels, name=name, start=at),
                weights=None if weights is None else as_weights(weights, name=name, start=at),
                start=first + at,
                shard=shard,
            )
            at += len(stored.features)
        if at != stop:
            raise InputError(
                f"{name} must have rows up to {stop}; got {at}. Check or replace the file."
            )

    def _no_rows(self, shard: int, start: int) -> Rows:
        layout = self.layout
        shapes = {"classes": (0,), "real": (0, layout.num_targets)}
        kinds = {"classes": torch.int64, "real": torch.float64}
        kind = layout.target_kind
        return Rows(
            features=torch.empty(0, layout.num_features, dtype=getattr(torch, layout.dtype)),
            targets=None if kind == "none" else torch.empty(shapes[kind], dtype=kinds[kind]),
            weights=torch.empty(0, dtype=torch.float64) if layout.weighted else None,
            start=sum(part.rows for part in layout.shards[:shard]) + start,
            shard=shard,
        )
