"""One `npz` archive with features, labels and weights, read as a stream."""

import contextlib
import functools
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from cvxdistill.embeddings.base import EmbeddingReader
from cvxdistill.embeddings.pairing import ArrayPair, pair_told
from cvxdistill.embeddings.stored import LABEL_BLOCK, Contents, StoredRows, array_header, native
from cvxdistill.embeddings.targets import as_class_values
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_NAMES = "class_names"
_SKIP = 1 << 24


class NpzShards(EmbeddingReader):
    """An `npz` archive, `npz:PATH`, as `numpy.savez` and `numpy.savez_compressed` write it.

    Arrays have the names that files have in `npy`: `features` with `labels`, `weights` and
    `class_names`, with numbers of shards or without, with a split (`train_features`) or without.

    Arrays in an archive cannot be mapped into memory, and those of a compressed one are packed from
    beginning to end. So rows are unpacked as a stream, and `read` unpacks all rows before those it
    returns: `rows` is the way to read on and on. An array in Fortran order is read whole. Where
    there is a choice, write `npy`.
    """

    name = "npz"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` is a file whose name ends in `.npz`."""
        return path.is_file() and path.suffix.lower() == ".npz"

    def splits(self) -> tuple[str, ...]:
        """Return the parts that can be read; see `EmbeddingReader.splits`.

        Raises:
            InputError: no archive, or no arrays that belong together.
        """
        return tuple(self._pairs)

    @functools.cached_property
    def _names(self) -> list[str]:
        if not self.path.is_file():
            raise InputError(
                f"npz expects an npz archive; {self.path} is "
                f"{'a folder' if self.path.exists() else 'not there'}. Correct the path."
            )
        with open_npz(self.path) as archive:
            return list(archive.files)

    @functools.cached_property
    def _pairs(self) -> dict[str, ArrayPair]:
        return pair_told(
            self._names,
            place=self.path,
            features=self.features,
            labels=self.labels,
            weights=self.weights,
        )

    @property
    def _arrays(self) -> ArrayPair:
        return self._pairs[self.chosen_split]

    def _open(self) -> Contents:
        arrays = self._arrays
        with open_npz(self.path) as archive:
            names = None
            if _NAMES in self._names:
                stored = as_class_values(archive[_NAMES], name=f"`{_NAMES}` in {self.path}")
                names = tuple(map(str, stored))
        headers = []
        for k, name in enumerate(arrays.examples):
            features = self._member(name)
            headers.append(
                array_header(
                    features.shape,
                    str(features.dtype.newbyteorder("=")),
                    name=self._say(name),
                    labels=self._member(arrays.labels[k]).shape if arrays.labels else None,
                    weights=self._member(arrays.weights[k]).shape if arrays.weights else None,
                )
            )
        return Contents(tuple(headers), names)

    def _labels(self, shard: int) -> Iterator[NDArray[Any]]:
        member = self._member(self._arrays.labels[shard])
        return member.batches(0, member.shape[0], LABEL_BLOCK)

    def _stored(self, shard: int, start: int, stop: int, size: int) -> Iterator[StoredRows]:
        arrays = self._arrays
        features, labels, weights = (
            self._member(names[shard]).batches(start, stop, size) if names else None
            for names in (arrays.examples, arrays.labels, arrays.weights)
        )
        for block in features or ():
            yield StoredRows(
                torch.from_numpy(block),
                None if labels is None else next(labels),
                None if weights is None else next(weights),
            )

    def _say(self, name: str) -> str:
        return f"`{name}` in {self.path}"

    def _member(self, name: str) -> "_Member":
        return _Member(self.path, name)


class _Member:
    """One array of an archive, unpacked from its beginning for each reading."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        with self._open() as stream:
            self.shape, self._fortran, self.dtype = _read_header(stream)

    def batches(self, start: int, stop: int, size: int) -> Iterator[NDArray[Any]]:
        """Yield the rows `start` to `stop` in order, `size` at a time."""
        ends = [min(low + size, stop) for low in range(start, stop, size)]
        if self._fortran:
            with open_npz(self._path) as archive:
                whole = archive[self._name]
            for low, high in zip(range(start, stop, size), ends, strict=True):
                yield native(whole[low:high])
            return
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self._open() as stream:
            _read_header(stream)
            left = start * width
            while left:
                left -= len(_read_exactly(stream, min(left, _SKIP)))
            for low, high in zip(range(start, stop, size), ends, strict=True):
                block = _read_exactly(stream, (high - low) * width)
                rows = np.frombuffer(block, self.dtype).reshape(high - low, *self.shape[1:])
                yield native(rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with (
            reading(self._path, expected=f"an npz archive with an array `{self._name}`"),
            zipfile.ZipFile(self._path) as archive,
            archive.open(f"{self._name}.npy") as stream,
        ):
            yield stream


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether in Fortran order, and type of the array that begins here."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are refused")
    return shape, fortran and len(shape) > 1, dtype


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    block = stream.read(count)
    if len(block) != count:
        raise ValueError(f"it ends {count - len(block)} bytes too early")
    return block


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """Open an `npz` archive whose arrays are read inside the block; pickled objects are refused.

    Args:
        path: the archive, as `numpy.savez` or `numpy.savez_compressed` writes it.

    Raises:
        InputError: unreadable, no archive, or anything wrong with an array read inside the block.
    """
    with reading(path, expected="an npz archive"):
        # numpy takes anything else for a pickle and advises to load it unsafely.
        if not zipfile.is_zipfile(path):
            raise ValueError("not a zip file")
        with np.load(path, allow_pickle=False) as archive:
            yield archive
