"""Every method that takes steps: interrupted after some of them and resumed, it ends alike."""

import dataclasses

import pytest
import torch
from artifact.makers import make_images
from methods.test_methods_contract import SPECS, task_on

from cvxdistill.errors import InputError
from cvxdistill.methods import METHODS, IterativeMethod, Journal, parse_method, qin2024_teacher
from cvxdistill.problem import Status

ITERATIVE = [
    spec for name, kind in METHODS.items() if issubclass(kind, IterativeMethod)
    for spec in SPECS[name]
]  # fmt: skip


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Teachers train in blocks; single batches, so that few of them are several steps."""
    monkeypatch.setattr(qin2024_teacher, "BLOCK", 1)


class Interrupted(BaseException):
    """As from the keyboard."""


def run(spec, *, after=None, **journal):
    """Run a method on a small task, interrupted when this many steps are done."""

    def progress(stage, done, total):
        if stage == method.name and done == after:
            raise Interrupted

    method = parse_method(spec)
    return method.run(task_on(make_images(), progress=progress, journal=Journal(**journal)))


def assert_same(one, other):
    assert torch.equal(one.labels, other.labels)
    assert (one.examples is None) == (other.examples is None)
    assert one.examples is None or torch.equal(one.examples, other.examples)
    for field in ("label_kind", "recipe", "status", "target_passes", "certificate"):
        assert getattr(one, field) == getattr(other, field)


@pytest.mark.parametrize("spec", ITERATIVE)
def test_resumed_early_late_or_between_it_ends_with_the_same_bits(spec, tmp_path):
    path = tmp_path / "checkpoint"
    expected = run(spec)
    total = parse_method(spec).learner(task_on(make_images())).total
    for after in sorted({2, total // 2 + 1, total}):
        with pytest.raises(Interrupted):
            run(spec, after=after, path=path, every=0.0)
        assert path.exists()
        assert_same(run(spec, path=path, every=1e9, resume=True), expected)
        # The end of the run lies there until whoever gave the journal closes it.
        path.unlink()
    assert total >= 2, "a method that takes one step has nothing to resume: give it more in SPECS"


@pytest.mark.parametrize("spec", ITERATIVE)
def test_a_spent_budget_leaves_labels_that_can_be_used(spec):
    result = run(spec, budget=1e-9)
    assert result.status is Status.STOPPED_EARLY
    assert result.labels.shape == (6, 3)
    assert bool(result.labels.isfinite().all())


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path):
    path, spec = tmp_path / "checkpoint", ITERATIVE[0]
    with pytest.raises(Interrupted):
        run(spec, after=3, path=path, every=0.0)
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"checkpoint of an interrupted run. Go on .*`--resume`"):
        run(spec, path=path)
    with pytest.raises(InputError, match="checkpoint of another run: method, options, data"):
        run(ITERATIVE[-1], path=path, resume=True)
    method, task = parse_method(spec), task_on(make_images())
    for change in ({"seed": 1}, {"target_l2": 0.5}, {"validation": None}):
        other = dataclasses.replace(task, **change, journal=Journal(path, resume=True))
        with pytest.raises(InputError, match="checkpoint of another run"):
            method.run(other)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(kept, tmp_path):
    path, spec = tmp_path / "checkpoint", ITERATIVE[0]
    with pytest.raises(Interrupted):
        run(spec, after=3, path=path, every=0.0)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"is not a readable checkpoint: .* Delete it"):
        run(spec, path=path, resume=True)


def test_resuming_where_nothing_was_interrupted_is_a_run(tmp_path):
    path = tmp_path / "checkpoint"
    assert_same(run(ITERATIVE[0], path=path, resume=True), run(ITERATIVE[0]))


def test_checkpoints_come_as_often_as_was_asked(tmp_path, monkeypatch):
    saved = []
    kept = Journal.save
    monkeypatch.setattr(
        Journal, "save", lambda self, step, *rest: (saved.append(step), kept(self, step, *rest))
    )
    total = parse_method(ITERATIVE[0]).learner(task_on(make_images())).total
    run(ITERATIVE[0], path=tmp_path / "rarely", every=1e9)
    assert saved == [total]  # the end alone
    saved.clear()
    run(ITERATIVE[0], path=tmp_path / "often", every=0.0)
    assert saved == list(range(1, total + 1))
