"""The contracts of losses, constraints and initial labels, for every registered entry."""

import pytest
import torch
from cases import CLOSED_FORM, CONSTRAINT_CASES, LOSS_CASES, draw, draw_labels, flat, moments
from truths import relative_error

from cvxdistill.errors import InputError
from cvxdistill.labels import CONSTRAINTS, INITS, LOSSES, one_hot, smoothed, uniform

CLASSES = 4

every_loss = pytest.mark.parametrize("loss", flat(LOSS_CASES), ids=repr)
every_constraint = pytest.mark.parametrize("constraint", flat(CONSTRAINT_CASES), ids=repr)


@pytest.mark.parametrize(
    ("registry", "cases"),
    [(LOSSES, LOSS_CASES), (CONSTRAINTS, CONSTRAINT_CASES)],
    ids=["losses", "constraints"],
)
def test_every_entry_has_a_case_of_its_class_and_name(registry, cases):
    assert set(cases) == set(registry), "give new entries a case in tests/cases.py"
    for name, kind in registry.items():
        assert {type(case) for case in cases[name]} == {kind}
        assert kind.name == name


# Losses. ----------------------------------------------------------------------------------------


@every_loss
def test_classes_are_coded_one_row_each(loss):
    classes = torch.tensor([2, 0, 3, 1, 2])
    coded = loss.code(classes, num_classes=CLASSES)
    assert coded.shape == (5, CLASSES)
    assert coded.dtype == torch.float64
    assert torch.equal(coded.argmax(1), classes)
    assert torch.equal(coded[0], coded[4])


@every_loss
def test_targets_that_are_coded_already_come_back(loss):
    targets = draw_labels(5, CLASSES)
    assert relative_error(loss.code(targets, num_classes=CLASSES), targets) < CLOSED_FORM


@every_loss
def test_classes_out_of_range_are_refused(loss):
    with pytest.raises(InputError, match=r"must lie in 0\.\.3"):
        loss.code(torch.tensor([0, 4]), num_classes=CLASSES)


@every_loss
def test_the_value_is_a_mean_over_examples(loss):
    logits, targets = draw(6, CLASSES), draw_labels(6, CLASSES)
    each = torch.stack([loss.value(logits[i : i + 1], targets[i : i + 1]) for i in range(6)])
    assert relative_error(loss.value(logits, targets), each.mean()) < CLOSED_FORM


@every_loss
def test_the_value_is_convex_in_the_logits(loss):
    targets = draw_labels(6, CLASSES)
    assert loss.convex
    for seed in range(20):
        ends = 3 * draw(6, CLASSES, seed=seed), 3 * draw(6, CLASSES, seed=seed + 100)
        middle = loss.value((ends[0] + ends[1]) / 2, targets)
        assert middle <= (loss.value(ends[0], targets) + loss.value(ends[1], targets)) / 2 + 1e-12


@every_loss
def test_the_value_rewards_the_right_class(loss):
    classes = torch.tensor([2, 0, 3, 1, 2])
    targets = loss.code(classes, num_classes=CLASSES)
    right, wrong = (one_hot(c, CLASSES) for c in (classes, (classes + 1) % CLASSES))
    assert loss.value(right, targets) < loss.value(0 * right, targets) < loss.value(wrong, targets)


@every_loss
def test_gradients_of_the_value_agree_with_finite_differences(loss):
    targets = draw_labels(6, CLASSES)
    logits = draw(6, CLASSES).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss.value(x, targets), (logits,))


@every_loss
def test_coding_moments_is_taking_moments_of_the_coded(loss):
    if not loss.quadratic:
        pytest.skip("moments are not enough for this loss")
    features, classes = draw(20, 3), torch.arange(20) % 3
    coded = loss.code_statistics(moments(features, classes, CLASSES))
    expected = moments(features, loss.code(classes, num_classes=CLASSES), CLASSES)
    for name in ("label_mean", "feature_scatter", "cross_scatter", "label_scatter"):
        assert relative_error(getattr(coded, name), getattr(expected, name)) < CLOSED_FORM


# Constraints. -----------------------------------------------------------------------------------


def anywhere(seed: int):
    """Return labels far from, near to, and on the usual sets."""
    scale = (0.1, 1.0, 10.0)[seed % 3]
    return scale * draw(5, CLASSES, seed=seed) + (seed % 2) / CLASSES


@every_constraint
def test_projection_is_idempotent(constraint):
    for seed in range(12):
        once = constraint.project(anywhere(seed))
        assert float((constraint.project(once) - once).abs().max()) < CLOSED_FORM


