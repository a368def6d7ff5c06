"""`npy`: `features_K.npy` with `labels_K.npy`, and `metadata_K.parquet`."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvxdistill.embeddings.writers.base import ShardRows, ShardWriter, write_whole
from cvxdistill.embeddings.writers.metadata import metadata_table, write_table


class NpyWriter(ShardWriter):
    """Arrays of numpy, which every program reads and which are mapped into memory.

    Choose it unless bfloat16 is wanted. Names of classes lie in `class_names.npy`.
    """

    name = "npy"
    dtypes = ("float32", "float16")

    def files(self, number: int, *, labelled: bool, metadata: bool) -> tuple[str, ...]:
        """Return `features_K.npy`, `labels_K.npy` and `metadata_K.parquet`."""
        kinds = {"features": True, "labels": labelled}
        names = [f"{kind}_{number}.npy" for kind, there in kinds.items() if there]
        return (*names, f"metadata_{number}.parquet") if metadata else tuple(names)

    def begin(self, folder: Path, class_names: tuple[str, ...]) -> None:
        """Write `class_names.npy`."""
        if class_names:
            _save(folder / "class_names.npy", np.array(class_names, dtype=np.str_))

    def write(self, folder: Path, number: int, rows: ShardRows) -> None:
        """Write shard `number`."""
        _save(folder / f"features_{number}.npy", rows.features.numpy())
        if rows.labels is not None:
            _save(folder / f"labels_{number}.npy", rows.labels.numpy())
        if rows.metadata:
            write_table(folder / f"metadata_{number}.parquet", metadata_table(rows))


def _save(path: Path, array: "NDArray[np.generic]") -> None:
    write_whole(path, functools.partial(_dump, array))


def _dump(array: "NDArray[np.generic]", file: Path) -> None:
    # To an open file, since numpy adds its ending to a name that has another.
    with file.open("wb") as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
