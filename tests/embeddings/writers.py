"""Writes embeddings of known content in every registered format, with its own library."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch


@dataclasses.dataclass
class Embedded:
    """What a set holds, shard by shard."""

    features: list[np.ndarray]
    labels: list[np.ndarray] | None = None
    weights: list[np.ndarray] | None = None
    names: tuple[str, ...] | None = None

    def columns(self, k: int) -> dict[str, np.ndarray]:
        """Labels and weights of a shard, by their usual names."""
        found = {"labels": self.labels, "weights": self.weights}
        return {name: values[k] for name, values in found.items() if values is not None}


def write_npy(root: Path, data: Embedded) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for k, features in enumerate(data.features):
        np.save(root / f"features_{k}.npy", features)
        for name, values in data.columns(k).items():
            np.save(root / f"{name}_{k}.npy", values)
    if data.names:
        (root / "class_names.json").write_text(json.dumps(data.names), encoding="utf-8")


def write_npz(root: Path, data: Embedded, *, compressed: bool = True) -> None:
    arrays = {f"features_{k}": features for k, features in enumerate(data.features)}
    for k in range(len(data.features)):
        arrays |= {f"{name}_{k}": values for name, values in data.columns(k).items()}
    if data.names:
        arrays["class_names"] = np.array(data.names)
    (np.savez_compressed if compressed else np.savez)(root, **arrays)


def arrow_column(values: np.ndarray, *, fixed: bool = True):
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values if values.dtype.kind != "U" else values.tolist())
    flat = pa.array(values.ravel())
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    ends = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), flat)


def write_parquet(root: Path, data: Embedded, *, fixed: bool = True, row_group_size: int = 5):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir(parents=True, exist_ok=True)
    for k, features in enumerate(data.features):
        columns = {"url": pa.array([f"u{i}" for i in range(len(features))])}
        columns["features"] = arrow_column(features, fixed=fixed)
        columns |= {n: arrow_column(v, fixed=fixed) for n, v in data.columns(k).items()}
        table = pa.table(columns)
        if data.names:
            table = table.replace_schema_metadata({"class_names": json.dumps(data.names)})
        pq.write_table(table, root / f"part-{k}.parquet", row_group_size=row_group_size)


def write_clip(root: Path, data: Embedded) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "img_emb").mkdir(parents=True, exist_ok=True)
    (root / "metadata").mkdir(exist_ok=True)
    for k, features in enumerate(data.features):
        np.save(root / "img_emb" / f"img_emb_{k:04d}.npy", features)
        columns = {"caption": pa.array(["a picture"] * len(features))}
        columns |= {name: arrow_column(values) for name, values in data.columns(k).items()}
        table = pa.table(columns)
        if data.names:
            table = table.replace_schema_metadata({"class_names": json.dumps(data.names)})
        pq.write_table(table, root / "metadata" / f"metadata_{k:04d}.parquet", row_group_size=7)


def write_safetensors(root: Path, data: Embedded) -> None:
    from safetensors.torch import save_file

    root.mkdir(parents=True, exist_ok=True)
    names = data.names
    if data.labels is not None and data.labels[0].dtype.kind == "U":
        # There are no strings in safetensors: their writer numbers them and keeps the names.
        names = tuple(np.unique(np.concatenate(data.labels)).tolist())
    for k, features in enumerate(data.features):
        tensors = {"features": torch.from_numpy(np.ascontiguousarray(features))}
        for name, values in data.columns(k).items():
            if values.dtype.kind == "U":
                values = np.searchsorted(np.array(names), values)
            tensors[name] = torch.from_numpy(values)
        metadata = {"class_names": json.dumps(names)} if names else None
        save_file(tensors, root / f"shard-{k}.safetensors", metadata=metadata)


def hf_dataset(data: Embedded):
    datasets = pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    columns = {"features": data.features, "labels": data.labels, "weights": data.weights}
    joined = {name: np.concatenate(v) for name, v in columns.items() if v is not None}
    kinds = {}
    for name, values in joined.items():
        entry = datasets.Value("string" if values.dtype.kind == "U" else str(values.dtype))
        if name == "labels" and data.names and values.dtype.kind == "i" and values.ndim == 1:
            entry = datasets.ClassLabel(names=list(data.names))
        kinds[name] = (
            entry if values.ndim == 1 else datasets.Sequence(entry, length=values.shape[1])
        )
    columns = {name: list(values) for name, values in joined.items()}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def save_quietly(dataset, root: Path, **options) -> None:
    import datasets

    datasets.disable_progress_bars()
    dataset.save_to_disk(str(root), **options)


def write_hf(root: Path, data: Embedded) -> None:
    shards = {"num_shards": len(data.features)}
    save_quietly(hf_dataset(data), root, **shards)


WRITERS: dict[str, Callable[[Path, Embedded], None]] = {
    "clip": write_clip,
    "hf": write_hf,
    "npy": write_npy,
    "npz": write_npz,
    "parquet": write_parquet,
    "safetensors": write_safetensors,
}


def place(kind: str, root: Path) -> Path:
    """Where a set is written to: an archive is a file, all others are folders."""
    return root.with_suffix(".npz") if kind == "npz" else root


def write(kind: str, root: Path, data: Embedded) -> str:
    """Write a set, and return its spec."""
    WRITERS[kind](place(kind, root), data)
    return f"{kind}:{place(kind, root)}"


def write_splits(kind: str, root: Path, splits: dict[str, Embedded]) -> str:
    """Write a divided set, and return its spec."""
    if kind == "hf":
        datasets = pytest.importorskip("datasets", reason="the library `datasets` is not installed")
        parts = {split: hf_dataset(data) for split, data in splits.items()}
        shards = {split: len(data.features) for split, data in splits.items()}
        save_quietly(datasets.DatasetDict(parts), root, num_shards=shards)
        return f"{kind}:{root}"
    if kind == "npz":
        arrays = {}
        for split, data in splits.items():
            for k, features in enumerate(data.features):
                columns = {"features": features, **data.columns(k)}
                arrays |= {f"{split}_{name}_{k}": values for name, values in columns.items()}
            if data.names:
                arrays["class_names"] = np.array(data.names)
        np.savez(place(kind, root), **arrays)
        return f"{kind}:{place(kind, root)}"
    for split, data in splits.items():
        WRITERS[kind](root / split, data)
    return f"{kind}:{root}"
