"""`parquet`: features, labels and all facts in the columns of `features_K.parquet`."""

from pathlib import Path

from cvxdistill.embeddings.arrow import load_pyarrow
from cvxdistill.embeddings.writers.base import ShardRows, ShardWriter
from cvxdistill.embeddings.writers.metadata import feature_column, metadata_table, write_table


class ParquetWriter(ShardWriter):
    """One Parquet file a shard, which Hubs and data bases read; slower than flat arrays.

    Features are a column of lists of one size. Names of classes are a JSON list under `class_names`
    in the metadata of the schema.
    """

    name = "parquet"
    dtypes = ("float32", "float16")

    def files(self, number: int, *, labelled: bool, metadata: bool) -> tuple[str, ...]:
        """Return `features_K.parquet`."""
        del labelled, metadata
        return (f"features_{number}.parquet",)

    def begin(self, folder: Path, class_names: tuple[str, ...]) -> None:
        """Find out that pyarrow is there."""
        del folder, class_names
        load_pyarrow()

    def write(self, folder: Path, number: int, rows: ShardRows) -> None:
        """Write shard `number`."""
        table = metadata_table(rows).add_column(0, "features", feature_column(rows))
        write_table(folder / f"features_{number}.parquet", table)
