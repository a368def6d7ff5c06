"""Methods that take steps: how they are run, interrupted, resumed and limited, in one place."""

import dataclasses
import hashlib
from abc import ABC, abstractmethod

from torch import Tensor

from cvxdistill.methods.base import DistillTask, Method, MethodResult
from cvxdistill.methods.journal import State
from cvxdistill.problem import Status


class Learner(ABC):
    """One run of a method. Between two steps it is wholly described by `state()`.

    The contract, checked for every registered method: a learner that is restored from the state
    of another after any step ends with the same bits on a CPU. Draws therefore come from
    `generator(seed, name, step)`, never from a generator that lives on.
    """

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of steps of a whole run."""

    @abstractmethod
    def step(self, index: int) -> None:
        """Take the step of this number, counted from 0."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go back to a state."""

    @abstractmethod
    def result(self) -> MethodResult:
        """Return the labels as they are now, all choices on validation made; no side effects."""


@dataclasses.dataclass(frozen=True)
class IterativeMethod(Method):
    """A method whose work is a [Learner][cvxdistill.methods.iterative.Learner]."""

    @abstractmethod
    def learner(self, task: DistillTask) -> Learner:
        """Return a learner before its first step.

        Raises:
            InputError: the task lacks something that this method needs.
        """

    def run(self, task: DistillTask) -> MethodResult:
        """Take all steps, or those that the task's journal leaves time for.

        Raises:
            InputError: the task lacks something that this method needs, or its checkpoint does
                not fit.
        """
        journal, fingerprint = task.journal, task_fingerprint(self, task)
        found = journal.open(fingerprint)
        learner = self.learner(task)
        done = 0
        if found is not None:
            done = found[0]
            learner.restore({key: value.to(task.device) for key, value in found[1].items()})
        total = learner.total
        while done < total and not journal.exhausted:
            learner.step(done)
            done += 1
            task.progress(self.name, done, total)
            if done < total:
                journal.after_step(done, fingerprint, learner.state, learner.result)
        # Choices on validation may take as long as the steps: an interruption from here on, until
        # whoever gave the journal closes it, loses no step.
        if journal.path is not None:
            journal.save(done, fingerprint, learner.state())
        result = learner.result()
        journal.unfinished = done < total
        if journal.unfinished:
            return dataclasses.replace(result, status=Status.STOPPED_EARLY)
        return result


def task_fingerprint(method: Method, task: DistillTask) -> str:
    """SHA-256 over all that decides the result of a run, the numbers of steps included."""
    parts = [
        repr(method),
        str(task.network),
        repr(task.head),
        repr((task.target_l2, task.seed)),
        task.base.fingerprint(),
        task.target.fingerprint(),
        "" if task.validation is None else task.validation.fingerprint(),
        task.preprocessing.fingerprint(),
        *(extractor.fingerprint() for extractor in task.extractors),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
