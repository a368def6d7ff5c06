"""One cell: every method on the same base, target and validation part, judged by its students."""

import argparse
import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.cells import Cell
from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet, Splits
from cvxdistill.distill import distill
from cvxdistill.errors import CvxDistillError
from cvxdistill.evaluate import EvalRow, evaluate_students, interval
from cvxdistill.features import Preprocessing
from cvxdistill.methods import Journal
from cvxdistill.students import Recipe

BASELINES = ("hard", "smoothed")
OPTIMISERS = ("adamw", "sgd", "momentum", "rmsprop")
FACTORS = (0.25, 0.5, 2.0)


def measure(
    name: str, cell: Cell, options: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `(method, record)`; what fails is a record that says why."""
    try:
        parts, base = cell.load(options.data_root, download=options.download)
    except CvxDistillError as error:
        reason = f"not run: needs {cell.missing}" if cell.missing else str(error)
        say(name, error)
        yield "problem", {"reason": reason}
        return
    train = parts.train
    if options.limit:
        train = train.subset(torch.arange(min(options.limit, len(train))))
    ready = Preprocessing.fit(train, zca=cell.zca)
    for key in options.methods or cell.methods:
        spec = cell.methods.get(key, key)
        say(name, spec, "begins")
        if options.reuse:
            made = Distilled.load(run_folder(options, name, key))
            for rows in used_otherwise(made, cell, parts, options):
                say(name, key, rows[-1].network, rows[-1].optimiser, "done")
                yield key, {"matrix": [row.record() for row in rows]}
            continue
        try:
            journal = journal_of(options, name, key)
            made = run(spec, cell, base, train, parts, ready, options, journal)
            if options.runs:
                made.save(run_folder(options, name, key))
                journal.close()
            record = judge(made, cell, parts, options)
        except (CvxDistillError, RuntimeError) as error:
            record = {"reason": " ".join(str(error).split())[:300]}
        say(name, spec, summary(record))
        yield key, {"spec": spec, **record, **about(options)}
    if options.baselines and not cell.base:
        made = run("hard", cell, base, train, parts, ready, options, Journal())
        for label_set in BASELINES:
            rows = students(made, cell, parts, options, label_sets=(label_set,))
            record = {"rows": [row.record() for row in rows], **about(options)}
            key = label_set if options.augment == "none" else f"{label_set}, {options.augment}"
            say(name, key, summary(record))
            yield key, record


def run_folder(options: argparse.Namespace, name: str, key: str) -> Path:
    """Return where the distilled set of a cell and method is kept."""
    folder: Path = options.runs / name / key.replace(", ", "-")
    return folder


def journal_of(options: argparse.Namespace, name: str, key: str) -> Journal:
    """Return a journal that goes on from what an earlier call left below `--runs`."""
    if not options.runs:
        return Journal(budget=options.budget)
    folder = run_folder(options, name, key)
    return Journal(
        folder.with_name(f"{folder.name}.checkpoint"),
        resume=True,
        ended=folder / "checkpoint.safetensors",
        budget=options.budget,
    )


def run(
    spec: str,
    cell: Cell,
    base: ImageSet,
    train: ImageSet,
    parts: Splits,
    ready: Preprocessing,
    options: argparse.Namespace,
    journal: Journal,
) -> Distilled:
    """Return what a method makes of the cell's problem."""
    return distill(
        base,
        train,
        method=spec,
        extractors="pixels",
        preprocessing=ready,
        validation=parts.validation,
        student=cell.student,
        device=options.device,
        journal=journal,
    )


def judge(
    made: Distilled, cell: Cell, parts: Splits, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what a distilled set cost and what students learn from it."""
    known = made.provenance
    rows = students(made, cell, parts, options)
    record = {
        "options": known["method"]["options"],
        "status": known["status"],
        "seconds": known["seconds"],
        "target_passes": known["target_passes"],
        "stats": known["stats"],
        "bits": made.bits.total,
        "rows": [row.record() for row in rows],
    }
    if options.matrix:
        *_, matrix = used_otherwise(made, cell, parts, options)
        record["matrix"] = [row.record() for row in matrix]
    return record


def used_otherwise(
    made: Distilled, cell: Cell, parts: Splits, options: argparse.Namespace
) -> Iterator[list[EvalRow]]:
    """Yield rows of other numbers of steps, other optimisers and other students, more each time."""
    few = argparse.Namespace(**{**vars(options), "seeds": options.matrix})
    rows: list[EvalRow] = []
    others: list[dict[str, Any]] = [{"step_factors": FACTORS}, {"optimisers": OPTIMISERS}]
    others += [{"networks": (network,)} for network in cell.transfer]
    for other in others:
        rows += students(made, cell, parts, few, **other)
        yield rows


def students(
    made: Distilled,
    cell: Cell,
    parts: Splits,
    options: argparse.Namespace,
    *,
    networks: tuple[str, ...] = (),
    label_sets: tuple[str, ...] = ("distilled",),
    **more: Any,
) -> list[EvalRow]:
    """Return the rows of the cell's own student, or of others."""
    recipe = Recipe(checkpoints=cell.checkpoints)
    if options.augment != "none":
        # There is more to learn, and so it takes longer.
        longer = (*cell.checkpoints, 2 * cell.checkpoints[-1])
        recipe = Recipe(checkpoints=longer, augment=options.augment)
    return evaluate_students(
        made,
        parts.test(),
        validation=parts.validation,
        students=list(networks) or [cell.student],
        seeds=options.seeds or cell.seeds,
        recipe=recipe,
        device=options.device,
        label_sets=label_sets,
        **more,
    )


def about(options: argparse.Namespace) -> dict[str, Any]:
    """Return where this was run and how."""
    gpu = torch.device(options.device).type == "cuda"
    return {
        "budget": options.budget,
        "limit": options.limit,
        "environment": {
            "device": torch.cuda.get_device_name() if gpu else platform.machine(),
            "threads": options.threads,
            "python": platform.python_version(),
            **{key: importlib.metadata.version(key) for key in ("torch", "numpy")},
        },
    }


def summary(record: dict[str, Any]) -> str:
    """Return the main number of a record in one line."""
    if "reason" in record:
        return str(record["reason"])
    main = next((row for row in record["rows"] if row["main"]), record["rows"][0])
    if not main["values"]:
        return str(main["status"])
    found = interval(main["values"])
    return (
        f"{100 * found.mean:.2f} +- {50 * (found.high - found.low):.2f} %, {main['choices']}, "
        f"{record.get('seconds', 0):.1f} s, {record.get('stats', {})}"
    )


def say(*words: object) -> None:
    """Print one line of progress."""
    print(f"[{time.perf_counter() - STARTED:7.1f}]", *words, file=sys.stderr, flush=True)


STARTED = time.perf_counter()
