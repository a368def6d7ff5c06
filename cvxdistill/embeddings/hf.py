"""Data sets of the library `datasets` on disk, read from their Arrow files."""

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cvxdistill.embeddings.arrow import as_labels, load_pyarrow
from cvxdistill.embeddings.base import EmbeddingReader
from cvxdistill.embeddings.columns import (
    Columns,
    column_header,
    find_columns,
    schema_class_names,
    stored_rows,
)
from cvxdistill.embeddings.places import ALL
from cvxdistill.embeddings.stored import Contents, ShardHeader, StoredRows
from cvxdistill.errors import InputError
from cvxdistill.files import reading

if TYPE_CHECKING:
    import pyarrow as pa

_STATE = "state.json"
_SPLITS = "dataset_dict.json"
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class HuggingFaceShards(EmbeddingReader):
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, `hf:PATH`.

    Features are a column of lists of float16, float32 or float64, such as `Sequence(Value(...))`;
    labels a column of `ClassLabel`, whose names are kept, or of whole numbers, strings, floats or
    lists. Columns are found by usual names as in `parquet`. `hf:PATH@train` is a split of a
    `DatasetDict`. Whole record batches are read, never single rows. The Arrow files themselves are
    read, so `datasets` need not be installed, but pyarrow: `pip install "cvxdistill[arrow]"`.

    Source: https://huggingface.co/docs/datasets.
    """

    name = "hf"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` is a folder with `state.json` or `dataset_dict.json`."""
        return (path / _STATE).is_file() or (path / _SPLITS).is_file()

    def splits(self) -> tuple[str, ...]:
        """Return the splits of a `DatasetDict` under their own names; or `all`.

        Raises:
            InputError: no such folder.
        """
        if (self.path / _STATE).is_file():
            return (ALL,)
        listed = _read_json(self.path / _SPLITS, "splits")
        if not listed or not all(isinstance(split, str) for split in listed):
            raise InputError(f"{self.path / _SPLITS} must list splits; got {listed}. Save it anew.")
        return tuple(listed)

    @functools.cached_property
    def _files(self) -> list["_ArrowFile"]:
        whole = (self.path / _STATE).is_file()
        folder = self.path if whole else self.path / self.chosen_split
        state = _read_json(folder / _STATE, None)
        if state.get("_indices_data_files") or state.get("_indices_files"):
            raise InputError(
                f"{folder} must be saved without an index of rows beside it. Call "
                "`flatten_indices()` before `save_to_disk`."
            )
        with reading(folder / _STATE, expected="the state of a data set"):
            paths = [folder / entry["filename"] for entry in state["_data_files"]]
        if not paths:
            raise InputError(f"{folder} must hold rows; got no files. Save it anew.")
        return [_scan(path) for path in paths]

    @functools.cached_property
    def _columns(self) -> Columns:
        first = self._files[0]
        for file in self._files:
            if not file.schema.equals(first.schema):
                raise InputError(
                    f"all shards must be alike; got other columns in {file.path} than in "
                    f"{first.path}. Save the data set anew."
                )
        return find_columns(
            first.schema,
            features=self.features,
            labels=self.labels,
            weights=self.weights,
            place=str(first.path),
        )

    def _open(self) -> Contents:
        columns, first = self._columns, self._files[0]
        with reading(first.path, expected="Arrow with the names of classes"):
            names = schema_class_names(first.schema, columns.labels)
        return Contents(tuple(_header(file, columns) for file in self._files), names)

    def _labels(self, shard: int) -> Iterator[NDArray[Any]]:
        file, column = self._files[shard], self._columns.labels
        at = 0
        for batch in file.batches(0, file.rows, mapped=True):
            yield as_labels(batch.column(column), what="labels", name=str(file.path), start=at)
            at += len(batch)

    def _stored(self, shard: int, start: int, stop: int, size: int) -> Iterator[StoredRows]:
        file = self._files[shard]
        at = start
        for batch in file.collected(self._columns.names, start, stop, size):
            yield stored_rows(batch, self._columns, name=str(file.path), start=at)
            at += len(batch)


@dataclasses.dataclass(frozen=True)
class _ArrowFile:
    """A file in the streaming format of Arrow, and where in it its record batches lie.

    Attributes:
        path: the file.
        schema: of its batches.
        places: position in bytes and number of rows of each batch.
    """

    path: Path
    schema: "pa.Schema"
    places: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.places)

    def batches(self, start: int, stop: int, *, mapped: bool = False) -> Iterator["pa.RecordBatch"]:
        """Yield the rows `start` to `stop`, one record batch of the file after another.

        A mapped file is read where it is looked at: right for a column beside large ones. But all
        that was looked at stays resident until the end, so that features are copied instead.
        """
        pa = load_pyarrow()
        opener = pa.memory_map if mapped else pa.OSFile
        with reading(self.path, expected="an Arrow stream"), opener(str(self.path)) as source:
            first = 0
            for place, rows in self.places:
                low, high = max(start - first, 0), min(stop - first, rows)
                if low < high:
                    source.seek(place)
                    message = pa.ipc.read_message(source)
                    batch = pa.ipc.read_record_batch(message, self.schema)
                    yield batch.slice(low, high - low)
                first += rows

    def collected(
        self, columns: list[str], start: int, stop: int, size: int
    ) -> Iterator["pa.RecordBatch"]:
        """Yield the rows `start` to `stop` of some columns, `size` at a time.

        Batches of the file are small, a thousand rows as a rule: they are put together.
        """
        held: list[Any] = []
        for batch in self.batches(start, stop):
            rest = batch.select(columns)
            while len(rest):
                room = size - sum(map(len, held))
                held.append(rest.slice(0, room))
                rest = rest.slice(min(room, len(rest)))
                if sum(map(len, held)) == size:
                    yield _joined(held)
                    held = []
        if held:
            yield _joined(held)


def _joined(batches: list[Any]) -> Any:
    if len(batches) == 1:
        return batches[0]
    return load_pyarrow().Table.from_batches(batches).combine_chunks().to_batches()[0]


def _scan(path: Path) -> _ArrowFile:
    """Find the record batches of a file; their buffers are mapped and not touched."""
    pa = load_pyarrow()
    places = []
    with reading(path, expected="an Arrow stream"), pa.memory_map(str(path)) as source:
        schema = pa.ipc.read_schema(source)
        while True:
            place = source.tell()
            if source.read(len(_END)) == _END:
                break
            source.seek(place)
            message = pa.ipc.read_message(source)
            if message.type != "record batch":
                raise ValueError(f"it holds a {message.type}, which is not supported")
            places.append((place, len(pa.ipc.read_record_batch(message, schema))))
    return _ArrowFile(path, schema, tuple(places))


def _header(file: _ArrowFile, columns: Columns) -> ShardHeader:
    return column_header(
        file.schema, columns, file.batches(0, 1), name=str(file.path), rows=file.rows
    )


def _read_json(path: Path, key: str | None) -> Any:
    if not path.is_file():
        raise InputError(
            f"hf expects a folder as `Dataset.save_to_disk` writes it; {path} is not there. "
            "Correct the path."
        )
    with reading(path, expected="JSON of a saved data set"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return content if key is None else content.get(key)
