"""Parquet files of further facts, and of whole shards."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvxdistill.embeddings.arrow import load_pyarrow
from cvxdistill.embeddings.writers.base import ShardRows, write_whole

if TYPE_CHECKING:
    import pyarrow as pa


def metadata_table(rows: ShardRows) -> "pa.Table":
    """Return index, class, class name, hash and source of rows as a table of Arrow."""
    load_pyarrow()
    import pyarrow as pa

    columns: dict[str, Any] = {}
    if rows.labels is not None:
        numbers = rows.labels.tolist()
        columns["label"] = pa.array(numbers, pa.int64())
        columns["class_name"] = pa.array([rows.class_names[k] for k in numbers], pa.string())
    for name, values in rows.metadata.items():
        kind = pa.int64() if isinstance(values[0], int) else pa.string()
        columns[name] = pa.array(values, kind)
    facts = {"class_names": json.dumps(rows.class_names)} if rows.labels is not None else {}
    return pa.table(columns, metadata=facts)


def feature_column(rows: ShardRows) -> Any:
    """Return the features as an Arrow array of lists of one size."""
    load_pyarrow()
    import pyarrow as pa

    count, width = rows.features.shape
    flat = pa.array(rows.features.numpy().reshape(count * width))
    return pa.FixedSizeListArray.from_arrays(flat, width)


def write_table(path: Path, table: "pa.Table") -> None:
    """Write a table as one Parquet file."""
    import pyarrow.parquet as pq

    # Random-looking floats do not become smaller through a dictionary, they only take time.
    write_whole(path, lambda file: pq.write_table(table, file, use_dictionary=False))
