"""Run with `python -m benchmarks.pool --data-root PATH`; `--render` writes the pages alone."""

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

from benchmarks.pool import accuracy, entropy, seen
from benchmarks.pool.render import render_pool
from benchmarks.pool.render_entropy import render_entropy
from benchmarks.pool.render_seen import render_seen
from benchmarks.pool.summary import entropy_verdicts, pool_verdicts

PACKAGES = ("torch", "numpy", "scipy")
CACHE = Path(tempfile.gettempdir()) / "cvxdistill-pool"
PARTS = {
    "pool": (accuracy.measure, pool_verdicts, render_pool),
    "cross_entropy": (entropy.measure, entropy_verdicts, render_entropy),
    "seen": (seen.measure, seen.verdicts, render_seen),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("CVXDISTILL_DATA_ROOT"))
    parser.add_argument("--only", choices=PARTS, help="one of the comparisons")
    parser.add_argument("--render", action="store_true", help="pages from the results at hand")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--examples", type=int, default=20_000, help="target examples, MNIST")
    parser.add_argument("--cifar-examples", type=int, default=10_000)
    parser.add_argument("--base-draws", type=int, default=3)
    parser.add_argument("--unseen", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=4)
    parser.add_argument("--seen", type=int, default=5, help="extractors a kind, of labels for one")
    parser.add_argument("--teacher", default="lenet")
    parser.add_argument("--teacher-count", type=int, default=8)
    parser.add_argument("--teacher-steps", type=int, default=450)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--pages", type=Path, default=Path("docs/benchmarks"))
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the results, and render the pages."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not options.render and options.data_root is None:
        parser.error("give --data-root PATH, the folder with the data sets")
    for name in PARTS if options.only is None else (options.only,):
        run, judge, render = PARTS[name]
        path = options.results / f"{name}.json"
        if not options.render:
            torch.set_num_threads(options.threads)
            with threadpool_limits(options.threads):
                results = {**about(options, name), **run(options)}
            results["verdicts"] = judge(results)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
        results = json.loads(path.read_text())
        render(results, options.pages)
        for verdict in results["verdicts"]:
            print("met    " if verdict["met"] else "NOT MET", verdict["what"], verdict["measured"])


def about(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return what was run, with what, and where."""
    hidden = ("data_root", "cache", "results", "pages", "render", "only")
    given = {key: value for key, value in vars(options).items() if key not in hidden}
    usual = make_parser().get_default
    other = [f" --{key.replace('_', '-')} {v}" for key, v in given.items() if v != usual(key)]
    return {
        "command": f"python -m benchmarks.pool --only {name} --data-root PATH{''.join(other)}",
        "options": given,
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
    }


if __name__ == "__main__":
    main()
