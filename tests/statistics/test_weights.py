"""Weights of examples and real targets: against repeated rows, numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from cases import MERGE, draw
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from truths import relative_error

import cvxdistill as cvd
from cvxdistill.errors import InputError
from cvxdistill.heads import full_data_path
from cvxdistill.labels import SquaredLoss
from cvxdistill.statistics import TargetStatistics

WIDTH, CLASSES = 4, 3
TENSORS = ("feature_mean", "label_mean", "feature_scatter", "cross_scatter", "label_scatter")


def rows_with_classes(n: int, offset: float = 0.0):
    generator = torch.Generator().manual_seed(n)
    return draw(n, WIDTH) + offset, torch.randint(CLASSES, (n,), generator=generator)


def taken(features, labels, weights=None) -> TargetStatistics:
    return TargetStatistics(features.shape[1], CLASSES).update(features, labels, weights)


def close(one: TargetStatistics, other: TargetStatistics, tolerance: float = MERGE) -> bool:
    return all(
        float((getattr(one, name) - getattr(other, name)).abs().max())
        <= tolerance * (1 + float(getattr(other, name).abs().max()))
        for name in TENSORS
    )


@given(
    times=st.lists(st.integers(0, 4), min_size=1, max_size=12).filter(any),
    offset=st.sampled_from([0.0, 50.0]),
    real=st.booleans(),
)
def test_a_weight_is_the_row_so_many_times(times, offset, real):
    features, labels = rows_with_classes(len(times), offset)
    if real:
        labels = draw(len(times), CLASSES) + offset
    weights = torch.tensor(times)
    repeated = taken(features.repeat_interleave(weights, 0), labels.repeat_interleave(weights, 0))
    weighted = taken(features, labels, weights.double())
    assert weighted.count == len(times)
    assert weighted.weight == repeated.weight == sum(times)
    assert close(weighted, repeated, 10 * MERGE)


@given(st.lists(st.floats(0, 5), min_size=12, max_size=12), st.integers(1, 11))
def test_weighted_shards_equal_the_whole(weights, cut):
    features, labels = rows_with_classes(12, 3.0)
    w = torch.tensor(weights, dtype=torch.float64)
    whole = taken(features, labels, w)
    parts = taken(features[:cut], labels[:cut], w[:cut]) + taken(
        features[cut:], labels[cut:], w[cut:]
    )
    assert parts.count == whole.count
    assert parts.weight == pytest.approx(whole.weight)
    assert whole.weight < 1e-3 or close(parts, whole)


def test_rows_without_weight_are_counted_and_change_nothing():
    features, labels = rows_with_classes(20)
    whole = taken(features, labels)
    before = whole.to("cpu")
    # Far away: taken for the shift, they would cost digits.
    whole.update(features + 1e8, labels, torch.zeros(20))
    assert (whole.count, whole.weight) == (40, 20.0)
    assert all(torch.equal(getattr(whole, name), getattr(before, name)) for name in TENSORS)
    mixed = taken(
        torch.cat([features, features + 1e8]),
        torch.cat([labels, labels]),
        torch.cat([torch.ones(20), torch.zeros(20)]),
    )
    assert close(mixed, before)
    nothing = taken(features, labels, torch.zeros(20))
    with pytest.raises(InputError, match="moments of 20 that weigh nothing"):
        cvd.solve_labels(features[:4], nothing)


@pytest.mark.parametrize("intercept", ["free", "none"])
def test_the_full_data_head_is_that_of_scikit_learn_with_sample_weights(intercept):
    features, labels = rows_with_classes(60, 2.0)
    counts = torch.bincount(labels, minlength=CLASSES)
    weights = len(labels) / (CLASSES * counts[labels].double())
    one_hot = torch.nn.functional.one_hot(labels, CLASSES).double()
    rival = Ridge(alpha=0.7, fit_intercept=intercept == "free")
    rival.fit(features.numpy(), one_hot.numpy(), sample_weight=weights.numpy())
    head = cvd.RidgeHead(l2=0.7, l2_scale="absolute", intercept=intercept)
    full = head.target_root(taken(features, labels, weights)).full
    assert relative_error(full.weights, torch.from_numpy(rival.coef_.T)) < 1e-10
    if intercept == "free":
        assert relative_error(full.intercept, torch.from_numpy(rival.intercept_)) < 1e-10
    path = full_data_path(taken(features, labels, weights), [0.7], head=head)
    assert relative_error(path.weights[0], full.weights) < 1e-10


@pytest.mark.parametrize("intercept", ["free", "penalised", "none"])
@pytest.mark.parametrize("scale", ["trace", "absolute"])
@pytest.mark.parametrize("base", [3, 8])
def test_solved_labels_count_a_weight_as_repetition(intercept, scale, base):
    features, labels = rows_with_classes(40)
    times = torch.arange(40) % 3
    head = cvd.RidgeHead(l2=0.1, l2_scale=scale, intercept=intercept)
    weighted = cvd.solve_labels(features[:base], taken(features, labels, times.double()), head=head)
    repeated = cvd.solve_labels(
        features[:base],
        (features.repeat_interleave(times, 0), labels.repeat_interleave(times)),
        head=head,
    )
    assert relative_error(weighted.labels, repeated.labels) < 1e-8
    one, other = weighted.certificate, repeated.certificate
    assert one.objective == pytest.approx(other.objective, rel=1e-9)
    assert one.full_objective == pytest.approx(other.full_objective, rel=1e-9)
    assert one.relative_gap == pytest.approx(other.relative_gap, rel=1e-6, abs=1e-12)


def test_moments_of_a_regression_follow_numpy():
    features, targets = draw(50, WIDTH).numpy(), 1900.0 + draw(50, CLASSES).numpy()
    weights = np.linspace(0, 2, 50)
    stats = taken(*map(torch.from_numpy, (features, targets, weights)))
    covariance = np.cov(features.T, targets.T, aweights=weights, ddof=0) * weights.sum()
    d = WIDTH
    assert stats.class_counts is None
    assert stats.label_mean.numpy() == pytest.approx(np.average(targets, axis=0, weights=weights))
    assert relative_error(stats.feature_scatter, torch.from_numpy(covariance[:d, :d])) < 1e-11
    assert relative_error(stats.cross_scatter, torch.from_numpy(covariance[:d, d:])) < 1e-11
    assert relative_error(stats.label_scatter, torch.from_numpy(covariance[d:, d:])) < 1e-11


@pytest.mark.parametrize("coding", ["one-hot", "centred"])
def test_labels_are_solved_for_a_regression_from_moments(coding):
    features = draw(50, WIDTH)
    targets = features @ draw(WIDTH, 2) + 7
    stats = TargetStatistics(WIDTH, 2).update(features, targets)
    loss, head = SquaredLoss(coding=coding), cvd.RidgeHead(l2=1e-6)
    solved = cvd.solve_labels(features[: WIDTH + 1], stats, head=head, loss=loss)
    direct = cvd.solve_labels(features[: WIDTH + 1], (features, targets), head=head, loss=loss)
    assert solved.certificate.lossless
    assert relative_error(solved.labels, direct.labels) < 1e-6
    predicted = head.fit(features[: WIDTH + 1], solved.labels)(features)
    assert relative_error(predicted, targets) < 1e-4


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(4), r"one entry a row, 5; got shape \(4,\)"),
        (torch.ones(5, 1), "one entry a row"),
        (torch.tensor([1.0, 1.0, -0.5, 1.0, 1.0]), "zero or more; got -0.5"),
        (torch.tensor([1.0, 1.0, torch.nan, 1.0, 1.0]), "`weights` must be finite"),
    ],
)
def test_bad_weights_are_refused_and_change_nothing(weights, message):
    features, labels = rows_with_classes(5)
    stats = taken(features, labels)
    with pytest.raises(InputError, match=message):
        stats.update(features, labels, weights)
    assert (stats.count, stats.weight) == (5, 5.0)


def test_weights_are_not_changed():
    features, labels = rows_with_classes(5)
    weights, kept = torch.full((5,), 4.0, dtype=torch.float64), features.clone()
    taken(features, labels, weights)
    assert torch.equal(features, kept)
    assert float(weights.max()) == 4.0
