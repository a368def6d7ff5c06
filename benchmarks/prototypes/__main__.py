"""Run with `python -m benchmarks.prototypes`; writes JSON and a page of markdown.

The data come from `--data-root`, or the variable CVXDISTILL_DATA_ROOT. Embeddings are kept in
`--cache` between runs.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks.prototypes.data import RECIPES, embeddings
from benchmarks.prototypes.measure import measure
from benchmarks.prototypes.render import render

SIZES = (26, 52, 104, 128)
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the results and the page, and print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prototypes", description=__doc__)
    parser.add_argument("--data-root", default=os.environ.get("CVXDISTILL_DATA_ROOT"))
    kept = Path(tempfile.gettempdir()) / "cvxdistill-prototypes"
    parser.add_argument("--cache", type=Path, default=kept)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/prototypes.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks/prototypes.md"))
    parser.add_argument("--render", action="store_true", help="the page alone, from the JSON file")
    options = parser.parse_args(arguments)
    if not options.render:
        torch.set_num_threads(options.threads)
        with threadpool_limits(options.threads):
            results = run(options)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    results = json.loads(options.json.read_text())
    options.page.write_text(render(results))
    for verdict in results["verdicts"]:
        print("met    " if verdict["met"] else "NOT MET", verdict["what"], verdict["measured"])


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of all extractors."""
    extractors = {}
    for recipe in RECIPES:
        data = embeddings(recipe, data_root=options.data_root, cache=options.cache)
        sizes = sorted({*SIZES, data.train.shape[1] + 1})
        extractors[recipe.network] = {
            "steps": recipe.steps,
            "batch_size": recipe.batch_size,
            **measure(data, draws=options.draws, candidates=options.candidates, sizes=sizes),
        }
    return {
        "command": "python -m benchmarks.prototypes",
        "draws": options.draws,
        "candidates": options.candidates,
        "threads": options.threads,
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "extractors": extractors,
        "verdicts": [v for name, found in extractors.items() for v in verdicts(name, found)],
    }


def verdicts(name: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was asked for, what was measured, and whether it is met."""
    rows = {(row["goal"], row["how"], row["examples"]): row for row in found["rows"]}
    judged = []
    for how in ("greedy", "greedy:exchanges=2"):
        one, other = (rows["one-hot", key, 26]["solved"] for key in (how, "random"))
        ahead = one["mean"] - other["mean"]
        apart = one["low"] > other["high"]
        judged += [
            _verdict(f"{name}, m = 26: {how} beats random outside both intervals", ahead, apart),
            _verdict(f"{name}, m = 26: {how} beats random by 2 points", ahead, ahead >= 0.02),
        ]
    full = found["features"] + 1
    spanning = [row for (_, _, m), row in rows.items() if m == full]
    lossless = min(row["lossless"] / row["solved"]["count"] for row in spanning)
    agreement = min(row["agreement"] for row in spanning)
    error = max(row["prediction_error"] for row in found["whole"])
    judged += [
        _verdict(f"{name}, m = d + 1: every base certified lossless", lossless, lossless == 1),
        _verdict(f"{name}, m = d + 1: full agreement on the test part", agreement, agreement == 1),
        _verdict(f"{name}: objectives as `greedy` predicts them, to 1e-9", error, error <= 1e-9),
    ]
    return judged


def _verdict(what: str, measured: float, met: bool) -> dict[str, Any]:
    return {"what": what, "measured": measured, "met": bool(met)}


if __name__ == "__main__":
    main()
