"""What is measured, each part by itself."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cvxdistill as cvd
from cvxdistill.embeddings import open_embeddings

BLOCK_ROWS = 32_768


# Run in a process of its own, which tells what it took after all else.
SCRIPT = """
import json, resource, sys
from cvxdistill.cli import main
from cvxdistill.compare.memory import PeakMemory
peak = PeakMemory("cpu", alone=True)
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"peak_bytes": peak.read().process, "cpu_seconds": used.ru_utime + used.ru_stime}))
sys.exit(code)
"""


def stats(folder: Path, out: Path, *, threads: int) -> dict[str, Any]:
    """Run `cvxdistill stats` in a process of its own: what it tells, and its peak memory."""
    command = [sys.executable, "-c", SCRIPT, "stats", str(folder), "--out", str(out)]
    done = subprocess.run(
        [*command, "--device", "cpu", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
    )
    told, used = map(json.loads, done.stdout.splitlines())
    return {"rows": told["rows"], "seconds": told["seconds"], **used}


def products(*, rows: int, features: int) -> dict[str, float]:
    """Return seconds of `Z'Z` in float64 over so many rows, in blocks that lie in memory."""
    block = np.random.default_rng(0).standard_normal((BLOCK_ROWS, features))
    tensor = torch.from_numpy(block)
    found = {}
    for name, multiply in (
        ("PyTorch", lambda size: tensor[:size].T @ tensor[:size]),
        ("numpy", lambda size: block[:size].T @ block[:size]),
    ):
        multiply(BLOCK_ROWS)
        began = time.perf_counter()
        for start in range(0, rows, BLOCK_ROWS):
            multiply(min(BLOCK_ROWS, rows - start))
        found[name] = time.perf_counter() - began
    return found


def in_memory(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a piece whole: features as they are stored, and one-hot targets."""
    batches = list(open_embeddings(f"npy:{folder}").rows())
    features = torch.cat([batch.features for batch in batches]).numpy()
    labels = torch.cat([batch.targets for batch in batches if batch.targets is not None])
    return features, torch.nn.functional.one_hot(labels).double().numpy()


def ridge(features: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return seconds of scikit-learn's fit, data in memory already."""
    from sklearn.linear_model import Ridge

    found = {}
    for name, given in (("float16", features), ("float64", features.astype(np.float64))):
        began = time.perf_counter()
        Ridge(alpha=1.0, solver="cholesky").fit(given, targets)
        found[name] = time.perf_counter() - began
    return found


def error(path: Path, features: np.ndarray, targets: np.ndarray) -> float:
    """Return the largest relative error of moments against two passes over the data in float64."""
    found, n = cvd.TargetStatistics.load(path), len(features)
    blocks = range(0, n, BLOCK_ROWS)
    cut = [
        (features[i : i + BLOCK_ROWS].astype(float), targets[i : i + BLOCK_ROWS]) for i in blocks
    ]
    mean = sum(z.sum(0) for z, _ in cut) / n
    label_mean = sum(t.sum(0) for _, t in cut) / n
    expected = {
        "feature_mean": mean,
        "label_mean": label_mean,
        "feature_scatter": sum((z - mean).T @ (z - mean) for z, _ in cut),
        "cross_scatter": sum((z - mean).T @ (t - label_mean) for z, t in cut),
        "label_scatter": sum((t - label_mean).T @ (t - label_mean) for _, t in cut),
    }
    return max(
        float(np.abs(getattr(found, name).numpy() - value).max() / np.abs(value).max())
        for name, value in expected.items()
    )


def solves(path: Path, folder: Path, *, sets: int, l2s: int, examples: int) -> dict[str, Any]:
    """Solve for the labels of different base sets at many penalties, from the moments alone.

    With one thread: two would wait for one another in matrices as small as these.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    moments = cvd.TargetStatistics.load(path)
    reader = open_embeddings(f"npy:{folder}")
    generator = torch.Generator().manual_seed(0)
    rows = reader.read(0, 0, reader.layout.shards[0].rows).features
    gaps: list[float] = []
    seconds = 0.0
    for _ in range(sets):
        base = rows[torch.randperm(len(rows), generator=generator)[:examples]].to(torch.float64)
        began = time.perf_counter()
        for l2 in np.logspace(-6, 1, l2s):
            solution = cvd.solve_labels(base, moments, head=cvd.RidgeHead(l2=float(l2)))
            gap = solution.raise_if_failed().certificate.relative_gap
            assert gap is not None, "full-data heads explain something"
            gaps.append(gap)
        seconds += time.perf_counter() - began
    torch.set_num_threads(threads)
    return {
        "sets": sets,
        "l2s": l2s,
        "examples": examples,
        "seconds": seconds,
        "median_relative_gap": float(np.median(gaps)),
    }
