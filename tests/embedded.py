"""Small sets of embeddings on disk for the tests of streaming, with what they hold."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Ten uneven shards, one of them empty.
SHARDS = (3, 1, 40, 13, 0, 5, 2, 36, 7, 93)
WIDTH, CLASSES = 5, 3


@dataclasses.dataclass(frozen=True)
class Written:
    """A folder of shards, and its rows side by side in float64."""

    path: Path
    features: NDArray[np.float64]
    labels: NDArray[np.int64] | NDArray[np.float64]
    weights: NDArray[np.float64] | None

    @property
    def targets(self) -> NDArray[np.float64]:
        """One-hot classes, or the real targets."""
        return self.labels if self.labels.ndim == 2 else np.eye(CLASSES)[self.labels]


def write(
    path: Path,
    *,
    real: bool = False,
    weighted: bool = False,
    mean: float = 0.0,
    dtype: type = np.float16,
    shards: tuple[int, ...] = SHARDS,
    seed: int = 0,
) -> Written:
    """Write npy shards of random features; later rows lie elsewhere than the first ones."""
    draw = np.random.default_rng(seed)
    n = sum(shards)
    drift = np.linspace(0, 3, n)[:, None]
    features = (draw.standard_normal((n, WIDTH)) + mean + drift).astype(dtype)
    labels = (
        draw.standard_normal((n, CLASSES)) + 100 * mean if real else draw.integers(CLASSES, size=n)
    )
    if not real:
        # Every class occurs, wherever one begins; the last one is rare.
        labels[:CLASSES] = np.arange(CLASSES)
    weights = draw.uniform(0, 2, n) if weighted else None
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / "class_names.npy", np.array(["ant", "bee", "cow"]))
    start = 0
    for k, rows in enumerate(shards):
        part = slice(start, start + rows)
        np.save(path / f"features_{k}.npy", features[part])
        np.save(path / f"labels_{k}.npy", labels[part])
        if weights is not None:
            np.save(path / f"weights_{k}.npy", weights[part])
        start += rows
    return Written(path, features.astype(np.float64), labels, weights)
