"""Choosing a codec: what is measured, what is chosen, and that no test example is needed."""

import dataclasses

import pytest
import torch
from artifact.makers import make_distilled, make_features, make_images
from cases import draw

from cvxdistill.artifact import Distilled
from cvxdistill.codecs import CODECS, parse_codec
from cvxdistill.compress import CodecJudge, candidates, choose_codec, label_metric
from cvxdistill.errors import IncompatibleError, InputError
from cvxdistill.features import embed
from cvxdistill.heads import KernelRidgeHead, LogisticHead, RidgeHead
from cvxdistill.problem import LabelProblem
from cvxdistill.solvers import build_problem

SPECS = ("float16", "int8", "int4", "int2", "topk:k=1,values=int8")


@pytest.fixture(scope="module")
def made() -> Distilled:
    return make_distilled(m=9)


@pytest.fixture(scope="module")
def checked():
    return make_images(60, seed=5, split="validation")


@pytest.fixture(scope="module")
def found(made, checked):
    return choose_codec(made, checked, train=make_images(), codecs=SPECS, budget_bits=400, seeds=2)


# The metric. ------------------------------------------------------------------------------------


def errors_in_objective(problem: LabelProblem, error: torch.Tensor) -> float:
    """Return what an error adds to the objective at its free minimiser."""
    from cvxdistill.solvers import ExactSolver

    best = ExactSolver().solve(problem).labels
    roots = problem.label_roots
    values = [
        sum(one.root.value(labels) / one.count for one in roots) / len(roots)
        for labels in (best, best + error)
    ]
    return values[1] - values[0]


@pytest.mark.parametrize("head", [RidgeHead(), KernelRidgeHead()], ids=repr)
def test_the_metric_is_what_errors_add_to_the_objective(head):
    bases = [draw(5, 4, seed=1), draw(5, 3, seed=2)]
    targets = [(draw(30, d, seed=d), torch.arange(30) % 3) for d in (4, 3)]
    metric = label_metric(bases, targets, head=head, damping=0.0)
    error = 0.1 * draw(5, 3, seed=9)
    expected = errors_in_objective(build_problem(bases, targets, head=head), error)
    assert float((error * (metric @ error)).sum()) == pytest.approx(expected, rel=1e-8)


def test_damping_adds_a_share_of_the_mean_diagonal():
    base, target = draw(5, 4), (draw(30, 4, seed=1), torch.arange(30) % 3)
    plain = label_metric(base, target, damping=0.0)
    damped = label_metric(base, target, damping=0.5)
    assert torch.allclose(damped - plain, 0.5 * plain.diagonal().mean() * torch.eye(5).double())
    with pytest.raises(InputError, match="`damping` must be"):
        label_metric(base, target, damping=-1.0)


def test_a_head_that_is_not_linear_in_the_labels_has_no_metric():
    target = (draw(30, 4, seed=1), torch.arange(30) % 3)
    with pytest.raises(IncompatibleError, match="linear in them, such as RidgeHead; got Logistic"):
        label_metric(draw(5, 4), target, head=LogisticHead())


# What is measured. ------------------------------------------------------------------------------


def test_rows_are_what_a_user_of_the_labels_will_see(made, checked, found):
    for row in found.rows:
        assert set(row.accuracy) == {"same_extractor", "unseen_extractor"}
        assert row.bits == parse_codec(row.codec).bits(9, 3, "scores")
        assert row.bits_per_entry == row.bits / 27
    for row in found.rows[1:]:
        if row.feedback:
            continue
        stored = made.stored_as(row.codec)
        assert row.max_error == float((stored.labels - made.labels).abs().max())
        extractor = made.extractors[0]
        base, query = (
            embed(extractor, images, preprocessing=made.preprocessing).double()
            for images in (made.examples, checked.images)
        )
        guesses = made.head.fit(base, stored.labels)(query).argmax(1)
        right = float((guesses == checked.labels).double().mean())
        assert row.accuracy["same_extractor"] == pytest.approx(right)
        plain = found.rows[0].accuracy
        lost = max(plain[name] - value for name, value in row.accuracy.items())
        assert row.loss == pytest.approx(lost)


