"""Compare: every method on one problem, in turn, then measured alike. No numerics here."""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice
from cvxdistill.compare.comparison import FILE, Comparison
from cvxdistill.compare.environment import environment
from cvxdistill.compare.isolate import Isolation
from cvxdistill.compare.plan import Entry, check_folder, check_seconds, read_methods
from cvxdistill.compare.problem import SharedProblem, Yardstick, hash_of
from cvxdistill.compare.rows import CurvePoint, MethodRow
from cvxdistill.compare.times import choose_reference
from cvxdistill.compare.trace import FILE as TRACE
from cvxdistill.compare.trace import read_trace
from cvxdistill.compare.worker import RECORD, Job, reason_of, warm_up, work
from cvxdistill.evaluate import EvalRow
from cvxdistill.features import StatisticsCache
from cvxdistill.manifest import MANIFEST
from cvxdistill.methods import Method
from cvxdistill.progress import Progress, silent

# Where unfinished runs keep checkpoints and traces, below the folder of the comparison.
WORK = ".work"


def compare(
    problem: SharedProblem,
    yardstick: Yardstick,
    methods: Sequence[str | Method],
    *,
    out: str | Path,
    budget: float | None = None,
    grace: float = 60.0,
    isolate: bool = True,
    resume: bool = False,
    every: float = 30.0,
    reference: str | None = None,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> Comparison:
    """Run every method on the same problem, measure all alike, and write the result.

    Each run is an ordinary artefact in a folder of its own below `out`; `comparison.json` there
    is rewritten after each method. A method that fails is a row with the reason.

    Args:
        problem: what all methods are given.
        yardstick: what their labels are measured with.
        methods: names in `METHODS` with options as in `smoothed:smoothing=0.3`, or methods.
        out: a folder; a new or empty one unless `resume`.
        budget: seconds for each method; those that take steps stop there. `None` is no limit.
        grace: seconds beyond the budget after which a process is ended, and its method failed.
        isolate: run each method in a process of its own, so that peak memory is its own, and
            neither a crash nor running out of memory ends the comparison.
        resume: keep the runs of an earlier call that are complete, and go on with others from
            their checkpoints.
        every: seconds between two checkpoints.
        reference: the method whose accuracy the others are timed to; `online-ridge` when not
            given, or else the first method with labels along the way.
        command: the words that made this, to be recorded.
        progress: told how far the work is.

    Raises:
        InputError: data, methods or options that do not fit, or a folder that holds other things.
    """
    entries = read_methods(methods)
    if reference is not None:
        check_choice("reference", reference, [entry.text for entry in entries])
    check_seconds(budget, grace, every)
    problem.check()
    yardstick.check(problem)
    problem, folder = problem.ready(), Path(out)
    yardstick = yardstick.ready(problem)
    shared = problem.fingerprint()
    prints = {e.folder: hash_of(shared, repr(e.method), repr(budget)) for e in entries}
    check_folder(folder, prints, resume=resume)
    with ExitStack() as stack:
        isolation = None
        if isolate:
            chosen = [entry.method for entry in entries]
            isolation = stack.enter_context(Isolation(problem, chosen))
        course = _Course(
            problem, yardstick, folder, prints, isolation, budget, grace, every, progress
        )
        return course.run(entries, reference, tuple(command))


@dataclasses.dataclass(frozen=True, eq=False)
class _Course:
    """One comparison under way."""

    problem: SharedProblem
    yardstick: Yardstick
    folder: Path
    prints: Mapping[str, str]
    isolation: Isolation | None
    budget: float | None
    grace: float
    every: float
    progress: Progress
    cache: StatisticsCache = dataclasses.field(default_factory=StatisticsCache)

    def run(
        self, entries: Sequence[Entry], reference: str | None, command: tuple[str, ...]
    ) -> Comparison:
        """Run all methods in turn, and write the comparison after each."""
        earlier = _earlier(self.folder)
        # Rows that stand from the start, so that an interruption loses none of them.
        rows = {entry.folder: old for entry in entries if (old := self._known(entry, earlier))}
        made = Comparison(
            rows=tuple(rows.values()),
            full=self._full_of(earlier),
            budget=self.budget,
            problem=self.problem.record(),
            yardstick=self.yardstick.record(),
            environment={**environment(self.problem.device), "isolated": bool(self.isolation)},
            command=command,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        made.save(self.folder)
        if self.isolation is None:
            warm_up(self.problem)
        for index, entry in enumerate(entries):
            self.progress("methods", index, len(entries))
            row = rows[entry.folder] = self._row(entry, earlier)
            found = tuple(rows[one.folder] for one in entries if one.folder in rows)
            full = made.full
            if self.yardstick.full and not full and not row.failed:
                full = self._full(entry)
            made = dataclasses.replace(
                made, rows=found, full=full, reference=reference or choose_reference(found)
            )
            made.save(self.folder)
        self.progress("methods", len(entries), len(entries))
        if not any(row.failed for row in made.rows):
            shutil.rmtree(self.folder / WORK, ignore_errors=True)
        return made

    def _key(self, entry: Entry) -> str:
        """Return what says that a row was measured on this problem with this yardstick."""
        return hash_of(self.prints[entry.folder], json.dumps(self.yardstick.record()))

    def _known(self, entry: Entry, earlier: Comparison | None) -> MethodRow | None:
        """Return the row of a method from an earlier call, where that is still true."""
        if earlier is None or not (self.folder / entry.folder / MANIFEST).exists():
            return None
        key = self._key(entry)
        old = next((row for row in earlier.rows if row.key == key and not row.failed), None)
        return None if old is None else dataclasses.replace(old, method=entry.text)

    def _row(self, entry: Entry, earlier: Comparison | None) -> MethodRow:
        """Return the row of a method, from an earlier call where that is still true."""
        known = self._known(entry, earlier)
        if known is not None:
            return known
        row = MethodRow(entry.text, repr(entry.method), entry.folder, self._key(entry))
        run = self.folder / entry.folder
        if not (run / MANIFEST).exists():
            reason = self._distil(entry)
            # An artefact is complete or not there, whatever came of its process after it.
            if not (run / MANIFEST).exists():
                return dataclasses.replace(row, reason=reason or "it ended without a result")
        trace = self._job(entry).trace
        if trace.exists():
            trace.replace(run / TRACE)
        return self._measured(row, run)

    def _distil(self, entry: Entry) -> str | None:
        """Run a method; return why it failed, or `None`."""
        job, stage = self._job(entry), f"{entry.text}: distil"
        job.trace.parent.mkdir(exist_ok=True)
        if self.isolation is not None:
            return self.isolation.run(job, stage=stage, progress=self.progress)
        try:
            work(self.problem, job, job.journal(), progress=self._told(entry.text))
        except Exception as error:
            return reason_of(error)
        return None

    def _job(self, entry: Entry) -> Job:
        return Job(
            method=entry.method,
            folder=self.folder / entry.folder,
            checkpoint=self.folder / WORK / f"{entry.folder}.checkpoint.safetensors",
            trace=self.folder / WORK / f"{entry.folder}.{TRACE}",
            budget=self.budget,
            grace=self.grace,
            every=self.every,
            threads=torch.get_num_threads(),
            fingerprint=self.prints[entry.folder],
        )

    def _measured(self, row: MethodRow, run: Path) -> MethodRow:
        distilled = Distilled.load(run)
        known = distilled.provenance
        told = self._told(row.method)
        examples = distilled.examples
        shape = "x".join(map(str, examples.shape[1:]))
        kind = str(examples.dtype).removeprefix("torch.")
        return dataclasses.replace(
            row,
            status=known["status"],
            seconds=known["seconds"],
            peak_memory=known[RECORD]["peak_memory"],
            peak_gpu_memory=known[RECORD]["peak_gpu_memory"],
            target_passes=known["target_passes"],
            bits=distilled.bits,
            stored={
                "images": f"{len(examples)} x {shape} {kind}",
                "labels": f"{len(examples)} x {len(distilled.class_names)} float64",
            },
            evaluations=tuple(
                self.yardstick.measure(distilled, self.problem, progress=told, cache=self.cache)
            ),
            curve=self._curve(distilled, run, told),
        )

    def _curve(self, distilled: Distilled, run: Path, told: Progress) -> tuple[CurvePoint, ...]:
        if self.problem.validation is None:
            return ()
        end = float(distilled.provenance["seconds"])
        # A result along the way takes choices on validation too, whose time varies. One that could
        # have been handed out only after the end says nothing.
        there = sorted(read_trace(run / TRACE), key=lambda point: point.seconds)
        kept = [
            (point.seconds, point.step, point.applied(distilled))
            for point in there
            if point.seconds < end
        ]
        points = []
        for seconds, step, then in [*kept, (end, None, distilled)]:
            rows = self.yardstick.measure_validation(then, self.problem, progress=told)
            points.append(CurvePoint(round(seconds, 4), step, tuple(rows)))
        return tuple(points)

    def _full(self, entry: Entry) -> tuple[EvalRow, ...]:
        """Return the rows of the full data, for which any artefact of this problem will do."""
        # Without the recipe or the head that came with its labels.
        distilled = Distilled.load(self.folder / entry.folder)
        distilled = dataclasses.replace(distilled, recipe=None, head=self.problem.head)
        rows = self.yardstick.measure(
            distilled,
            self.problem,
            label_sets=("full",),
            progress=self._told("full data"),
            cache=self.cache,
        )
        return tuple(rows)

    def _full_of(self, earlier: Comparison | None) -> tuple[EvalRow, ...]:
        if earlier is None or earlier.problem != self.problem.record():
            return ()
        return earlier.full if earlier.yardstick == self.yardstick.record() else ()

    def _told(self, name: str) -> Progress:
        return lambda stage, done, total: self.progress(f"{name}: {stage}", done, total)


def _earlier(folder: Path) -> Comparison | None:
    return Comparison.load(folder) if (folder / FILE).exists() else None
