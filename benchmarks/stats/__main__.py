"""Run with `python -m benchmarks.stats`; writes JSON and a page of markdown."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks.heads.__main__ import environment, publish
from benchmarks.stats import measure
from benchmarks.stats.make import make_shards, require_space
from benchmarks.stats.render import render

FEATURES, CLASSES = 256, 10
SETS, L2S, EXAMPLES = 20, 20, 100


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the results, and print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stats", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="a tenth is measured, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, help="where shards are written, and deleted")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/stats.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks/stats.md"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    place = Path(tempfile.mkdtemp(prefix="stats-", dir=options.folder))
    try:
        require_space(place, rows=11 * options.rows // 10, features=FEATURES)
        with threadpool_limits(options.threads):
            results = _measured(place, rows=options.rows, threads=options.threads)
    finally:
        shutil.rmtree(place)
    results = {
        "command": " ".join(["python -m benchmarks.stats", *_shown(arguments)]),
        "threads": options.threads,
        "environment": environment(),
        **results,
    }
    results["verdicts"] = verdicts(results)
    publish(results, render(results), options)


def _shown(arguments: list[str] | None) -> list[str]:
    """Return the words of the command without the places of one machine."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for flag in ("--folder", "--json", "--page"):
        if flag in words:
            at = words.index(flag)
            del words[at : at + 2]
    return words


def _measured(place: Path, *, rows: int, threads: int) -> dict[str, Any]:
    sizes = {"tenth": rows // 10, "whole": rows}
    found: dict[str, Any] = {"features": FEATURES, "classes": CLASSES, "passes": {}}
    for name, size in sizes.items():
        print(f"{name}: writing {size:,} rows", flush=True)
        found[f"{name}_bytes"] = make_shards(
            place / name, rows=size, features=FEATURES, classes=CLASSES
        )
        print(f"{name}: stats", flush=True)
        passed = measure.stats(place / name, place / f"{name}.moments", threads=threads)
        print(f"{name}: products of as many rows", flush=True)
        passed["products"] = measure.products(rows=size, features=FEATURES)
        found["passes"][name] = passed
    print("scikit-learn on the tenth", flush=True)
    piece = measure.in_memory(place / "tenth")
    found["ridge"] = measure.ridge(*piece)
    found["error"] = measure.error(place / "tenth.moments", *piece)
    del piece
    print("solves from the moments", flush=True)
    found["solves"] = measure.solves(
        place / "whole.moments", place / "tenth", sets=SETS, l2s=L2S, examples=EXAMPLES
    )
    return found


def verdicts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was asked for, what was measured, and whether it is met."""
    whole, tenth = results["passes"]["whole"], results["passes"]["tenth"]
    growth = abs(whole["peak_bytes"] / tenth["peak_bytes"] - 1)
    rows = [
        ("peak memory in GB is below", whole["peak_bytes"] / 1e9, 1.5, False),
        ("peak memory differs from that of a tenth of the rows by", growth, 0.1, False),
        *(
            (
                f"throughput as a share of that of {name}'s plain product",
                seconds / whole["seconds"],
                0.6,
                True,
            )
            for name, seconds in whole["products"].items()
        ),
        *(
            (
                f"speed of the pass over the tenth, from disk, against scikit-learn's Ridge.fit of "
                f"it as {name} in memory",
                seconds / tenth["seconds"],
                1.0,
                True,
            )
            for name, seconds in results["ridge"].items()
        ),
        (
            "seconds of all solves as a share of the pass",
            results["solves"]["seconds"] / whole["seconds"],
            1.0,
            False,
        ),
        ("largest relative error against two passes", results["error"], 1e-12, False),
    ]
    return [
        {
            "what": what,
            "measured": measured,
            "bound": bound,
            "met": measured >= bound if at_least else measured <= bound,
        }
        for what, measured, bound, at_least in rows
    ]


if __name__ == "__main__":
    main()