def test_the_labels_as_they_were_come_first_and_lose_nothing(found):
    first = found.rows[0]
    assert (first.codec, first.feedback, first.loss, first.agreement) == ("float64", False, 0, 1)
    assert first.max_error == first.relative_error == 0


def test_codecs_that_can_be_steered_are_tried_both_ways(found):
    ways = [(row.codec, row.feedback) for row in found.rows[1:]]
    for spec in SPECS:
        expected = [False, True] if CODECS[spec.split(":")[0]].steers else [False]
        assert [way for name, way in ways if name == spec] == expected


def test_without_training_examples_there_is_no_feedback(made, checked):
    found = choose_codec(made, checked, codecs=["int4"], seeds=1)
    assert [row.feedback for row in found.rows] == [False, False]
    logistic = dataclasses.replace(made, head=LogisticHead())
    found = choose_codec(logistic, checked, train=make_images(), codecs=["int4"], seeds=1)
    assert [row.feedback for row in found.rows] == [False, False]


def test_features_are_measured_without_a_network():
    data = make_features(60)
    found = choose_codec(make_distilled(data, m=9), data, train=data, codecs=["int8"])
    assert set(found.rows[0].accuracy) == {"same_extractor"}
    assert found.chosen.loss <= 0.002


# What is chosen. --------------------------------------------------------------------------------


def test_within_a_budget_the_one_that_loses_least_is_chosen(found):
    assert found.chosen.bits <= 400
    within = [row for row in found.rows[1:] if row.bits <= 400]
    assert len(within) < len(found.rows) - 1
    assert found.chosen.loss == min(row.loss for row in within)


def test_without_a_budget_the_fewest_bits_that_lose_little_are_chosen(made, checked):
    for max_loss in (0.0, 0.1, 1.0):
        found = choose_codec(made, checked, codecs=SPECS, max_loss=max_loss, seeds=2)
        fine = [row.bits for row in found.rows[1:] if row.loss <= max_loss]
        assert found.chosen.bits == min(fine)
    assert found.chosen.bits == min(row.bits for row in found.rows)


def test_what_is_chosen_can_be_saved_and_says_how_it_was_chosen(found, tmp_path):
    found.distilled.save(tmp_path / "run")
    loaded = Distilled.load(tmp_path / "run")
    assert str(loaded.codec) == found.chosen.codec
    assert loaded.bits.labels == found.chosen.bits
    assert loaded.provenance["compression"] == found.chosen.record()
    assert loaded.provenance["certificate"] is None
    assert loaded.provenance["method"]["name"] == "exact"


def test_a_choice_is_repeated_exactly(made, checked, found):
    again = choose_codec(made, checked, train=make_images(), codecs=SPECS, budget_bits=400, seeds=2)
    assert again.rows == found.rows
    assert torch.equal(again.distilled.labels, found.distilled.labels)


def test_candidates_take_fewer_bits_than_float64():
    for kind in ("scores", "distribution"):
        bits = [codec.bits(100, 26, kind) for codec in candidates(100, 26)]
        assert max(bits) < 64 * 2600
        assert min(bits) < 2 * 2600
    assert all("low-rank" not in str(codec) for codec in candidates(100, 4))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"budget_bits": 10},
            r"budget of 10 bits is below .*: the smallest, `int2`",
        ),
        ({"budget_bits": 0}, "`budget_bits` must be"),
        ({"max_loss": -1}, "`max_loss` must be"),
        ({"codecs": []}, "must name a codec"),
        ({"codecs": ["int5"]}, "`label codec` must be one of"),
    ],
)
def test_mistakes_are_named(made, checked, options, match):
    with pytest.raises(InputError, match=match):
        choose_codec(made, checked, **{"codecs": SPECS, **options})


def test_other_data_than_the_labels_are_for_are_refused(made):
    for other in (make_images(shape=(3, 8, 8)), make_images(classes=("x", "y", "z"))):
        with pytest.raises(InputError, match="`validation` must have examples of shape"):
            CodecJudge(made, other)
    bare = dataclasses.replace(made, extractors=())
    with pytest.raises(InputError, match="holds no extractor"):
        CodecJudge(bare, make_images())
    assert CodecJudge(bare, make_images(), unseen="convnet:width=2", seeds=1).seen
