"""What verbs share: data, devices, progress bars, output."""

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice
from cvxdistill.data import Splits, load_splits
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow, nested
from cvxdistill.files import atomic_file
from cvxdistill.progress import Progress
from cvxdistill.report import accuracy_table

DEVICES = ("auto", "cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class DataRequest:
    """Which data set, and how it is divided; what an artefact records to find it again."""

    target: str
    data_root: str | None = None
    download: bool = False
    validation: int | float | None = None
    test_fraction: float | None = None
    limit: int | None = None
    split_seed: int = 0

    def load(self) -> Splits:
        """Read and divide the data set.

        Raises:
            InputError: it cannot be found, read or divided so.
        """
        return load_splits(
            self.target,
            data_root=self.data_root,
            download=self.download,
            validation=self.validation,
            test_fraction=self.test_fraction,
            seed=self.split_seed,
            limit=self.limit,
        )

    def record(self) -> dict[str, Any]:
        """Return what another machine needs too: not the folder, nor whether to download."""
        kept = dataclasses.asdict(self)
        del kept["data_root"], kept["download"]
        return kept


def count_or_share(text: str | None) -> int | float | None:
    """Return the number of `--validation`: with a point it is a share, else a count.

    Raises:
        InputError: not a number.
    """
    if text is None:
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError as error:
        raise InputError(
            f"`--validation` must be a count such as 5000 or a share such as 0.1; got `{text}`."
        ) from error


def choose_device(name: str) -> torch.device:
    """Return the device that `--device` names; `auto` is a GPU where there is one.

    Raises:
        InputError: an unknown name, or `cuda` without a GPU.
    """
    check_choice("--device", name, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("`--device cuda` needs a CUDA device; none was found. Use `--device cpu`.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def complain(message: str) -> None:
    """Write one line that says what is wrong."""
    one_line = " ".join(message.split())
    sys.stderr.write(f"cvxdistill: error: {one_line}\n")


def write_json(record: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout, which `--json` keeps free of anything else."""
    sys.stdout.write(json.dumps(record, allow_nan=False) + "\n")


@contextmanager
def progress_bars(*, finished: bool = True) -> Iterator[Progress]:
    """Yield a progress callback that draws bars with the time left on stderr.

    Args:
        finished: whether to go on showing what is done; not where there are many stages.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Bars that nobody watches would leave blank lines in a log.
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            shown = finished or done < total
            bars.update(tasks[stage], completed=done, total=total, visible=shown)

        yield report


def publish(
    folder: Path, name: str, distilled: Distilled, rows: list[EvalRow], *, as_json: bool
) -> None:
    """Write the result beside the artefact, and print it as one JSON object or as a table."""
    known = distilled.provenance
    summary = {
        "run": str(folder),
        "method": known["method"]["name"],
        "status": known["status"],
        "certificate": known["certificate"],
        "seconds": known["seconds"],
        "examples": len(distilled),
        "label_kind": distilled.label_kind,
        "accuracy": nested(rows),
        "accuracy_ci": nested(rows, "accuracy_ci"),
        "rows": [row.record() for row in rows],
    }
    with atomic_file(folder / name) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    if as_json:
        write_json(summary)
        return
    target, base = known["target"]["name"], distilled.base.name
    source = "" if base == target else f" of {base}"
    title = f"{target}, {len(distilled)} base examples{source}, method {summary['method']}"
    # A fixed width where there is no terminal, so that a table in a log is not folded.
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(accuracy_table(rows, title=title))
    for row in rows:
        if row.status != "ok":
            console.print(f"{row.setting} {row.network} on {row.labels}: {row.status}")
    if known["certificate_text"]:
        console.print(f"certificate: {known['certificate_text']}")
    # Labels of others may come without the time that they took.
    seconds = known["seconds"]
    spent = "" if seconds is None else f"{seconds:.1f} s to the labels; "
    console.print(f"{spent}run folder {folder}", soft_wrap=True)
