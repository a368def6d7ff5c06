"""Files of safetensors: tensors `features`, `labels` and `weights`, read by slices."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.embeddings.base import EmbeddingReader
from cvxdistill.embeddings.columns import pick_column
from cvxdistill.embeddings.pairing import FEATURES, LABELS, WEIGHTS
from cvxdistill.embeddings.places import (
    holds_files,
    names_from_json,
    read_class_names,
    require_files,
)
from cvxdistill.embeddings.stored import (
    LABEL_BLOCK,
    Contents,
    ShardHeader,
    StoredRows,
    array_header,
)
from cvxdistill.files import reading

_SUFFIX = ".safetensors"
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


class SafetensorsShards(EmbeddingReader):
    """A file of safetensors or a folder of them, `safetensors:PATH`.

    Every file holds `features` `(n, d)`, and optionally `labels` and `weights`. No other format
    here keeps bfloat16. Labels are whole numbers `(n,)` (classes), floats `(n,)` or `(n, C)` (real
    targets), or whole numbers or truth values `(n, C)` (multi-label). Safetensors hold no strings:
    names of classes are a JSON list under `class_names` in the metadata of the first file, or lie
    in a file `class_names.json`, `.txt` or `.npy` in the folder; labels are then positions in them.
    A divided set has folders `train` and `test`, or file names that begin so.

    Source: https://huggingface.co/docs/safetensors.
    """

    name = "safetensors"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` is such a file, or a folder of them."""
        if path.is_file():
            return path.suffix.lower() == _SUFFIX
        return holds_files(path, _SUFFIX)

    def splits(self) -> tuple[str, ...]:
        """Return the parts that can be read; see `EmbeddingReader.splits`.

        Raises:
            InputError: no such files there.
        """
        return tuple(self._split_files)

    @functools.cached_property
    def _split_files(self) -> dict[str, list[Path]]:
        return require_files(self.path, _SUFFIX, kind=self.name)

    @functools.cached_property
    def _files(self) -> list["_File"]:
        told = (self.features, self.labels, self.weights)
        return [_File.find(path, *told) for path in self._split_files[self.chosen_split]]

    def _open(self) -> Contents:
        first = self._files[0]
        with first.open() as file:
            stored = (file.metadata() or {}).get("class_names")
            names = None if stored is None else names_from_json(stored)
        if names is None:
            names = read_class_names(*dict.fromkeys((first.path.parent, self.path)))
        return Contents(tuple(file.header() for file in self._files), names)

    def _labels(self, shard: int) -> Iterator[NDArray[Any]]:
        file = self._files[shard]
        rows = file.header().rows
        for start in range(0, rows, LABEL_BLOCK):
            labels = file.take(file.labels, start, min(start + LABEL_BLOCK, rows))
            if labels is not None:
                yield _as_numpy(labels)

    def _stored(self, shard: int, start: int, stop: int, size: int) -> Iterator[StoredRows]:
        file = self._files[shard]
        for low in range(start, stop, size):
            high = min(low + size, stop)
            features, labels, weights = (
                file.take(name, low, high) for name in (file.features, file.labels, file.weights)
            )
            assert features is not None
            yield StoredRows(
                features=features,
                labels=None if labels is None else _as_numpy(labels),
                weights=None if weights is None else _as_numpy(weights),
            )


@dataclasses.dataclass(frozen=True)
class _File:
    """One file, and the names of its tensors."""

    path: Path
    features: str
    labels: str | None
    weights: str | None

    @classmethod
    def find(
        cls, path: Path, features: str | None, labels: str | None, weights: str | None
    ) -> "_File":
        """Look into a file for the tensors that were told, or else have the usual names."""
        with _opening(path) as file:
            names = sorted(file.keys())
        place = str(path)
        chosen = pick_column(names, features, FEATURES, what="features", place=place, needed=True)
        return cls(
            path,
            str(chosen),
            pick_column(names, labels, LABELS, what="labels", place=place),
            pick_column(names, weights, WEIGHTS, what="weights", place=place),
        )

    def open(self) -> contextlib.AbstractContextManager[Any]:
        return _opening(self.path)

    def header(self) -> ShardHeader:
        with self.open() as file:
            shapes = {
                name: tuple(file.get_slice(name).get_shape())
                for name in (self.features, self.labels, self.weights)
                if name is not None
            }
            dtype = str(file.get_slice(self.features).get_dtype())
        return array_header(
            shapes[self.features],
            _DTYPES.get(dtype, dtype),
            name=str(self.path),
            labels=None if self.labels is None else shapes[self.labels],
            weights=None if self.weights is None else shapes[self.weights],
        )

    def take(self, name: str | None, start: int, stop: int) -> Tensor | None:
        """Copy a slice, so that the file can be released."""
        if name is None:
            return None
        with self.open() as file:
            return cast("Tensor", file.get_slice(name)[start:stop].clone())


@contextlib.contextmanager
def _opening(path: Path) -> Iterator[Any]:
    from safetensors import safe_open

    with reading(path, expected="safetensors"), safe_open(path, framework="pt") as file:
        yield file


def _as_numpy(tensor: Tensor) -> NDArray[Any]:
    # numpy knows no bfloat16.
    wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return wide.numpy()
