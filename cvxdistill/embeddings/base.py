"""What a set of embeddings is: rows of features with their targets, in shards, never read whole.

Embeddings that other programs wrote come in many formats and sizes. Every reader gives the same
view of them: a list of shards with their numbers of rows, and rows from one number to another.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from cvxdistill.errors import InputError

# What the targets of the rows are: class numbers, real vectors (regression, multi-label), or none.
TargetKind = Literal["classes", "real", "none"]


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

    The contract, checked for every registered reader: rows come in the order of the shards, each
    once, whatever `batch_rows`; `rows(a, b)` gives exactly the rows `a <= i < b` of that order; no
    batch crosses a shard; opening reads headers, labels at most, and never all features; damaged,
    mis-shaped, non-finite and pickled input raises `InputError`, which names the shard.

    Args:
        path: file or folder.

    Class attributes:
        name: the key in `READERS`.
    """

    name: ClassVar[str]

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether what lies at `path` looks like this format; never raises."""

    @property
    @abstractmethod
    def layout(self) -> EmbeddingLayout:
        """What is known before rows are read; computed once.

        Raises:
            InputError: nothing there, or shards that contradict one another.
        """

    @abstractmethod
    def read(self, shard: int, start: int, stop: int) -> Rows:
        """Return rows `start` to `stop`, counted inside a shard; features checked to be finite.

        Raises:
            InputError: a damaged shard, or entries that are not finite.
        """

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
            for begin in range(low, high, batch_rows):
                yield self.read(index, begin, min(begin + batch_rows, high))
            first += shard.rows
