"""One method of a comparison, from the problem to a run folder."""

import contextlib
import dataclasses
import os
import pickle
import sys
import threading
import time
from pathlib import Path

import torch

from cvxdistill.compare.memory import PeakMemory
from cvxdistill.compare.problem import SharedProblem
from cvxdistill.compare.trace import Trace, marks_until
from cvxdistill.errors import CvxDistillError
from cvxdistill.methods import Exact, Journal, Method
from cvxdistill.progress import Progress, silent
from cvxdistill.students import Recipe, Students

# The key under which the manifest of a run says what the comparison measured.
RECORD = "comparison"
WARM_UP_EXAMPLES = 64
LONGEST_REASON = 300
TELL = 0.2
PROBLEM, JOB, REASON, PAUSED = "problem.pickle", "job.pickle", "reason.txt", "paused.txt"


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What a worker is to do, apart from the problem.

    Attributes:
        method: to be run.
        folder: where the artefact goes.
        checkpoint: where the run leaves its state.
        trace: where labels along the way are kept.
        budget: seconds after which a method that takes steps stops.
        grace: seconds beyond the budget after which the work is ended, where that is possible.
        every: seconds between two checkpoints.
        threads: number of threads that PyTorch uses.
        fingerprint: of problem, method and budget.
    """

    method: Method
    folder: Path
    checkpoint: Path
    trace: Path
    budget: float | None
    grace: float
    every: float
    threads: int
    fingerprint: str

    def journal(self) -> Journal:
        """Return the journal of the run: its checkpoint, its budget, and its trace."""
        return Journal(
            self.checkpoint,
            every=self.every,
            resume=True,
            budget=self.budget,
            marks=marks_until(self.budget),
            watch=Trace(self.trace, self.fingerprint).keep,
        )


def work(
    problem: SharedProblem,
    job: Job,
    journal: Journal,
    *,
    isolated: bool = False,
    progress: Progress = silent,
) -> None:
    """Run the method and save its artefact, with what it cost.

    Raises:
        CvxDistillError: whatever the method has to say.
    """
    memory = PeakMemory(problem.device, alone=isolated)
    made = problem.distill(job.method, journal, progress)
    peak = memory.read()
    record = {
        "fingerprint": job.fingerprint,
        "budget": job.budget,
        "isolated": isolated,
        "peak_memory": peak.process,
        "peak_gpu_memory": peak.gpu,
    }
    made = dataclasses.replace(made, provenance={**made.provenance, RECORD: record})
    made.save(job.folder)
    journal.close()


def warm_up(problem: SharedProblem) -> None:
    """Do a little of what methods do, so that none pays for being the first in its process.

    Libraries that are loaded on first use, and starting a GPU, take seconds: longer than some
    methods.
    """
    few = problem.target.subset(torch.arange(min(WARM_UP_EXAMPLES, len(problem.target))))
    small = dataclasses.replace(problem, base=few, target=few, validation=None)
    # What cannot be done here, such as an exact solve for another head, methods do not do either.
    with contextlib.suppress(CvxDistillError):
        made = small.distill(Exact(), Journal())
        examples = made.preprocessing.to(problem.device)(few.images.to(problem.device))
        students = Students(
            problem.network, few.shape, few.num_classes, seeds=[0], device=problem.device
        )
        for _ in students.fit(examples, made.labels, "scores", recipe=Recipe(checkpoints=(1,))):
            students.predict(examples)


def reason_of(error: BaseException) -> str:
    """Return one line that says what went wrong."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."
    if isinstance(error, CvxDistillError) and text:
        return text
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return f"out of memory: {text}" if text else "out of memory"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def main(room: str) -> None:
    """Do the job that lies in a folder; what stops it is written there in one line."""
    folder = Path(room)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        job: Job = pickle.loads((folder / JOB).read_bytes())
        torch.set_num_threads(job.threads)
        with (folder / PROBLEM).open("rb") as file:
            problem: SharedProblem = pickle.load(file)
        warm_up(problem)
        journal = job.journal()
        told = (journal, job.grace, folder / PAUSED)
        threading.Thread(target=_tell_pauses, args=told, daemon=True).start()
        work(problem, job, journal, isolated=True)
    except Exception as error:
        (folder / REASON).write_text(reason_of(error))
        sys.exit(1)


def _tell_pauses(journal: Journal, grace: float, path: Path) -> None:
    """Write for how long the clock stood still: looking at labels along the way is no work.

    No single look counts for more than the grace, so that one that hangs is ended too.
    """
    while True:
        path.write_text(f"{sum(min(pause, grace) for pause in journal.pauses):.3f}\n")
        time.sleep(TELL)


def _end_with_the_parent() -> None:
    """Wait for the other end of stdin to close, which it does however the parent ends."""
    # Not through `sys.stdin`, whose lock a thread must not hold when the interpreter shuts down.
    while os.read(0, 1):
        pass
    os._exit(1)
