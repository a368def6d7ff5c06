"""Run with `python -m benchmarks.storage --data-root PATH`; `--render` writes the page again."""

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks.storage.measure import measure, train_students
from benchmarks.storage.render import render, verdicts
from benchmarks.storage.study import EXAMPLES, METHODS, prepare

PACKAGES = ("torch", "numpy", "scipy")


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the results and the page, and print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("--data-root", default=os.environ.get("CVXDISTILL_DATA_ROOT"))
    parser.add_argument("--datasets", default=",".join(EXAMPLES), help="comma list")
    parser.add_argument("--draws", type=int, default=3, help="base draws")
    parser.add_argument("--held-out", type=int, default=2, help="extractors for choices")
    parser.add_argument("--unseen", type=int, default=5, help="unseen extractors")
    parser.add_argument("--student-seeds", type=int, default=2, help="students a base draw")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/storage.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--students", action="store_true", help="only these, into the JSON")
    parser.add_argument("--render", action="store_true", help="only the page, from the JSON")
    options = parser.parse_args(arguments)
    if options.render:
        render(json.loads(options.json.read_text()), options.docs)
        return
    torch.set_num_threads(options.threads)
    if options.students:
        retrain(options)
        return
    tables: list[dict[str, Any]] = []
    with threadpool_limits(options.threads):
        for table in tabulate(options):
            tables.append(table)
            publish(tables, options)
    for verdict in verdicts(tables):
        print("met    " if verdict["met"] else "NOT MET", verdict["what"], verdict["measured"])


def publish(tables: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write the tables that there are, and the page."""
    results = {
        "command": "python -m benchmarks.storage --data-root PATH",
        "options": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(options).items()
            if name not in ("data_root", "render", "students")
        },
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "tables": tables,
        "verdicts": verdicts(tables),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    render(results, options.docs)


def retrain(options: argparse.Namespace) -> None:
    """Train the students of earlier results anew."""
    tables = json.loads(options.json.read_text())["tables"]
    with threadpool_limits(options.threads):
        for name in dict.fromkeys(table["dataset"] for table in tables):
            study = prepare(name, options.data_root, draws=options.draws, held_out=0, unseen=0)
            for table in tables:
                if table["dataset"] == name:
                    train_students(study, table["kind"], table["rows"], options.student_seeds)
                    publish(tables, options)


def tabulate(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one table a data set and kind of labels."""
    for name in options.datasets.split(","):
        study = prepare(
            name,
            options.data_root,
            draws=options.draws,
            held_out=options.held_out,
            unseen=options.unseen,
        )
        for kind in METHODS:
            yield measure(study, kind, student_seeds=options.student_seeds)


if __name__ == "__main__":
    main()
