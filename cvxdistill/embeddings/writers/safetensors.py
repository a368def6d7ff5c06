"""`safetensors`: `features_K.safetensors` with features and labels, and `metadata_K.parquet`."""

import json
from pathlib import Path

from safetensors.torch import save_file

from cvxdistill.embeddings.writers.base import ShardRows, ShardWriter, write_whole
from cvxdistill.embeddings.writers.metadata import metadata_table, write_table


class SafetensorsWriter(ShardWriter):
    """One file of safetensors a shard, the only format here that has bfloat16.

    Names of classes are a JSON list under `class_names` in the metadata of each file.
    """

    name = "safetensors"
    dtypes = ("float32", "float16", "bfloat16")

    def files(self, number: int, *, labelled: bool, metadata: bool) -> tuple[str, ...]:
        """Return `features_K.safetensors` and `metadata_K.parquet`."""
        del labelled
        first = f"features_{number}.safetensors"
        return (first, f"metadata_{number}.parquet") if metadata else (first,)

    def write(self, folder: Path, number: int, rows: ShardRows) -> None:
        """Write shard `number`."""
        tensors = {"features": rows.features.contiguous()}
        facts = {}
        if rows.labels is not None:
            tensors["labels"] = rows.labels.contiguous()
            facts["class_names"] = json.dumps(rows.class_names)
        path = folder / f"features_{number}.safetensors"
        write_whole(path, lambda file: save_file(tensors, file, metadata=facts))
        if rows.metadata:
            write_table(folder / f"metadata_{number}.parquet", metadata_table(rows))
