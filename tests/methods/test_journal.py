"""The clock of a journal: what counts as work, and what is watched along the way."""

import dataclasses
import types
from typing import ClassVar

import pytest
import torch
from artifact.makers import make_images

from cvxdistill.choose import choose_base
from cvxdistill.distill import distill
from cvxdistill.methods import DistillTask, IterativeMethod, Journal, Learner, MethodResult
from cvxdistill.problem import Status

STEPS = 8


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Seconds that pass only where a test says so; each step takes one."""
    now = [100.0]
    fake = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("cvxdistill.methods.journal.time", fake)
    return now


class Clockwork(Learner):
    """The labels tell how many steps were taken."""

    total = STEPS

    def __init__(self, task: DistillTask, clock: list[float], result_takes: float):
        self.count, self.task, self.clock = torch.zeros(()), task, clock
        self.result_takes = result_takes

    def step(self, index):
        assert index == int(self.count)
        self.clock[0] += 1.0
        self.count = self.count + 1

    def state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = state["count"]

    def result(self):
        self.clock[0] += self.result_takes
        shape = len(self.task.base), self.task.target.num_classes
        return MethodResult(torch.full(shape, float(self.count), dtype=torch.float64), "scores")


@dataclasses.dataclass(frozen=True)
class Ticking(IterativeMethod):
    clock: list[float]
    result_takes: float = 0.0

    name: ClassVar[str] = "ticking"

    def __repr__(self):
        return "Ticking()"

    def learner(self, task):
        return Clockwork(task, self.clock, self.result_takes)


def tick(clock, journal, *, result_takes=0.0, **more):
    data = make_images()
    method = Ticking(clock, result_takes)
    options = {"extractors": "convnet:width=2", "pool": 1, "journal": journal, **more}
    return distill(choose_base(data, 3), data, method=method, **options)


def test_watch_gets_the_result_at_each_mark(clock):
    seen = []
    marks = (0.5, 0.6, 4.5, 5.0, 7.5, 1000.0)
    tick(clock, Journal(marks=marks, watch=lambda *given: seen.append(given)))
    # One call for two marks within a step; none after the last step, whose result is the run's.
    assert [(seconds, step) for seconds, step, _ in seen] == [(1.0, 1), (5.0, 5)]
    assert [float(result.labels[0, 0]) for _, _, result in seen] == [1.0, 5.0]


def test_watching_is_no_work_but_what_its_labels_cost_is_told(clock):
    seen = []

    def watch(seconds, step, result):
        seen.append((seconds, step))
        clock[0] += 50.0

    journal = Journal(marks=(1.0, 3.0), watch=watch)
    made = tick(clock, journal, result_takes=10.0)
    assert seen == [(11.0, 1), (13.0, 3)]
    assert made.provenance["seconds"] == STEPS + 10.0
    assert journal.pauses == [60.0, 60.0]


def test_a_budget_ends_the_steps_and_watching_uses_none_of_it(clock):
    def watch(seconds, step, result):
        clock[0] += 50.0
        # The clock stands still for whoever looks at it meanwhile.
        assert (journal.seconds, journal.pauses) == (1.0, [50.0])

    journal = Journal(budget=2.5, marks=(1.0,), watch=watch)
    made = tick(clock, journal)
    assert made.provenance["status"] == Status.STOPPED_EARLY.name.lower()
    assert float(made.labels[0, 0]) == 3


def test_work_before_the_first_step_counts(clock):
    def slow(stage, done, total):
        clock[0] += 1.0

    data = make_images()
    pool = {"extractors": "convnet:width=2", "pool": 1}
    made = distill(choose_base(data, 3), data, method="exact", progress=slow, **pool)
    assert made.provenance["seconds"] > 1.0
    journal = Journal(budget=2.5)
    journal.start()
    clock[0] += 1.0
    assert journal.open("a run") is None
    assert journal.seconds == 1.0
    # The next run with this journal starts anew.
    journal.close()
    assert journal.open("another run") is None
    assert journal.seconds == 0.0


def test_a_resumed_run_goes_on_with_the_clock_and_the_marks(clock, tmp_path):
    seen = []

    class Interrupted(BaseException):
        pass

    def watch(seconds, step, result):
        seen.append((seconds, step))

    def stop(stage, done, total):
        if done == 5:
            raise Interrupted

    path, marks = tmp_path / "checkpoint", (2.0, 7.0)
    with pytest.raises(Interrupted):
        tick(clock, Journal(path, every=0.0, marks=marks, watch=watch), progress=stop)
    clock[0] += 500.0
    made = tick(clock, Journal(path, resume=True, marks=marks, watch=watch))
    assert float(made.labels[0, 0]) == STEPS
    # The first mark was passed before the checkpoint, and does not come again.
    assert seen == [(2.0, 2), (7.0, 7)]
    assert made.provenance["seconds"] == STEPS


def test_the_end_of_a_run_is_kept_until_its_journal_is_closed(clock, tmp_path):
    """Whoever saves the artefact closes: an interruption before that loses no step."""
    journal = Journal(tmp_path / "checkpoint", every=1e9)
    made = tick(clock, journal)
    assert journal.path.exists()
    before = clock[0]
    again = tick(clock, Journal(journal.path, resume=True))
    assert torch.equal(again.labels, made.labels)
    assert clock[0] == before  # no step was taken again
    journal.close()
    assert not journal.path.exists()
