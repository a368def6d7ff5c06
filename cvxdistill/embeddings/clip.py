"""The layout of clip-retrieval: `img_emb/img_emb_K.npy` with `metadata/metadata_K.parquet`."""

import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.embeddings.arrow import as_labels
from cvxdistill.embeddings.base import EmbeddingReader
from cvxdistill.embeddings.columns import (
    LABEL_COLUMNS,
    WEIGHT_COLUMNS,
    Columns,
    pick_column,
    schema_class_names,
    values,
)
from cvxdistill.embeddings.npy import map_npy
from cvxdistill.embeddings.places import ALL, read_class_names, split_folders
from cvxdistill.embeddings.stored import (
    LABEL_BLOCK,
    Contents,
    ShardHeader,
    StoredRows,
    array_header,
    native,
)
from cvxdistill.embeddings.tables import ParquetTable
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_FOLDER = "img_emb"
_METADATA = "metadata"


class ClipShards(EmbeddingReader):
    """A folder that clip-retrieval wrote, `clip:PATH`, as LAION and others publish embeddings.

    `img_emb/img_emb_K.npy` `(n, d)` lie beside `metadata/metadata_K.parquet`, which has a row for
    each; numbers may be padded with zeros. `features` names another folder than `img_emb`, such as
    `text_emb`; `labels` and `weights` name columns of the metadata, found by usual names, such as
    `label` or `class`, when not given. Names of classes come from the metadata of the Parquet
    schema, or from a file `class_names.json`, `.txt` or `.npy` in the folder. A divided set has
    folders `train` and `test`. Needs pyarrow where there is metadata:
    `pip install "cvxdistill[arrow]"`.

    Source: https://github.com/rom1504/clip-retrieval.
    """

    name = "clip"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` is a folder with `img_emb`, or with such folders of splits."""
        return path.is_dir() and (_holds(path) or bool(split_folders(path, _holds)))

    def splits(self) -> tuple[str, ...]:
        """Return the parts that can be read; see `EmbeddingReader.splits`.

        Raises:
            InputError: no such folder.
        """
        return tuple(self._folders)

    @functools.cached_property
    def _folders(self) -> dict[str, Path]:
        word = self.features or _FOLDER
        if _holds(self.path, word):
            return {ALL: self.path}
        found = split_folders(self.path, lambda folder: _holds(folder, word))
        if not found:
            raise InputError(
                f"clip expects a folder with {word}/{word}_0.npy and "
                f"{_METADATA}/{_METADATA}_0.parquet; {self.path} holds no such folder."
            )
        return found

    @functools.cached_property
    def _pairs(self) -> list["_Pair"]:
        word = self.features or _FOLDER
        folder = self._folders[self.chosen_split]
        arrays = _numbered(folder / word, word, ".npy")
        tables = _numbered(folder / _METADATA, _METADATA, ".parquet")
        alone = sorted(arrays.keys() ^ tables.keys()) if tables else []
        if alone:
            lonely = arrays.get(alone[0]) or tables[alone[0]]
            raise InputError(
                f"every file in {word} needs one of the same number in {_METADATA}; {lonely} has "
                "no partner. Add it."
            )
        pairs = []
        for number, path in arrays.items():
            table = ParquetTable(tables[number]) if tables else None
            names = table.schema.names if table else []
            place = str(table.path if table else folder / _METADATA)
            labels = pick_column(names, self.labels, LABEL_COLUMNS, what="labels", place=place)
            weights = pick_column(names, self.weights, WEIGHT_COLUMNS, what="weights", place=place)
            pairs.append(_Pair(path, table, Columns(None, labels, weights)))
        return pairs

    def _open(self) -> Contents:
        first = self._pairs[0]
        names = None
        if first.table is not None:
            with reading(first.table.path, expected="a Parquet file with class names"):
                names = schema_class_names(first.table.schema, first.columns.labels)
        if names is None:
            names = read_class_names(self._folders[self.chosen_split], self.path)
        return Contents(tuple(pair.header() for pair in self._pairs), names)

    def _labels(self, shard: int) -> Iterator[NDArray[Any]]:
        pair = self._pairs[shard]
        if pair.table is None or pair.columns.labels is None:
            return
        at = 0
        for batch in pair.table.batches([pair.columns.labels], 0, pair.table.rows, LABEL_BLOCK):
            yield as_labels(batch.column(0), what="labels", name=str(pair.table.path), start=at)
            at += len(batch)

    def _stored(self, shard: int, start: int, stop: int, size: int) -> Iterator[StoredRows]:
        pair = self._pairs[shard]
        if pair.table is None or not pair.columns.names:
            for low in range(start, stop, size):
                yield StoredRows(pair.rows(low, min(low + size, stop)), None, None)
            return
        at, columns, name = start, pair.columns, str(pair.table.path)
        for batch in pair.table.batches(columns.names, start, stop, size):
            yield StoredRows(
                features=pair.rows(at, at + len(batch)),
                labels=values(batch, columns.labels, what="labels", name=name, start=at),
                weights=values(batch, columns.weights, what="weights", name=name, start=at),
            )
            at += len(batch)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A file of features, and its metadata, where there are any."""

    path: Path
    table: ParquetTable | None
    columns: Columns

    def header(self) -> ShardHeader:
        """Read the headers of both files, and check that they have the same number of rows."""
        features = map_npy(self.path)
        rows = None if self.table is None else (self.table.rows,)
        header = array_header(
            features.shape,
            str(features.dtype.newbyteorder("=")),
            name=str(self.path),
            labels=rows,
            weights=None,
        )
        return dataclasses.replace(
            header,
            labelled=self.columns.labels is not None,
            weighted=self.columns.weights is not None,
        )

    def rows(self, start: int, stop: int) -> Tensor:
        return torch.from_numpy(native(map_npy(self.path)[start:stop]))


def _numbered(folder: Path, word: str, suffix: str) -> dict[int, Path]:
    """Return the files `word_K` in `folder` by number, in the order of their numbers."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"*{suffix}")):
        match = re.fullmatch(rf"{re.escape(word)}_(\d+)", path.stem)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise InputError(
                f"{found[number]} and {path.name} have the same number. Remove one of them."
            )
        found[number] = path
    return dict(sorted(found.items()))


def _holds(folder: Path, word: str = _FOLDER) -> bool:
    return any((folder / word).glob(f"{word}_*.npy"))
