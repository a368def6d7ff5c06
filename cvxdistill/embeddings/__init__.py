"""Embeddings on disk, in the formats that other programs write, read a batch at a time.

To add a format: a subclass of `EmbeddingReader` in a file of its own and a line in `READERS`.
"""

from pathlib import Path

from cvxdistill.checks import check_choice
from cvxdistill.embeddings.base import (
    EmbeddingLayout,
    EmbeddingReader,
    Rows,
    Shard,
)
from cvxdistill.embeddings.clip import ClipShards
from cvxdistill.embeddings.hf import HuggingFaceShards
from cvxdistill.embeddings.npy import NpyShards
from cvxdistill.embeddings.npz import NpzShards
from cvxdistill.embeddings.parquet import ParquetShards
from cvxdistill.embeddings.safetensors import SafetensorsShards
from cvxdistill.embeddings.targets import TargetKind
from cvxdistill.errors import InputError
from cvxdistill.files import find_path

__all__ = [
    "READERS",
    "EmbeddingLayout",
    "EmbeddingReader",
    "Rows",
    "Shard",
    "TargetKind",
    "open_embeddings",
]

READERS: dict[str, type[EmbeddingReader]] = {
    "clip": ClipShards,
    "hf": HuggingFaceShards,
    "npy": NpyShards,
    "npz": NpzShards,
    "parquet": ParquetShards,
    "safetensors": SafetensorsShards,
}


def open_embeddings(
    spec: str,
    *,
    data_root: Path | str | None = None,
    features: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
) -> EmbeddingReader:
    """Return a reader of the embeddings that `spec` names; rows are read when asked for.

    Args:
        spec: `KIND:PATH`, such as `npy:shards`, or an existing path, whose kind is then recognised.
            `PATH@SPLIT` names a part of what is divided, such as `parquet:letters@train`. Relative
            paths count from the working folder, and where nothing is there, from `data_root`.
        data_root: folder with data sets.
        features: name of the array, tensor or column of features; guessed when not given.
        labels: the same for labels.
        weights: the same for weights of examples.

    Raises:
        InputError: an unknown kind, a path that does not exist, or one of no or several kinds.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/features_0.npy", np.ones((3, 2), np.float16))
        ...     np.save(f"{folder}/labels_0.npy", np.array(["cat", "dog", "cat"]))
        ...     reader = open_embeddings(f"npy:{folder}")
        ...     batches = list(reader.rows(batch_rows=2))
        >>> reader.layout.num_features, reader.layout.dtype, reader.layout.target_names
        (2, 'float16', ('cat', 'dog'))
        >>> [batch.targets.tolist() for batch in batches]
        [[0, 1], [0]]
    """
    root = None if data_root is None else Path(data_root).expanduser()
    kind, colon, rest = spec.partition(":")
    named = bool(colon) and find_path(spec, root) is None
    if named:
        check_choice("kind of embeddings", kind, READERS)
    path, split = _locate(rest if named else spec, root, spec)
    chosen = READERS[kind] if named else READERS[_recognise(path, spec)]
    return chosen(path, split=split, features=features, labels=labels, weights=weights)


def _locate(text: str, root: Path | None, spec: str) -> tuple[Path, str | None]:
    """Return the path, and the split behind an `@` that is no part of it."""
    whole = find_path(text, root)
    if whole is not None:
        return whole, None
    front, at, split = text.rpartition("@")
    path = find_path(front, root) if at and split else None
    if path is None:
        under = f" or under {root}" if root is not None else ""
        raise InputError(
            f"`{spec}` must be KIND:PATH with one of {', '.join(READERS)}, or an existing path; "
            f"nothing exists at {front if at else text}{under}."
        )
    return path, split


def _recognise(path: Path, spec: str) -> str:
    kinds = [name for name, reader in READERS.items() if reader.recognises(path)]
    if len(kinds) != 1:
        found = " and ".join(kinds) or f"none of {', '.join(READERS)}"
        raise InputError(
            f"`{spec}` must hold embeddings of one kind; it looks like {found}. Write KIND:{path}."
        )
    return kinds[0]
