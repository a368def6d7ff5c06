"""Labels kept along the way, and when they were good enough."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from artifact.makers import make_distilled
from cases import draw
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.compare import MethodRow, read_trace
from cvxdistill.compare.rows import CurvePoint, eval_row
from cvxdistill.compare.times import choose_reference, time_to_accuracy
from cvxdistill.compare.trace import Trace, marks_until
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow
from cvxdistill.methods import MethodResult
from cvxdistill.students import Recipe


def result(value, **options):
    labels = torch.full((6, 3), float(value), dtype=torch.float64)
    return MethodResult(labels, "scores", **options)


@given(st.floats(1e-3, 1e5))
def test_marks_rise_geometrically_from_a_300th_of_the_budget(budget):
    marks = marks_until(budget)
    assert marks[-1] < budget
    assert budget / 300 <= marks[0] * (1 + 1e-9)
    assert marks[0] < 2.5 * budget / 300 * (1 + 1e-9)
    assert all(2 - 1e-9 <= b / a <= 2.5 + 1e-9 for a, b in pairwise(marks))


def test_marks_are_round_numbers():
    assert marks_until(300.0) == (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
    assert marks_until(None)[:4] == (1.0, 2.0, 5.0, 10.0)


def test_what_was_kept_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "work" / "trace"
    trace = Trace(path, "a run")
    recipe = Recipe(checkpoints=(3, 5), optimiser="sgd", step_sizes=(0.1, 0.2))
    images = draw(6, 1, 8, 8).float()
    trace.keep(0.5, 1, result(1))
    trace.keep(1.5, 4, result(2, recipe=recipe, examples=images))
    first, second = read_trace(path)
    assert (first.seconds, first.step, first.label_kind) == (0.5, 1, "scores")
    assert first.recipe is first.examples is None
    assert torch.equal(first.labels, result(1).labels)
    assert (second.seconds, second.step, second.recipe) == (1.5, 4, recipe)
    assert torch.equal(second.examples, images)
    assert [name.name for name in path.parent.iterdir()] == ["trace"]
    made = make_distilled()
    then = second.applied(made)
    assert torch.equal(then.labels, second.labels)
    assert torch.equal(then.examples, images)
    assert then.recipe == recipe
    assert torch.equal(first.applied(made).examples, made.examples)


def test_a_learner_may_go_on_with_the_same_tensors(tmp_path):
    trace, now = Trace(tmp_path / "trace", "a run"), result(1)
    trace.keep(0.5, 1, now)
    now.labels.fill_(7)
    trace.keep(0.6, 2, now)
    trace.keep(0.7, 3, now)
    assert [float(p.labels[0, 0]) for p in read_trace(tmp_path / "trace")] == [1.0, 7.0, 7.0]


def test_steps_that_come_again_replace_those_of_before(tmp_path):
    path = tmp_path / "trace"
    trace = Trace(path, "a run")
    for step in (1, 4, 8):
        trace.keep(step / 10, step, result(step))
    again = Trace(path, "a run")
    again.keep(0.45, 5, result(50))
    assert [(p.step, float(p.labels[0, 0])) for p in read_trace(path)] == [(1, 1), (4, 4), (5, 50)]
    other = Trace(path, "another run")
    assert read_trace(path) == []
    other.keep(0.1, 9, result(9))
    assert [p.step for p in read_trace(path)] == [9]


def test_a_file_that_is_no_trace_is_named(tmp_path):
    assert read_trace(tmp_path / "nowhere") == []
    (tmp_path / "broken").write_bytes(b"no trace")
    with pytest.raises(InputError, match="broken` is not a readable trace"):
        read_trace(tmp_path / "broken")


# Time to accuracy. ------------------------------------------------------------------------------


def curve(*points, network="lenet"):
    return tuple(
        CurvePoint(seconds, None, (EvalRow("students", network, "distilled", values),))
        for seconds, values in points
    )


def row(method, points=(), **options):
    return MethodRow(method, method, method, "key", "solved", curve=points, **options)


SLOW = row("online-ridge:steps=9", curve((10.0, (0.6,)), (20.0, (0.78, 0.8)), (40.0, (0.8,))))
QUICK = row("exact", curve((2.0, (0.79, 0.81))))
NEVER = row("hard", curve((0.0, (0.5,))))
FAILED = MethodRow("teacher", "teacher", "teacher", "key", reason="a reason")


def test_times_by_hand():
    found = {
        (one.method, one.below): one for one in time_to_accuracy([SLOW, QUICK, NEVER, FAILED],
                                                                 SLOW.method)
    }  # fmt: skip
    assert found["online-ridge:steps=9", 0.05].accuracy == pytest.approx(0.75)
    times = [found["online-ridge:steps=9", below].seconds for below in (0.05, 0.02, 0.01, 0.0)]
    assert times == [20.0, 20.0, 20.0, 40.0]
    assert [found["exact", below].seconds for below in (0.05, 0.0)] == [2.0, 2.0]
    assert [found["exact", below].speedup for below in (0.05, 0.0)] == [10.0, 20.0]
    assert found["online-ridge:steps=9", 0.0].speedup == 1.0
    for method in ("hard", "teacher"):
        assert found[method, 0.05].seconds is found[method, 0.05].speedup is None


def test_levels_are_those_of_each_network():
    both = tuple(
        dataclasses.replace(point, rows=(*point.rows, *other.rows))
        for point, other in zip(SLOW.curve, curve(*[(0.0, (0.2,))] * 3, network="mlp"), strict=True)
    )
    found = time_to_accuracy([dataclasses.replace(SLOW, curve=both)], SLOW.method)
    ends = {one.network: (one.accuracy, one.seconds) for one in found if one.below == 0}
    assert ends == {"lenet": (0.8, 40.0), "mlp": (0.2, 10.0)}


@pytest.mark.parametrize("reference", ["", "teacher", "nobody"])
def test_without_a_curve_to_be_timed_to_there_are_no_times(reference):
    assert time_to_accuracy([SLOW, QUICK, FAILED], reference) == []


def test_the_reference_is_online_ridge_or_the_first_with_a_curve():
    moving = row("images", SLOW.curve)
    assert choose_reference([QUICK, moving, SLOW]) == SLOW.method
    assert choose_reference([QUICK, moving]) == "images"
    assert choose_reference([QUICK, FAILED]) == ""
    failed = dataclasses.replace(FAILED, method="online-ridge")
    assert choose_reference([failed, QUICK, moving]) == "images"


def test_rows_come_back_from_their_records():
    for one in (SLOW, QUICK, FAILED):
        assert MethodRow.from_record(one.record()) == one
    kept = EvalRow("students", "lenet", "distilled", (0.5, 0.7), choices={"steps": 3})
    assert eval_row(kept.record()) == kept
