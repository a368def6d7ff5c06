"""Parquet files read a slice of rows at a time, never a whole row group where pages are smaller."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvxdistill.embeddings.arrow import load_pyarrow
from cvxdistill.files import reading

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetTable:
    """One Parquet file; opened for each reading and closed after it.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @functools.cached_property
    def _footer(self) -> Any:
        load_pyarrow()
        import pyarrow.parquet as pq

        with self._reading():
            return pq.read_metadata(self.path)

    @functools.cached_property
    def schema(self) -> "pa.Schema":
        """Names, types and metadata of the columns."""
        with self._reading():
            return self._footer.schema.to_arrow_schema()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self._footer.num_rows)

    def batches(
        self, columns: list[str], start: int, stop: int, size: int
    ) -> Iterator["pa.RecordBatch"]:
        """Yield the rows `start` to `stop` of some columns in order, `size` at a time at most.

        Reading begins at the row group in which `start` lies.

        Raises:
            InputError: a damaged file.
        """
        import pyarrow.parquet as pq

        footer = self._footer
        sizes = [footer.row_group(k).num_rows for k in range(footer.num_row_groups)]
        first, groups = 0, []
        for index, rows in enumerate(sizes):
            if first < stop and first + rows > start:
                groups.append((index, first))
            first += rows
        with self._reading(), pq.ParquetFile(self.path, metadata=footer) as file:
            at = groups[0][1] if groups else stop
            for batch in file.iter_batches(
                batch_size=size,
                row_groups=[index for index, _ in groups],
                columns=columns,
                # One column is nearly all there is to decode: more threads only cost.
                use_threads=False,
            ):
                low, high = max(start - at, 0), min(stop - at, len(batch))
                if low < high:
                    yield batch.slice(low, high - low)
                at += len(batch)
                if at >= stop:
                    return

    def _reading(self) -> Any:
        return reading(self.path, expected="a Parquet file")
