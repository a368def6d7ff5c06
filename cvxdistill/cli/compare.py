"""`cvxdistill compare`: every method on one problem, in one table and two figures."""

import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from cvxdistill.artifact import Distilled
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.cli import parts as parts_of
from cvxdistill.cli.common import count_or_share
from cvxdistill.cli.judge import Judge, parse_student
from cvxdistill.compare import Comparison, SharedProblem, Yardstick, compare
from cvxdistill.data import Splits
from cvxdistill.distill import EXTRACTOR, POOL, make_pool
from cvxdistill.features import Preprocessing, parse_network
from cvxdistill.files import atomic_file
from cvxdistill.report import (
    compare_table,
    comparison_markdown,
    draw_bits,
    draw_seconds,
    draw_sheet,
    remarks,
    time_tables,
)

METHODS = "hard;smoothed;teacher;exact;online-ridge"


def compare_command(
    context: typer.Context,
    methods: opt.Methods = METHODS,
    budget: opt.Budget = None,
    grace: opt.Grace = 60.0,
    target: opt.Target = "digits",
    base: opt.Base = None,
    base_fit: opt.BaseFit = None,
    data_root: opt.DataRoot = None,
    download: opt.Download = False,
    examples: opt.Examples = None,
    choose: opt.Choose = "balanced",
    indices: opt.Indices = None,
    student: opt.Student = None,
    extractor: opt.Extractors = EXTRACTOR,
    pool: opt.Pool = POOL,
    zca: opt.Zca = False,
    head: opt.Head = "ridge",
    l2: opt.L2 = None,
    l2_scale: opt.L2Scale = None,
    intercept: opt.Intercept = None,
    target_l2: opt.TargetL2 = None,
    validation: opt.Validation = None,
    test_fraction: opt.TestFraction = None,
    limit: opt.Limit = None,
    split_seed: opt.SplitSeed = 0,
    seed: opt.Seed = 0,
    students: opt.Students = None,
    seeds: opt.Seeds = 5,
    curve_seeds: opt.CurveSeeds = 5,
    steps: opt.Steps = "50,100,200",
    augment: opt.Augment = "none",
    unseen: opt.Unseen = None,
    skip_full: opt.SkipFull = False,
    reference: opt.Reference = None,
    device: opt.Device = "auto",
    in_process: opt.InProcess = False,
    resume: opt.Resume = False,
    checkpoint_every: opt.CheckpointEvery = 30.0,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> int:
    """Run several methods on one problem with one budget, and compare what comes out."""
    judge = Judge.parse(students, seeds, steps, unseen, seed, device, augment=augment)
    network = parse_network(extractor)
    chosen_head = parts_of.head(head, l2=l2, l2_scale=l2_scale, intercept=intercept)
    data = common.DataRequest(
        target, data_root, download, count_or_share(validation), test_fraction, limit, split_seed
    )
    request = parts_of.BaseExamples(base, base_fit, examples, choose, indices)
    parts = data.load()
    solved: dict[str, Any] = {
        "extractors": network,
        "pool": pool,
        "head": chosen_head,
        "target_l2": target_l2,
    }
    problem = _given(judge, data, parts, request, solved, student=student, zca=zca)
    folder = out or Path("runs") / f"{parts.train.name}-compare-{len(problem.base)}-seed{seed}"
    with common.progress_bars(finished=False) as progress:
        comparison = compare(
            problem,
            _yardstick(judge, parts, curve_seeds, full=not skip_full),
            [part for part in methods.split(";") if part.strip()],
            out=folder,
            budget=budget,
            grace=grace,
            isolate=not in_process,
            resume=resume,
            every=checkpoint_every,
            reference=reference,
            command=context.obj or (),
            progress=progress,
        )
    _publish(comparison, folder, as_json=as_json)
    return int(all(row.failed for row in comparison.rows))


def _given(
    judge: Judge,
    data: common.DataRequest,
    parts: Splits,
    request: parts_of.BaseExamples,
    solved: dict[str, Any],
    *,
    student: str | None,
    zca: bool,
) -> SharedProblem:
    """Return the problem with its data and the network to train, all of it checked.

    Base examples that are chosen by features are chosen by those of the pool's first extractor.
    """
    own = judge.students[0] if judge.students else None
    own = own if student is None else parse_student("--student", student)
    judge.check(parts, own)
    found = request.read(data, parts, seed=judge.seed)
    ready = Preprocessing.fit(parts.train, zca=zca)
    drawn: dict[str, Any] = {"seed": judge.seed, "device": judge.device}
    first = make_pool(solved["extractors"], parts.train, pool=1, **drawn)[0]
    return SharedProblem(
        base=found.choose(first, ready, solved["head"], solved["target_l2"], judge.device),
        target=parts.train,
        validation=parts.validation,
        preprocessing=ready,
        student=own,
        provenance={"data": data.record(), "splits": parts.record, **request.record()},
        **drawn,
        **solved,
    )


def _yardstick(judge: Judge, parts: Splits, curve_seeds: int, *, full: bool) -> Yardstick:
    return Yardstick(
        parts.test(),
        students=judge.students,
        seeds=judge.seeds,
        unseen=judge.unseen,
        recipe=judge.recipe,
        curve_seeds=curve_seeds,
        full=full,
        seed=judge.seed,
    )


def _publish(comparison: Comparison, folder: Path, *, as_json: bool) -> None:
    """Write tables and figures beside the runs, and print the result."""
    with atomic_file(folder / "comparison.md") as temporary:
        temporary.write_text(comparison_markdown(comparison))
    draw_seconds(comparison, folder / "accuracy_seconds")
    draw_bits(comparison, folder / "accuracy_bits")
    for row in comparison.rows:
        sheet = folder / row.run / "labels.png"
        if not row.failed and not sheet.exists():
            draw_sheet(Distilled.load(folder / row.run), sheet)
    if as_json:
        record = {"run": str(folder), **comparison.record()}
        common.write_json(record)
        return
    problem = comparison.problem
    title = (
        f"{problem['target']}, {problem['examples']} base examples of {problem['base']}: test "
        "accuracy, %, and costs"
    )
    # A fixed width where there is no terminal, so that a table in a log is not folded.
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(compare_table(comparison, title=title))
    for line in remarks(comparison):
        console.print(line, soft_wrap=True)
    for table in time_tables(comparison):
        console.print(table)
    console.print(f"tables, figures and runs in {folder}", soft_wrap=True)
