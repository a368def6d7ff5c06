"""Folders of `.npy` files: `features_K.npy` with `labels_K.npy`, read through a memory map."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cvxdistill.embeddings.base import EmbeddingReader
from cvxdistill.embeddings.pairing import ArrayPair, pair_told
from cvxdistill.embeddings.places import ALL, read_class_names, split_folders
from cvxdistill.embeddings.stored import LABEL_BLOCK, Contents, StoredRows, array_header, native
from cvxdistill.errors import InputError
from cvxdistill.files import reading


class NpyShards(EmbeddingReader):
    """A folder of `.npy` files, `npy:PATH`, as `numpy.save` writes them.

    The fastest to read, and needs no library. `features_K.npy` `(n, d)` lie beside `labels_K.npy`
    and, optionally, `weights_K.npy`, with any numbers `K`, or without a number where there is one
    shard. Labels are `(n,)` whole numbers or strings (classes), floats `(n,)` or `(n, C)` (real
    targets), or `(n, C)` whole numbers or truth values (multi-label). Names of classes or targets
    lie in `class_names.npy`, `class_names.json` (a list) or `class_names.txt` (one a line); whole
    numbers are then positions in them. A divided set has folders `train` and `test`, or the split
    in the names of files, such as `train_features_0.npy`.

    Files are mapped for each batch and released after it, so that resident memory does not grow
    with the size of a shard.
    """

    name = "npy"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` is a folder with `.npy` files, or with such folders of splits."""
        return path.is_dir() and (_holds_npy(path) or bool(split_folders(path, _holds_npy)))

    def splits(self) -> tuple[str, ...]:
        """Return the parts that can be read; see `EmbeddingReader.splits`.

        Raises:
            InputError: no folder, or no arrays that belong together.
        """
        return tuple(self._folders or self._pairs(self.path))

    @functools.cached_property
    def _folders(self) -> dict[str, Path]:
        if not self.path.is_dir():
            raise InputError(
                f"npy expects a folder of .npy files; {self.path} is "
                f"{'a file' if self.path.exists() else 'not there'}. Correct the path."
            )
        return {} if _holds_npy(self.path) else split_folders(self.path, _holds_npy)

    def _pairs(self, folder: Path) -> dict[str, ArrayPair]:
        names = [file.stem for file in folder.glob("*.npy")]
        return pair_told(
            names, place=folder, features=self.features, labels=self.labels, weights=self.weights
        )

    @functools.cached_property
    def _folder(self) -> Path:
        return self._folders.get(self.chosen_split, self.path)

    @functools.cached_property
    def _files(self) -> ArrayPair:
        return self._pairs(self._folder)[ALL if self._folders else self.chosen_split]

    def _open(self) -> Contents:
        files = self._files
        headers = []
        for k, name in enumerate(files.examples):
            features = self._map(name)
            header = array_header(
                features.shape,
                str(features.dtype.newbyteorder("=")),
                name=str(self._path(name)),
                labels=self._map(files.labels[k]).shape if files.labels else None,
                weights=self._map(files.weights[k]).shape if files.weights else None,
            )
            headers.append(header)
        return Contents(tuple(headers), read_class_names(self._folder, self.path))

    def _labels(self, shard: int) -> Iterator[NDArray[Any]]:
        labels = self._map(self._files.labels[shard])
        for start in range(0, len(labels), LABEL_BLOCK):
            yield native(labels[start : start + LABEL_BLOCK])

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
        return self._folder / f"{name}.npy"

    def _map(self, name: str) -> NDArray[Any]:
        return map_npy(self._path(name))


def map_npy(path: Path) -> NDArray[Any]:
    """Map a `.npy` file into memory; pickled objects are refused.

    Raises:
        InputError: missing, truncated, or no array of plain values.
    """
    with reading(path, expected="a .npy array"):
        return np.lib.format.open_memmap(path, mode="r")


def _holds_npy(folder: Path) -> bool:
    return any(folder.glob("*.npy"))
