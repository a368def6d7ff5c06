"""Run with `python -m benchmarks.paper --data-root PATH`; `--render` writes the page alone."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.cells import CELLS
from benchmarks.paper.measure import measure
from cvxdistill.students import AUGMENTATIONS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__)
    parser.add_argument("--data-root", default=os.environ.get("CVXDISTILL_DATA_ROOT"))
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch missing files of targets and bases with torchvision, into DATA_ROOT; "
        "Kuzushiji-49 and CUB-200-2011 have to be put there by hand",
    )
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--methods", nargs="+", help="in the place of a cell's own")
    parser.add_argument("--seeds", type=int, help="students a number, in the place of a cell's own")
    parser.add_argument("--limit", type=int, help="target examples at most")
    parser.add_argument("--budget", type=float, help="seconds for each method")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--baselines", action="store_true", help="true and smoothed labels too")
    parser.add_argument(
        "--augment", choices=AUGMENTATIONS, default="none", help="what baselines' students see"
    )
    parser.add_argument(
        "--matrix", type=int, metavar="SEEDS", help="other students, optimisers and steps too"
    )
    parser.add_argument(
        "--reuse", action="store_true", help="the matrix alone, of distilled sets kept below --runs"
    )
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/paper"))
    parser.add_argument(
        "--runs",
        type=Path,
        help="keep the distilled sets below this folder, with checkpoints from which the same "
        "call goes on if it was interrupted, or with a larger --budget",
    )
    parser.add_argument("--render", action="store_true", help="the page from the results at hand")
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks/paper.md"))
    options = parser.parse_args(arguments)
    if not options.render and options.data_root is None:
        parser.error("give --data-root PATH, the folder with the data sets")
    if options.reuse and (options.runs is None or not options.matrix):
        parser.error("--reuse needs --runs PATH and --matrix SEEDS")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure cell by cell; every number is written as soon as it is there."""
    options = parse(arguments)
    if options.render:
        from benchmarks.paper.render import render_page

        render_page(options.results, options.page)
        return
    torch.set_num_threads(options.threads)
    options.results.mkdir(parents=True, exist_ok=True)
    for name in options.cells:
        for key, record in measure(name, CELLS[name], options):
            save(options.results / f"{name}.json", key, record)


def save(path: Path, key: str, record: dict[str, Any]) -> None:
    """Add one method's record to the file of its cell."""
    known = json.loads(path.read_text()) if path.exists() else {}
    # A matrix measured later joins the record that it belongs to.
    known[key] = {**known.get(key, {}), **record} if set(record) == {"matrix"} else record
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(known, indent=1, allow_nan=False) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
