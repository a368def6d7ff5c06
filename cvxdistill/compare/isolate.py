"""A process of its own for each method: its own memory, its own crash, and an end to hanging."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from cvxdistill.compare.problem import SharedProblem
from cvxdistill.compare.worker import JOB, PAUSED, PROBLEM, REASON, Job
from cvxdistill.errors import InputError
from cvxdistill.methods import Method
from cvxdistill.progress import Progress, silent

# Not `-m`: a module that its package has imported would be loaded twice.
START = "import sys; from cvxdistill.compare.worker import main; main(sys.argv[1])"
POLL = 0.1
# Seconds for imports, reading the problem and warming up: enough for a large one on a slow disk,
# and an end for a process that hangs there.
LONGEST_START = 600.0


class Isolation:
    """Runs jobs on one problem, each in a fresh process.

    The problem is handed over in a private temporary folder that is deleted with this object.

    Args:
        problem: what all jobs work on.
        methods: what will be run.

    Raises:
        InputError: the problem or a method cannot be handed over.
    """

    def __init__(self, problem: SharedProblem, methods: Sequence[Method]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cvxdistill-compare-")
        self.room = Path(self._folder.name)
        try:
            self._hand_over(problem, self.room / PROBLEM, "problem")
            for method in methods:
                self._hand_over(method, self.room / JOB, "method")
        except InputError:
            self._folder.cleanup()
            raise

    def __enter__(self) -> "Isolation":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def run(self, job: Job, *, stage: str = "", progress: Progress = silent) -> str | None:
        """Run a job, and return in one line why it failed, or `None`."""
        self._hand_over(job, self.room / JOB, "method")
        for name in (REASON, PAUSED):
            (self.room / name).unlink(missing_ok=True)
        places = [place for place in sys.path if place]
        log = self.room / "stderr.txt"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", START, str(self.room)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            )
            try:
                ended = self._wait(process, job, stage, progress)
            finally:
                process.kill()
                process.wait()
                assert process.stdin is not None
                process.stdin.close()
        progress(stage, 1, 1)
        if ended is not None:
            return ended
        return None if process.returncode == 0 else self._reason(process.returncode, log)

    def _wait(
        self, process: "subprocess.Popen[bytes]", job: Job, stage: str, report: Progress
    ) -> str | None:
        budget, grace = job.budget, job.grace
        started, paused, working = time.monotonic(), 0.0, False
        while True:
            try:
                process.wait(timeout=POLL)
                return None
            except subprocess.TimeoutExpired:
                paused = self._paused(paused)
            if not working and (self.room / PAUSED).exists():
                # The method begins: imports and warming up are no work of its own.
                started, working = time.monotonic(), True
            spent = time.monotonic() - started - paused
            if budget is None:
                continue
            if not working:
                if spent > LONGEST_START:
                    return f"ended: its process had not begun after {spent:.0f} s"
                continue
            report(stage, min(int(spent), int(budget)), max(int(budget), 1))
            if spent > budget + grace:
                return (
                    f"ended after {spent:.0f} s: the budget is {budget:g} s, and {grace:g} s "
                    "of grace are over"
                )

    def _paused(self, before: float) -> float:
        try:
            return float((self.room / PAUSED).read_text())
        except (OSError, ValueError):
            # Not written yet, or just being written.
            return before

    def _reason(self, code: int, log: Path) -> str:
        written = self.room / REASON
        if written.exists():
            return written.read_text()
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; systems do that when memory runs out" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{hint}"
        lines = log.read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1].strip()}" if lines else ""
        return f"its process ended with code {code}{last}"

    def _hand_over(self, thing: object, path: Path, what: str) -> None:
        try:
            with path.open("wb") as file:
                pickle.dump(thing, file)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"the {what} cannot be handed to a process of its own: {error}. Define its classes "
                "in a module, or run all methods in this process: isolate=False (--in-process)."
            ) from error