def near_and_far(constraint, x):
    """Return allowed labels, some of them close to the projection of `x`."""
    for other in range(12):
        yield constraint.project(anywhere(100 + other))
        yield constraint.project(x + 10.0 ** (-other) * draw(*x.shape, seed=200 + other))


@every_constraint
def test_projection_is_the_nearest_point(constraint):
    if not constraint.exact_projection:
        pytest.skip("this projection is not the Euclidean one, and says so")
    for seed in range(12):
        x = anywhere(seed)
        p = constraint.project(x)
        slack = CLOSED_FORM * (1 + float(x.norm()))
        for z in near_and_far(constraint, x):
            assert float((x - p).norm()) <= float((x - z).norm()) + slack
            if constraint.convex:
                # Not above zero for every allowed `z`: that alone says that `p` is nearest.
                assert float(((x - p) * (z - p)).sum()) <= slack * (1 + float((z - p).norm()))


@every_constraint
def test_a_convex_set_holds_the_middle_of_its_points(constraint):
    gaps = []
    for seed in range(12):
        ends = (constraint.project(anywhere(start + seed)) for start in (0, 100))
        middle = sum(ends) / 2
        gaps.append(float((constraint.project(middle) - middle).abs().max()))
    assert (max(gaps) < CLOSED_FORM) == constraint.convex


@every_constraint
def test_nothing_allowed_is_below_the_lowest_value(constraint):
    for seed in range(12):
        gradient = draw(5, CLASSES, seed=seed)
        lowest = constraint.lowest(gradient)
        for z in near_and_far(constraint, anywhere(seed)):
            assert float((gradient * z).sum()) >= lowest - CLOSED_FORM * (1 + float(z.norm()))
        # Far down the gradient the bound is reached, where it is a number.
        if lowest > -torch.inf and constraint.exact_projection:
            corner = constraint.project(-1e6 * gradient)
            assert float((gradient * corner).sum()) <= lowest + 1e-5
    assert constraint.lowest(torch.zeros(5, CLASSES).double()) == 0


@every_constraint
def test_limits_describe_the_set(constraint):
    limits = constraint.limits
    if limits is None:
        pytest.skip("this set is not given by limits")
    for z in near_and_far(constraint, anywhere(0)):
        assert float(z.min()) >= limits.low - CLOSED_FORM
        assert float(z.max()) <= limits.high + CLOSED_FORM
        if limits.total is not None:
            assert float((z.sum(1) - limits.total).abs().max()) < CLOSED_FORM * (1 + CLASSES)


@every_constraint
def test_projection_keeps_shape_and_dtype_and_its_argument(constraint):
    for dtype in (torch.float32, torch.float64):
        labels = anywhere(1).to(dtype)
        kept = labels.clone()
        projected = constraint.project(labels)
        assert projected.shape == labels.shape
        assert projected.dtype == dtype
        assert torch.equal(labels, kept)


@every_constraint
def test_the_label_kind_tells_the_truth(constraint):
    assert constraint.label_kind in ("scores", "distribution")
    projected = constraint.project(anywhere(2))
    if constraint.label_kind == "distribution":
        assert float(projected.min()) >= 0
        assert float((projected.sum(1) - 1).abs().max()) < CLOSED_FORM


@every_constraint
def test_a_trivial_constraint_allows_everything(constraint):
    moved = [not torch.equal(constraint.project(anywhere(s)), anywhere(s)) for s in range(6)]
    assert any(moved) != constraint.trivial


# Initial labels. --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INITS)
def test_initial_labels_are_distributions(name):
    labels = INITS[name](torch.tensor([2, 0, 3]), CLASSES)
    assert labels.shape == (3, CLASSES)
    assert labels.dtype == torch.float64
    assert float(labels.min()) >= 0
    assert relative_error(labels.sum(1), torch.ones(3)) < CLOSED_FORM


def test_initial_labels_by_hand():
    classes = torch.tensor([1, 0])
    assert one_hot(classes, 2).tolist() == [[0, 1], [1, 0]]
    assert smoothed(classes, 2, smoothing=0.2).tolist() == [[0.1, 0.9], [0.9, 0.1]]
    assert uniform(classes, 4).tolist() == [[0.25] * 4] * 2
    assert torch.equal(smoothed(classes, 2, smoothing=0.0), one_hot(classes, 2))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(InputError, match="`smoothing` must lie in"):
        smoothed(torch.tensor([0]), 2, smoothing=smoothing)


def test_unknown_coding_is_refused():
    with pytest.raises(InputError, match="`coding` must be one of one-hot, centred"):
        LOSSES["squared"](coding="centered")
