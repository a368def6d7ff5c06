"""Ridge: truth by construction, scikit-learn, invariances, and the penalty's two scales."""

import numpy as np
import pytest
import torch
from cases import (
    CLOSED_FORM,
    INTERCEPTS,
    OPTIMAL_VALUE,
    SHAPES,
    draw,
    draw_target,
    moments,
)
from sklearn.linear_model import Ridge
from truths import (
    absolute_l2,
    augmented_ridge,
    design,
    penalty_rows,
    relative_error,
    ridge_from_svd,
)

from cvxdistill.errors import InputError, SolveError
from cvxdistill.heads import LinearFit, RidgeHead, stack

CLASSES = 3
MANY = {name: shape for name, shape in SHAPES.items() if name != "one-example"}

every_shape = pytest.mark.parametrize(("m", "d"), SHAPES.values(), ids=list(SHAPES))
many_examples = pytest.mark.parametrize(("m", "d"), MANY.values(), ids=list(MANY))
every_intercept = pytest.mark.parametrize("intercept", INTERCEPTS)
every_scale = pytest.mark.parametrize("scale", ["absolute", "trace"])


def absolute(l2=0.7, intercept="free") -> RidgeHead:
    return RidgeHead(l2=l2, l2_scale="absolute", intercept=intercept)


def data(m, d, *, offset=0.4):
    return draw(m, d) + offset, draw(m, CLASSES, seed=2)


def assert_same_fit(fit: LinearFit, expected: LinearFit, tolerance=CLOSED_FORM):
    assert relative_error(stack(fit), stack(expected)) < tolerance


# Other routes to the same fit. ------------------------------------------------------------------


@many_examples
def test_truth_by_construction(m, d):
    truth = ridge_from_svd(m, d, CLASSES, lam=0.7)
    fit = absolute(0.7).fit(truth.features, truth.labels)
    assert_same_fit(fit, LinearFit(truth.weights, truth.intercept))


@every_shape
@pytest.mark.parametrize("intercept", ["free", "none"])
def test_agrees_with_scikit_learn(m, d, intercept):
    features, labels = data(m, d)
    other = Ridge(alpha=0.7, fit_intercept=intercept == "free", solver="svd")
    other.fit(features.numpy(), labels.numpy())
    fit = absolute(0.7, intercept).fit(features, labels)
    assert relative_error(fit.weights, torch.from_numpy(other.coef_.T)) < CLOSED_FORM
    offset = torch.as_tensor(np.broadcast_to(other.intercept_, CLASSES).copy())
    assert relative_error(fit.intercept, offset) < CLOSED_FORM


@every_shape
@every_intercept
@every_scale
def test_agrees_with_least_squares_on_penalty_rows(m, d, intercept, scale):
    features, labels = data(m, d)
    fit = RidgeHead(l2=0.2, l2_scale=scale, intercept=intercept).fit(features, labels)
    # One centred example has no trace; any penalty then gives the same head.
    lam = absolute_l2(features.numpy(), 0.2, scale, intercept) or 1.0
    expected = torch.from_numpy(augmented_ridge(features.numpy(), labels.numpy(), lam, intercept))
    assert relative_error(stack(fit), expected) < CLOSED_FORM


@many_examples
@every_intercept
def test_trace_scale_is_the_absolute_scale_times_the_mean_squared_norm(m, d, intercept):
    features, labels = data(m, d)
    lam = absolute_l2(features.numpy(), 0.2, "trace", intercept)
    relative = RidgeHead(l2=0.2, l2_scale="trace", intercept=intercept).fit(features, labels)
    assert_same_fit(relative, absolute(lam, intercept).fit(features, labels))


@every_scale
@pytest.mark.parametrize("m", [2, 3, 7, 50])
def test_features_that_do_not_vary_give_the_mean_label(m, scale):
    # The mean of equal numbers is rounded, and rounding must not pass for variation.
    features, labels = draw(1, 4).expand(m, -1), draw(m, CLASSES)
    fit = RidgeHead(l2=1e-3, l2_scale=scale).fit(features, labels)
    assert relative_error(fit(draw(5, 4, seed=1)), labels.mean(0).expand(5, -1)) < CLOSED_FORM


