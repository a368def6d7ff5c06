"""Parquet files: a column of lists of floating-point numbers, with labels beside it."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cvxdistill.embeddings.arrow import as_labels
from cvxdistill.embeddings.base import EmbeddingReader
from cvxdistill.embeddings.columns import (
    Columns,
    column_header,
    find_columns,
    schema_class_names,
    stored_rows,
)
from cvxdistill.embeddings.places import holds_files, read_class_names, require_files
from cvxdistill.embeddings.stored import LABEL_BLOCK, Contents, ShardHeader, StoredRows
from cvxdistill.embeddings.tables import ParquetTable
from cvxdistill.files import reading


class ParquetShards(EmbeddingReader):
    """A Parquet file or a folder of them, `parquet:PATH`, as pyarrow, Spark, DuckDB or Hubs write.

    Features are a column of lists of float16, float32 or float64, of a fixed size or not; nulls and
    rows of different lengths are refused. Labels are whole numbers, strings (also
    dictionary-encoded), floating-point numbers or lists (real targets, multi-label). Names of
    classes come from the metadata of the schema (a JSON list under `class_names`, or a `ClassLabel`
    of `datasets`) or from a file `class_names.json`, `.txt` or `.npy` in the folder. Columns are
    found by usual names, such as `features`, `embedding`, `emb`; `label`, `class`; `weight`. A
    divided set has folders `train` and `test`, or names such as `train-00000-of-00002.parquet`.

    Rows are decoded a batch at a time. `read` decodes from the beginning of a row group, so `rows`
    is the way to read on and on. Needs pyarrow: `pip install "cvxdistill[arrow]"`.
    """

    name = "parquet"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` is a Parquet file, or a folder of them and of no other shards."""
        if path.is_file():
            return path.suffix.lower() == ".parquet"
        # Parquet files beside arrays are their metadata.
        beside = any(path.glob("*.npy")) or any(path.glob("*.safetensors"))
        return not beside and holds_files(path, ".parquet")

    def splits(self) -> tuple[str, ...]:
        """Return the parts that can be read; see `EmbeddingReader.splits`.

        Raises:
            InputError: no Parquet files there.
        """
        return tuple(self._split_files)

    @functools.cached_property
    def _split_files(self) -> dict[str, list[Path]]:
        return require_files(self.path, ".parquet", kind=self.name)

    @functools.cached_property
    def _tables(self) -> list[ParquetTable]:
        return [ParquetTable(path) for path in self._split_files[self.chosen_split]]

    @functools.cached_property
    def _columns(self) -> list[Columns]:
        return [
            find_columns(
                table.schema,
                features=self.features,
                labels=self.labels,
                weights=self.weights,
                place=str(table.path),
            )
            for table in self._tables
        ]

    def _open(self) -> Contents:
        pairs = list(zip(self._tables, self._columns, strict=True))
        table, columns = pairs[0]
        with reading(table.path, expected="a Parquet file with class names"):
            names = schema_class_names(table.schema, columns.labels)
        if names is None:
            names = read_class_names(*dict.fromkeys((table.path.parent, self.path)))
        return Contents(tuple(_header(*pair) for pair in pairs), names)

    def _labels(self, shard: int) -> Iterator[NDArray[Any]]:
        table, columns = self._tables[shard], self._columns[shard]
        at = 0
        for batch in table.batches([columns.labels or ""], 0, table.rows, LABEL_BLOCK):
            yield as_labels(batch.column(0), what="labels", name=str(table.path), start=at)
            at += len(batch)

    def _stored(self, shard: int, start: int, stop: int, size: int) -> Iterator[StoredRows]:
        table, columns = self._tables[shard], self._columns[shard]
        at = start
        for batch in table.batches(columns.names, start, stop, size):
            yield stored_rows(batch, columns, name=str(table.path), start=at)
            at += len(batch)


def _header(table: ParquetTable, columns: Columns) -> ShardHeader:
    first = table.batches([columns.features or ""], 0, 1, 1)
    return column_header(table.schema, columns, first, name=str(table.path), rows=table.rows)
