"""Run with `python -m benchmarks.solvers`; writes benchmarks/results/solvers.json.

Image features need the data sets: `--data-root`, or the variable CVXDISTILL_DATA_ROOT. Without
them the problems are correlated Gaussian features only.
"""

import argparse
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks.solvers import constrained, cross_entropy
from benchmarks.solvers.problems import correlated_pool, image_pool

PACKAGES = ("torch", "numpy", "scipy", "cvxpy", "clarabel", "osqp")


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the results, and print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solvers", description=__doc__)
    parser.add_argument("--data-root", default=os.environ.get("CVXDISTILL_DATA_ROOT"))
    parser.add_argument("--datasets", default="mnist", help="comma list, such as mnist,cifar10")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--pool", type=int, default=4)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/solvers.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        squared, entropies = measure(options)
    results: dict[str, Any] = {
        "command": "python -m benchmarks.solvers",
        "options": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(options).items()
            if name != "data_root"
        },
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "constrained": squared,
        "cross_entropy": entropies,
        "verdicts": verdicts(squared, entropies),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    for verdict in results["verdicts"]:
        print("met    " if verdict["met"] else "NOT MET", verdict["what"], verdict["measured"])


def measure(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of both comparisons."""
    squared: list[dict[str, Any]] = []
    entropies: list[dict[str, Any]] = []
    for condition in (1e1, 1e3, 1e6):
        pool = correlated_pool(condition, examples=options.examples, features=80)
        name = f"Gaussian, condition {condition:.0e}"
        squared += constrained.measure(name, pool, l2=1e-3, repeats=options.repeats)
    for dataset in options.datasets.split(",") if options.data_root else ():
        pool = image_pool(
            dataset,
            options.data_root,
            size=options.pool + 2,
            width=options.width,
            examples=options.examples,
            zca=dataset.startswith("cifar"),
        )
        squared += constrained.measure(dataset, pool, l2=1e-3, repeats=options.repeats)
        entropies += cross_entropy.measure(dataset, pool, size=options.pool)
    return squared, entropies


def verdicts(
    squared: list[dict[str, Any]], entropies: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what was asked for, what was measured, and whether it is met."""
    found = []

    def judge(what: str, measured: float, met: bool) -> None:
        found.append({"what": what, "measured": measured, "met": bool(met)})

    for row in squared:
        where = f"{row['problem']}, {row['constraint']}"
        apart, ratio = row["largest_relative_difference"], row["faster_than_the_faster_other"]
        judge(f"{where}: objectives agree to 1e-6", apart, apart <= 1e-6)
        judge(f"{where}: gap at most 1e-6", row["gap_bound"], row["gap_bound"] <= 1e-6)
        judge(f"{where}: at least 2 times faster than the faster other", ratio, ratio >= 2)
    solves = [row for row in entropies if "loss" in row]
    for row in solves:
        if "CrossEntropy" not in row["loss"]:
            continue
        where = f"{row['problem']}, {row['loss']}, {row['constraint']}"
        judge(f"{where}: certificate at most 1e-4", row["gap_bound"], row["gap_bound"] <= 1e-4)
        rival = next(
            other["unseen_extractor"]
            for other in solves
            if other["problem"] == row["problem"]
            and other["constraint"] == row["constraint"]
            and "Squared" in other["loss"]
        )
        ahead = row["unseen_extractor"] - rival
        judge(f"{where}: unseen extractor, ahead of the squared loss by", ahead, ahead >= 0)
    return found


if __name__ == "__main__":
    main()