@pytest.mark.parametrize("variation", [1e-3, 1e-6, 1e-9])
def test_features_that_vary_little_around_a_mean_are_not_taken_for_constant(variation):
    features, labels = data(14, 5, offset=0.0)
    queries = draw(6, 5, seed=4)
    moved = RidgeHead(l2=0.2).fit(1 + variation * features, labels)(1 + variation * queries)
    expected = RidgeHead(l2=0.2).fit(features, labels)(queries)
    # Adding the mean rounds the variation to eps / variation of its size.
    assert relative_error(moved, expected) < 1e-14 / variation


@every_scale
def test_one_example_gives_its_own_label(scale):
    features, labels = data(1, 4)
    fit = RidgeHead(l2=1e-3, l2_scale=scale).fit(features, labels)
    assert float(fit.weights.norm()) == 0
    assert relative_error(fit(draw(5, 4)), labels.expand(5, -1)) < CLOSED_FORM


# Invariances. -----------------------------------------------------------------------------------


@many_examples
@every_intercept
@every_scale
def test_every_example_twice_and_twice_the_penalty_change_nothing(m, d, intercept, scale):
    features, labels = data(m, d)
    # Both trace and count double, so that the relative penalty has to double as well.
    once, twice = (RidgeHead(l2=l2, l2_scale=scale, intercept=intercept) for l2 in (0.2, 0.4))
    doubled = twice.fit(features.repeat(2, 1), labels.repeat(2, 1))
    assert_same_fit(doubled, once.fit(features, labels))


@many_examples
@pytest.mark.parametrize("intercept", ["free", "none"])
@every_scale
def test_every_feature_twice_at_half_its_power_changes_no_prediction(m, d, intercept, scale):
    features, labels = data(m, d)
    queries = draw(6, d, seed=4)
    head = RidgeHead(l2=0.2, l2_scale=scale, intercept=intercept)
    split = [torch.cat([part, part], dim=1) / 2**0.5 for part in (features, queries)]
    doubled = head.fit(split[0], labels)(split[1])
    assert relative_error(doubled, head.fit(features, labels)(queries)) < CLOSED_FORM


@many_examples
@pytest.mark.parametrize("scale", ["trace"])
def test_relative_penalty_ignores_the_unit_of_the_features(m, d, scale):
    features, labels = data(m, d)
    queries = draw(6, d, seed=4)
    head = RidgeHead(l2=0.2, l2_scale=scale)
    scaled = head.fit(1e3 * features, labels)(1e3 * queries)
    assert relative_error(scaled, head.fit(features, labels)(queries)) < CLOSED_FORM


@many_examples
def test_free_intercept_ignores_a_shift_of_the_features_and_follows_one_of_the_labels(m, d):
    features, labels = data(m, d)
    queries = draw(6, d, seed=4)
    shifted = absolute().fit(features + 7, labels + 5)(queries + 7)
    assert relative_error(shifted, absolute().fit(features, labels)(queries) + 5) < CLOSED_FORM


@every_shape
def test_an_endless_penalty_leaves_the_mean_label(m, d):
    features, labels = data(m, d)
    queries = draw(6, d, seed=4)
    fit = absolute(1e14).fit(features, labels)
    assert relative_error(fit(queries), labels.mean(0).expand(6, -1)) < CLOSED_FORM
    for intercept in ("none", "penalised"):
        assert float(absolute(1e14, intercept).fit(features, labels)(queries).norm()) < 1e-10


@every_intercept
@pytest.mark.parametrize("m", [7, 8, 9, 10])
def test_primal_equals_dual_around_the_switch(m, intercept):
    # Columns of zeros carry no weight, but turn a primal problem into a dual one.
    features, labels = data(m, 8)
    padded = torch.nn.functional.pad(features, (0, 4))
    narrow, wide = (absolute(0.3, intercept).fit(part, labels) for part in (features, padded))
    assert relative_error(wide.weights[:8], narrow.weights) < CLOSED_FORM
    assert relative_error(wide.intercept, narrow.intercept) < CLOSED_FORM
    assert float(wide.weights[8:].abs().max()) < 1e-14


# Numbers. ---------------------------------------------------------------------------------------


@every_intercept
def test_float32_features_with_a_large_mean_are_worked_on_in_float64(intercept):
    # In float32 the Gram matrix of such features has no correct digit of the variation left.
    features, labels = (part.float() for part in data(14, 5, offset=3e3))
    head = RidgeHead(l2=1e-3, intercept=intercept)
    narrow, wide = head.fit(features, labels), head.fit(features.double(), labels.double())
    assert narrow.weights.dtype == narrow.intercept.dtype == torch.float32
    assert relative_error(narrow.weights, wide.weights) < 1e-6


