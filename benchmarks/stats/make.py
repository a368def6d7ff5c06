"""Shards of float16 features with classes, drawn shard by shard."""

import shutil
from pathlib import Path

import numpy as np

SHARD_ROWS = 200_000


def make_shards(folder: Path, *, rows: int, features: int, classes: int) -> int:
    """Write `features_K.npy` and `labels_K.npy`, and return their bytes.

    Features have a mean of their own, a common factor, and a part that tells the class.
    """
    folder.mkdir(parents=True)
    fixed = np.random.default_rng(0)
    centres = fixed.standard_normal((classes, features), dtype=np.float32)
    mean = 3 + fixed.standard_normal(features, dtype=np.float32)
    written = 0
    for shard, start in enumerate(range(0, rows, SHARD_ROWS)):
        draw = np.random.default_rng((1, shard))
        size = min(SHARD_ROWS, rows - start)
        labels = draw.integers(classes, size=size)
        noise = draw.standard_normal((size, features), dtype=np.float32)
        common = draw.standard_normal((size, 1), dtype=np.float32)
        values = mean + centres[labels] + 2 * noise + common
        for name, array in (("features", values.astype(np.float16)), ("labels", labels)):
            path = folder / f"{name}_{shard}.npy"
            np.save(path, array)
            written += path.stat().st_size
    return written


def require_space(folder: Path, *, rows: int, features: int) -> None:
    """Stop early if the disk cannot hold the shards."""
    needed = rows * (2 * features + 8)
    free = shutil.disk_usage(folder).free
    if free < 1.1 * needed:
        raise SystemExit(
            f"{folder} has {free / 1e9:.1f} GB free; the shards take {needed / 1e9:.1f}"
        )
