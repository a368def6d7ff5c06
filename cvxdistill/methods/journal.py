"""What a long run leaves behind while it works: a checkpoint, and marks along its way."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.files import atomic_file

State = Mapping[str, Tensor]


@dataclasses.dataclass(eq=False)
class Journal:
    """Checkpoints of one run and its time budget. Without a path nothing is written.

    A checkpoint is one safetensors file, replaced as a whole, that holds the learner's state, the
    number of steps done, the seconds spent, and the fingerprint of the task. Random numbers need
    no state: every draw follows from the seed and the number of the step.

    Attributes:
        path: the checkpoint file.
        every: seconds between two checkpoints; 0 is after each step.
        resume: go on from the file; it must be of the same task.
        ended: where the checkpoint of an earlier run lies that its budget ended; `resume` goes on
            from there if there is no newer one at `path`.
        budget: seconds after which a run takes no further step, those before an interruption
            included; `None` is no limit.
        marks: seconds at which `watch` is to be called, in rising order.
        unfinished: whether the run ended with steps left to do.
        watch: called with `(seconds, step, result)` once after each mark has passed: the
            `MethodResult` of a run that would end there, and the seconds at which such a run would
            have it, its choices on validation included. None of that counts as work of this run.
    """

    path: Path | None = None
    every: float = 30.0
    resume: bool = False
    ended: Path | None = None
    budget: float | None = None
    marks: tuple[float, ...] = ()
    watch: Callable[[float, int, Any], None] | None = None

    def __post_init__(self) -> None:
        self.start()
        self._started, self.unfinished = False, False

    def start(self) -> None:
        """Start the clock, before work that counts but comes before the first step."""
        self._spent, self._began, self._saved, self._next = 0.0, time.perf_counter(), 0.0, 0
        self._started = True
        self._paused_at: float | None = None
        self._pauses: list[float] = []

    @property
    def pauses(self) -> list[float]:
        """Seconds of each time that the clock stood still for `watch`, one under way included."""
        now = self._paused_at
        return [*self._pauses, *([] if now is None else [time.perf_counter() - now])]

    @property
    def seconds(self) -> float:
        """Seconds of work so far: those before an interruption included, those of `watch` not."""
        now = time.perf_counter() if self._paused_at is None else self._paused_at
        return self._spent + now - self._began

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        return self.budget is not None and self.seconds >= self.budget

    def check(self) -> None:
        """Refuse a checkpoint that lies there and is not to be resumed.

        Raises:
            InputError: there is one.
        """
        if self.path is not None and self.path.exists() and not self.resume:
            raise InputError(
                f"`{self.path}` is the checkpoint of an interrupted run. Go on with it by "
                "`--resume`, or delete it to start anew."
            )

    def open(self, fingerprint: str) -> tuple[int, dict[str, Tensor]] | None:
        """Return the step and state to go on from, or `None` to start anew.

        The clock starts here unless `start` was called before.

        Raises:
            InputError: a checkpoint that is not to be resumed lies there, or that of another task.
        """
        if not self._started:
            self.start()
        self._started = False
        self.check()
        usable = (self.path, self.ended if self.resume else None)
        found = next((path for path in usable if path is not None and path.exists()), None)
        if found is None:
            return None
        state, about = _read(found)
        if about.get("fingerprint") != fingerprint:
            raise InputError(
                f"`{found}` is the checkpoint of another run: method, options, data, seed and "
                "networks must be the same. Repeat the options, or delete it to start anew."
            )
        self._spent = float(about["seconds"])
        # Marks that passed before the checkpoint was written have been watched.
        self._next = sum(mark <= self._spent for mark in self.marks)
        return int(about["step"]), state

    def after_step(
        self,
        step: int,
        fingerprint: str,
        state: Callable[[], State],
        result: Callable[[], Any] | None = None,
    ) -> None:
        """Save a checkpoint if one is due, and call `watch` if a mark has passed."""
        seconds = self.seconds
        if self._next < len(self.marks) and seconds >= self.marks[self._next]:
            while self._next < len(self.marks) and seconds >= self.marks[self._next]:
                self._next += 1
            if self.watch is not None and result is not None:
                self._paused_at = time.perf_counter()
                found = result()
                self.watch(seconds + self.pauses[-1], step, found)
                self._pauses = self.pauses
                self._began += self._pauses[-1]
                self._paused_at = None
        if self.path is not None and seconds - self._saved >= self.every:
            self.save(step, fingerprint, state())

    def save(self, step: int, fingerprint: str, state: State) -> None:
        """Write the checkpoint, all of it or nothing.

        Raises:
            InputError: it cannot be written there.
        """
        from safetensors.torch import save_file

        assert self.path is not None
        # Copies, since the format refuses tensors that share memory, as parts of a state may do.
        tensors = {key: value.detach().cpu().clone() for key, value in state.items()}
        about = {
            "fingerprint": fingerprint,
            "step": step,
            "seconds": self.seconds,
            # A product of transposed memory rounds otherwise than one of plain memory, which is
            # all that the format knows.
            "strides": {k: v.stride() for k, v in tensors.items() if not v.is_contiguous()},
        }
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.path) as temporary:
                save_file(tensors, temporary, metadata={"about": json.dumps(about)})
        except OSError as error:
            raise InputError(f"`{self.path}` cannot be written: {error}.") from error
        self._saved = self.seconds

    def close(self) -> None:
        """Delete the checkpoint, or put it at `ended`: what the run made is safe elsewhere.

        Methods leave it to whoever gave them the journal, who closes it once the artefact is saved.
        """
        if self.path is None:
            return
        if self.unfinished and self.ended is not None and self.path.exists():
            os.replace(self.path, self.ended)
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            # Copies, since the file may be replaced while its tensors are in use.
            state = {key: torch.clone(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
        for key, strides in about.get("strides", {}).items():
            plain = state[key]
            laid = torch.empty_strided(plain.shape, tuple(strides), dtype=plain.dtype)
            state[key] = laid.copy_(plain)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(
            f"`{path}` is not a readable checkpoint: {error}. Delete it to start anew."
        ) from error
    return state, about
