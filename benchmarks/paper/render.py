"""Turn the results of `python -m benchmarks.paper` into a page of markdown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.paper.cells import CELLS
from benchmarks.pool.text import wrapped
from cvxdistill.evaluate import interval

ORDER = ("hard", "smoothed", "online-ridge", "second-order", "images", "images-labels", "teacher")
# Students from which on an interval is worth its place.
ENOUGH = 5
NAMES = {"hard": "true labels", "smoothed": "smoothed labels"}
TITLES = {
    "mnist-lenet-10": "MNIST, LeNet, 10 base examples",
    "mnist-lenet-100": "MNIST, LeNet, 100 base examples",
    "mnist-lenet-500": "MNIST, LeNet, 500 base examples",
    "mnist-convnet-100": "MNIST, ConvNet-D3, 100 base examples",
    "kmnist-lenet-100": "KMNIST (8,000 / 2,000 of the test split), LeNet, 100 base examples",
    "cifar10-jpeg-alexnet-100": "CIFAR-10 (JPEG), AlexNet, 100 base examples",
    "cifar10-jpeg-convnet-100": "CIFAR-10 (JPEG), ConvNet-D3 with ZCA, 100 base examples",
    "letters-mnist-100": "EMNIST letters -> MNIST, LeNet, 100 base examples",
    "letters-kmnist-100": "EMNIST letters -> KMNIST (8,000 / 2,000), LeNet, 100 base examples",
    "letters-k49-100": "EMNIST letters -> Kuzushiji-49, LeNet, 100 base examples",
    "cub-cifar10-100": "CUB -> CIFAR-10 (JPEG), AlexNet, 100 base examples",
    "cifar100-alexnet-100": "CIFAR-100, AlexNet, 100 base examples",
}


def render_page(results: Path, page: Path) -> None:
    """Write the page: a text that is kept by hand in `about.md`, then one table a cell."""
    parts = [(Path(__file__).parent / "about.md").read_text().rstrip()]
    for name in CELLS:
        path = results / f"{name}.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        parts.append("\n".join(section(name, found)))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n")


def section(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return the lines of one cell."""
    lines = [f"## {TITLES[name]}", ""]
    problem = found.get("problem", {})
    if not any("rows" in record for record in found.values()):
        why = problem.get("reason") or "not run"
        command = f"`python -m benchmarks.paper --data-root PATH --cells {name}`"
        return [*lines, f"{why[0].upper()}{why[1:]}. The command is {command}."]
    lines += [
        "| labels | test accuracy, % | steps | validation | seconds | passes | bits |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in sorted(found, key=lambda key: (rank(key), key)):
        if key != "problem":
            lines.append(table_row(key, found[key]))
    devices = sorted({str(record["environment"]["device"]) for record in with_rows(found)})
    notes = [f"{key}: `{record['spec']}`" for key, record in found.items() if "spec" in record]
    students = sorted({len(main_row(record)["values"]) for record in with_rows(found)})
    text = f"{' or '.join(map(str, students))} students a number; {', '.join(devices)}. "
    lines += ["", *wrapped(text + "; ".join(notes) + ".")]
    return lines + matrix(found)


def rank(key: str) -> int:
    """Return the place of a method in the table."""
    method = key.split(", ")[0]
    return ORDER.index(method) if method in ORDER else len(ORDER)


def title(key: str) -> str:
    """Return how a method and what was particular about its run are called."""
    method, *rest = key.split(", ")
    return ", ".join([NAMES.get(method, method), *rest])


def with_rows(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records that hold numbers."""
    return [record for record in found.values() if "rows" in record]


def table_row(key: str, record: Mapping[str, Any]) -> str:
    """Return one line: a method, its accuracy, and what it cost."""
    name = title(key)
    if "rows" not in record:
        return f"| {name} | failed: {record['reason']} | | | | | |"
    row = main_row(record)
    known = record.get("stats", {}).get("validation_accuracy")
    early = "*" if record.get("status") == "stopped_early" else ""
    cells = [
        f"{name}{early}",
        percent(row),
        str(row["steps"]),
        f"{100 * known:.1f}" if known else "",
        seconds_of(record),
        f"{record['target_passes']:.1f}" if "target_passes" in record else "",
        f"{record['bits']:,}" if "bits" in record else "",
    ]
    return "| " + " | ".join(cells) + " |"


def seconds_of(record: Mapping[str, Any]) -> str:
    """Return the seconds to the labels, and on which GPU if on one."""
    if "seconds" not in record:
        return ""
    device = str(record["environment"]["device"])
    where = f" ({device.removeprefix('NVIDIA ')})" if device.startswith("NVIDIA") else ""
    return f"{record['seconds']:.0f}{where}"


def main_row(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row of the matching student, its optimiser and its steps."""
    rows: list[Mapping[str, Any]] = record["rows"]
    return next(row for row in rows if row["main"])


def percent(row: Mapping[str, Any]) -> str:
    """Return mean and half width of the 95 % interval."""
    if not row["values"]:
        return f"failed: {row['status']}"
    found = interval(row["values"])
    return f"{100 * found.mean:.2f} ± {50 * (found.high - found.low):.2f}"


def matrix(found: Mapping[str, Any]) -> list[str]:
    """Return the table of other students, optimisers and numbers of steps, if measured."""
    measured = {
        key: others(record["matrix"]) for key, record in found.items() if "matrix" in record
    }
    if not measured:
        return []
    columns = list(dict.fromkeys(name for cells in measured.values() for name in cells))
    records = [record for record in found.values() if "matrix" in record]
    counts = sorted({len(row["values"]) for record in records for row in record["matrix"]} - {0})
    few = f" (fewer than {ENOUGH} have no interval)" if counts[0] < ENOUGH else ""
    text = (
        f"Used otherwise: accuracy in percent by {' or '.join(map(str, counts))} students{few}, "
        "where the first column is the student, optimiser and number of steps that the labels were "
        "learned for. Other students are trained by the labels' own recipe; other optimisers "
        "choose their learning rate among three on validation."
    )
    lines = ["", *wrapped(text), "", "| labels | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for key in sorted(measured, key=lambda key: (rank(key), key)):
        cells = measured[key]
        shown = [cells.get(name, "") for name in columns]
        lines.append(f"| {title(key)} | " + " | ".join(shown) + " |")
    return lines


def others(rows: list[Mapping[str, Any]]) -> dict[str, str]:
    """Return mean accuracies by what differs from the matching cell, which comes first."""
    own = next(row for row in rows if row["main"])
    out: dict[str, str] = {}
    for row in rows:
        parts = []
        if row["network"] != own["network"]:
            parts.append(str(row["network"]))
        if row["optimiser"] != own["optimiser"]:
            parts.append(str(row["optimiser"]))
        if row["step_factor"] != 1:
            parts.append(f"steps x {row['step_factor']:g}")
        values = row["values"]
        few = 0 < len(values) < ENOUGH
        shown = f"{100 * sum(values) / len(values):.1f}" if few else percent(row)
        out.setdefault(", ".join(parts) or "matching", shown)
    return out
