"""Folders of `.npy` files: `features_K.npy` with `labels_K.npy`, read through a memory map."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cvxdistill.embeddings.base import EmbeddingReader
from cvxdistill.embeddings.pairing import FEATURES, LABELS, WEIGHTS, ArrayPair, pair_arrays
from cvxdistill.embeddings.places import choose_split, read_class_names
from cvxdistill.embeddings.stored import Contents, StoredRows, array_header, native
from cvxdistill.errors import InputError
from cvxdistill.files import reading


class NpyShards(EmbeddingReader):
    """A folder of `.npy` files, `npy:PATH`, as `numpy.save` writes them.

    The fastest to read, and needs no library. `features_K.npy` `(n, d)` lie beside `labels_K.npy`
    and, optionally, `weights_K.npy`, with any numbers `K`, or without a number where there is one
    shard. Labels are `(n,)` whole numbers or strings (classes), floats `(n,)` or `(n, C)` (real
    targets), or `(n, C)` whole numbers or truth values (multi-label). Names of classes or targets
    lie in `class_names.npy`, `class_names.json` (a list) or `class_names.txt` (one a line); whole
    numbers are then positions in them.

    Files are mapped for each batch and released after it, so that resident memory does not grow
    with the size of a shard.
    """

    name = "npy"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` is a folder with `.npy` files."""
        return path.is_dir() and any(path.glob("*.npy"))

    @functools.cached_property
    def _files(self) -> ArrayPair:
        if not self.path.is_dir():
            raise InputError(
                f"npy expects a folder of .npy files; {self.path} is "
                f"{'a file' if self.path.exists() else 'not there'}. Correct the path."
            )
        pairs = pair_arrays(
            [file.stem for file in self.path.glob("*.npy")],
            place=self.path,
            examples=[self.features] if self.features else FEATURES,
            labels=[self.labels] if self.labels else LABELS,
            weights=[self.weights] if self.weights else WEIGHTS,
            need_labels=self.labels is not None,
        )
        split = choose_split(self.split, tuple(pairs), place=self.path)
        return pairs[split]

    def _open(self) -> Contents:
        files = self._files
        headers = []
        for k, name in enumerate(files.examples):
            header = array_header(
                self._map(name).shape,
                str(self._map(name).dtype.newbyteorder("=")),
                name=str(self._path(name)),
                labels=self._map(files.labels[k]).shape if files.labels else None,
                weights=self._map(files.weights[k]).shape if files.weights else None,
            )
            headers.append(header)
        return Contents(tuple(headers), read_class_names(self.path))

    def _labels(self, shard: int, start: int, stop: int) -> NDArray[Any]:
        return native(self._map(self._files.labels[shard])[start:stop])

    def _stored(self, shard: int, start: int, stop: int, size: int) -> Iterator[StoredRows]:
        files = self._files
        for low in range(start, stop, size):
            part = slice(low, min(low + size, stop))
            yield StoredRows(
                features=torch.from_numpy(native(self._map(files.examples[shard])[part])),
                labels=native(self._map(files.labels[shard])[part]) if files.labels else None,
                weights=native(self._map(files.weights[shard])[part]) if files.weights else None,
            )

    def _path(self, name: str) -> Path:
        return self.path / f"{name}.npy"

    def _map(self, name: str) -> NDArray[Any]:
        return map_npy(self._path(name))


def map_npy(path: Path) -> NDArray[Any]:
    """Map a `.npy` file into memory; pickled objects are refused.

    Raises:
        InputError: missing, truncated, or no array of plain values.
    """
    with reading(path, expected="a .npy array"):
        return np.lib.format.open_memmap(path, mode="r")