def test_factor_is_float64_whatever_comes():
    mapped = RidgeHead().factor(draw(4, 3).float())
    assert mapped.weights.dtype == mapped.intercept.dtype == torch.float64


@pytest.mark.parametrize(("m", "d"), [(5, 3), (3, 5)], ids=["long", "wide"])
@every_intercept
@every_scale
def test_penalty_gradients_agree_with_finite_differences(m, d, intercept, scale):
    features, labels = data(m, d)

    def logits(l2):
        return RidgeHead(l2=l2, l2_scale=scale, intercept=intercept).fit(features, labels)(features)

    l2 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(logits, (l2,))
    assert torch.autograd.gradgradcheck(logits, (l2,))


def test_gradients_reach_features_labels_and_penalty_together():
    l2 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    features, labels = (part.requires_grad_() for part in data(4, 3))

    def loss(features, labels, l2):
        return RidgeHead(l2=l2).fit(features, labels)(features).square().sum()

    assert torch.autograd.gradcheck(loss, (features, labels, l2))


# Refusals. --------------------------------------------------------------------------------------


@every_scale
@pytest.mark.parametrize("intercept", ["free", "none"])
@pytest.mark.parametrize(("m", "d"), [(6, 3), (3, 6)], ids=["long", "wide"])
def test_no_features_and_no_penalty_are_refused(m, d, intercept, scale):
    head = RidgeHead(l2=0.0, l2_scale=scale, intercept=intercept)
    features = torch.zeros(m, d, dtype=torch.float64)
    with pytest.raises(SolveError, match=r"singular.*Raise `l2`"):
        head.fit(features, draw(m, CLASSES))
    with pytest.raises(SolveError, match=r"singular.*Raise `l2`"):
        head.factor(features)


@every_intercept
@every_scale
@pytest.mark.parametrize(("m", "d"), [(6, 3), (3, 6)], ids=["long", "wide"])
def test_a_singular_problem_without_penalty_is_never_silent(m, d, intercept, scale, caplog):
    head = RidgeHead(l2=0.0, l2_scale=scale, intercept=intercept)
    # Refused, or solved with jitter that is told. Rounding can leave a factorisation of a singular
    # matrix: many draws, not one.
    collinear = [draw(m, 1, seed=seed) @ draw(1, d, seed=seed + 50) for seed in range(50)]
    for features in collinear:
        labels = draw(m, CLASSES)
        caplog.clear()
        try:
            fit, mapped = head.fit(features, labels), head.factor(features)
        except SolveError:
            continue
        assert 0 < fit.jitter <= 1e-10
        assert 0 < mapped.jitter <= 1e-10
        assert "numerically singular" in caplog.text
        # Predictions are those of least squares, to what jitter and rounding leave.
        rows = design(features.numpy(), intercept)
        expected = rows @ np.linalg.lstsq(rows, labels.numpy(), rcond=1e-9)[0]
        assert relative_error(fit(features), torch.from_numpy(expected)) < 0.05


def test_no_jitter_where_none_is_needed():
    for m, d in SHAPES.values():
        features, labels = data(m, d)
        assert RidgeHead().fit(features, labels).jitter == 0
        assert RidgeHead(l2=1e-12).factor(features).jitter == 0


@every_intercept
def test_features_of_zeros_with_a_penalty_have_no_weights(intercept):
    fit = RidgeHead(l2=0.1, intercept=intercept).fit(torch.zeros(6, 3).double(), draw(6, CLASSES))
    assert float(fit.weights.norm()) == 0


def test_no_penalty_is_least_squares_where_that_is_unique():
    features, labels = data(14, 5)
    expected = np.linalg.lstsq(design(features.numpy(), "free"), labels.numpy(), rcond=None)[0]
    fit = absolute(0.0).fit(features, labels)
    assert relative_error(stack(fit), torch.from_numpy(expected)) < CLOSED_FORM


