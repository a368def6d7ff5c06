"""The formats in which shards are written.

To add one: a subclass of `ShardWriter` in a file of its own and a line in `WRITERS`.
"""

from cvxdistill.embeddings.writers.base import ShardRows, ShardWriter
from cvxdistill.embeddings.writers.npy import NpyWriter
from cvxdistill.embeddings.writers.parquet import ParquetWriter
from cvxdistill.embeddings.writers.safetensors import SafetensorsWriter

__all__ = ["WRITERS", "ShardRows", "ShardWriter"]

WRITERS: dict[str, type[ShardWriter]] = {
    "npy": NpyWriter,
    "parquet": ParquetWriter,
    "safetensors": SafetensorsWriter,
}
