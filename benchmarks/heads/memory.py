"""Peak memory of one ridge fit, forward and backward, in a fresh process for each size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from cvxdistill.heads import RidgeHead

CLASSES = 10
SIZES = (
    *((100, d) for d in (25_000, 50_000, 100_000, 200_000)),
    *((m, 100) for m in (25_000, 50_000, 100_000, 200_000)),
)


def run_one(m: int, d: int) -> dict[str, Any]:
    """Fit once, with gradients in features and labels; returns bytes above a tiny fit's."""
    torch.set_num_threads(1)
    _fit(4, 3)
    # Importing the libraries has its own peak, which must not hide ours (Linux only).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    _fit(m, d)
    return {"m": m, "d": d, "bytes": _status("VmHWM") - before}


def _status(field: str) -> int:
    """Return a field of the kernel's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def _fit(m: int, d: int) -> None:
    features = torch.randn(m, d, dtype=torch.float64).requires_grad_()
    labels = torch.randn(m, CLASSES, dtype=torch.float64).requires_grad_()
    RidgeHead().fit(features, labels).weights.square().sum().backward()


def measure() -> dict[str, Any]:
    """Return bytes by size, and the exponent of growth in `m d` along each side."""
    rows = []
    for m, d in SIZES:
        command = [sys.executable, "-m", "benchmarks.heads.memory", str(m), str(d)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = json.loads(output)
        row["copies_of_features"] = row["bytes"] / (8 * m * d)
        rows.append(row)
    half = len(rows) // 2
    return {
        "rows": rows,
        "exponent_in_d": _exponent(rows[:half]),
        "exponent_in_m": _exponent(rows[half:]),
    }


def _exponent(rows: list[dict[str, Any]]) -> float:
    """Return the slope of log bytes over log size: 1 is linear."""
    x = torch.tensor([float(row["m"] * row["d"]) for row in rows], dtype=torch.float64).log()
    y = torch.tensor([float(row["bytes"]) for row in rows], dtype=torch.float64).log()
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


if __name__ == "__main__":
    print(json.dumps(run_one(int(sys.argv[1]), int(sys.argv[2]))))