def test_features_of_very_different_units_are_not_taken_for_singular():
    features, labels = data(14, 5)
    units = torch.logspace(-3, 3, 5, dtype=torch.float64)
    scaled = absolute(0.0).fit(features * units, labels)(features * units)
    assert relative_error(scaled, absolute(0.0).fit(features, labels)(features)) < CLOSED_FORM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": -1.0}, "`l2` must be finite and zero or more; got -1"),
        ({"l2": float("nan")}, "`l2` must be finite"),
        ({"l2": float("inf")}, "`l2` must be finite"),
        ({"l2_scale": "trase"}, "`l2_scale` must be one of .*Did you mean `trace`"),
        ({"intercept": "fre"}, "`intercept` must be one of .*Did you mean `free`"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        RidgeHead(**options)


def test_a_bad_entry_in_a_batch_is_named_by_episode_and_row():
    features = draw(2, 4, 3)
    features[1, 2, 0] = torch.inf
    with pytest.raises(InputError, match=r"row \(1, 2\)"):
        RidgeHead().fit(features, draw(2, 4, CLASSES))


def test_features_that_are_no_matrix_are_refused():
    with pytest.raises(InputError, match="`features` must be a floating-point matrix"):
        RidgeHead().fit(draw(4), draw(4, CLASSES))
    with pytest.raises(InputError, match="`features` must be a floating-point matrix"):
        RidgeHead().fit(torch.ones(4, 2, dtype=torch.int64), draw(4, CLASSES))
    with pytest.raises(InputError, match=r"`features` must be a torch.Tensor"):
        RidgeHead().fit(draw(4, 2).numpy(), draw(4, CLASSES))


# The head's own error on the whole target. ------------------------------------------------------


@every_intercept
@every_scale
@pytest.mark.parametrize("source", ["features", "moments"])
@pytest.mark.parametrize("target_l2", [None, 0.0, 0.05])
def test_target_root_is_the_penalised_error_and_its_minimiser(intercept, scale, source, target_l2):
    features, classes = draw_target(40, 5, CLASSES)
    coded = torch.nn.functional.one_hot(classes, CLASSES).double()
    target = (features, coded) if source == "features" else moments(features, classes, CLASSES)
    head = RidgeHead(l2=0.2, l2_scale=scale, intercept=intercept)
    root = head.target_root(target, target_l2=target_l2)
    l2 = 0.2 if target_l2 is None else target_l2
    lam = absolute_l2(features.numpy(), l2, scale, intercept)

    def value(stacked):
        errors = design(features.numpy(), intercept) @ stacked - coded.numpy()
        penalty = penalty_rows(5, lam, intercept) @ stacked
        return float((errors**2).sum() + (penalty**2).sum())

    full = augmented_ridge(features.numpy(), coded.numpy(), lam, intercept)
    assert relative_error(stack(root.full), torch.from_numpy(full)) < CLOSED_FORM
    assert root.count == 40
    anywhere = draw(6, CLASSES, seed=7)
    if intercept == "none":
        anywhere[-1] = 0
    for stacked in (anywhere, torch.from_numpy(full)):
        assert root.root.value(stacked) == pytest.approx(value(stacked.numpy()), rel=OPTIMAL_VALUE)
    fit = LinearFit(anywhere[:-1], anywhere[-1])
    expected = value(anywhere.numpy()) - value(full)
    assert root.gap(fit) == pytest.approx(expected, rel=OPTIMAL_VALUE)
    assert root.gap(root.full) == 0


def test_baseline_gap_is_what_the_full_head_explains_over_a_constant():
    features, classes = draw_target(40, 5, CLASSES)
    coded = torch.nn.functional.one_hot(classes, CLASSES).double()
    root = absolute(0.2).target_root((features, coded))
    constant = LinearFit(torch.zeros(5, CLASSES).double(), coded.mean(0))
    assert root.baseline_gap() == pytest.approx(root.gap(constant), rel=OPTIMAL_VALUE)


def test_target_roots_cross_the_block_boundary(monkeypatch):
    features, classes = draw_target(40, 5, CLASSES)
    coded = torch.nn.functional.one_hot(classes, CLASSES).double()
    whole = absolute(0.2).target_root((features, coded))
    monkeypatch.setattr("cvxdistill.heads.target.BLOCK_ROWS", 7)
    blocks = absolute(0.2).target_root((features, coded))
    assert_same_fit(blocks.full, whole.full)
    assert blocks.root.residual == pytest.approx(whole.root.residual, rel=OPTIMAL_VALUE)


def test_empty_moments_are_refused():
    with pytest.raises(InputError, match="moments of none"):
        RidgeHead().target_root(moments(draw(2, 3), torch.tensor([0, 1]), 2).__class__(3, 2))
