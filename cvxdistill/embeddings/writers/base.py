"""How the rows of one shard become files. One subclass a format."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from cvxdistill.files import atomic_file


@dataclasses.dataclass(frozen=True, eq=False)
class ShardRows:
    """The rows of one shard, in memory.

    Attributes:
        features: `(n, d)` in the type in which they are stored, on the CPU.
        labels: `(n,)` int64 classes, or `None`.
        metadata: columns of further facts, one entry a row.
        class_names: one name a class; empty without labels.
    """

    features: Tensor
    labels: Tensor | None
    metadata: Mapping[str, list[Any]]
    class_names: tuple[str, ...] = ()


class ShardWriter(ABC):
    """Writes one format. To add one: a subclass in its own file and one line in `WRITERS`.

    The contract, checked for every registered writer: what it writes is read by the reader of the
    same name, rows, types and class names kept; equal rows give equal bytes; each file appears
    whole or not at all.

    Class attributes:
        name: the key in `WRITERS`, and that of the reader in `READERS`.
        dtypes: the types of features that the format has.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def files(self, number: int, *, labelled: bool, metadata: bool) -> tuple[str, ...]:
        """Return the names of the files of shard `number`."""

    @abstractmethod
    def write(self, folder: Path, number: int, rows: ShardRows) -> None:
        """Write shard `number` into `folder`.

        Raises:
            InputError: the folder cannot be written, or a library is missing.
        """

    def begin(self, folder: Path, class_names: tuple[str, ...]) -> None:  # noqa: B027
        """Write what the whole folder needs besides shards; nothing unless overridden."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file that then appears whole."""
    with atomic_file(path) as temporary:
        write(temporary)
