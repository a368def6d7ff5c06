"""`partial_fit`: the moments of all that came, and base rows from a bounded part of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.errors import InputError
from cvxdistill.sklearn import LabelDistiller, LabelDistillerRegressor
from cvxdistill.sklearn.samples import Candidates, Samples, even_shares

OPTIONS = {"l2": 2.0, "l2_scale": "absolute", "random_state": 0}


@pytest.fixture(scope="module")
def samples():
    draw = np.random.default_rng(0)
    y = draw.choice(3, 300, p=[0.6, 0.3, 0.1])
    return draw.normal(size=(300, 5)) + 2 * np.eye(3, 5)[y] + 10, y


def stream(model, X, y, cuts, **chunked):
    for part in np.split(np.arange(len(X)), cuts):
        first = {} if hasattr(model, "n_samples_seen_") else chunked.get("first", {})
        model.partial_fit(X[part], y[part], **first)
    return model


@pytest.mark.parametrize("how", ["balanced", "random", "kmeans"])
def test_chunks_are_one_fit_while_all_candidates_are_kept(samples, how):
    X, y = samples
    one = LabelDistiller(4, choose=how, **OPTIONS).fit(X, y)
    first = {"classes": [0, 1, 2]}
    many = stream(LabelDistiller(4, choose=how, **OPTIONS), X, y, [1, 40, 200], first=first)
    np.testing.assert_array_equal(many.base_indices_, one.base_indices_)
    np.testing.assert_allclose(many.labels_, one.labels_, atol=1e-10)
    np.testing.assert_allclose(many.coef_, one.coef_, atol=1e-10)
    assert many.n_samples_seen_ == one.n_samples_seen_ == 300
    for name in ("feature_mean", "feature_scatter", "cross_scatter", "label_scatter"):
        theirs = getattr(one.statistics_, name).numpy()
        np.testing.assert_allclose(getattr(many.statistics_, name).numpy(), theirs, atol=1e-10)


def test_past_the_bound_moments_are_still_exact(samples):
    X, y = samples
    first = {"classes": [0, 1, 2]}
    bounded = LabelDistiller(6, n_candidates=30, **OPTIONS)
    stream(bounded, X, y, [50, 100, 250], first=first)
    full = LabelDistiller(6, **OPTIONS).fit(X, y)
    # Six rows of five features and an intercept are lossless, whichever they are.
    np.testing.assert_allclose(bounded.coef_, full.coef_, atol=1e-8)
    np.testing.assert_array_equal(X[bounded.base_indices_], bounded.base_features_)
    assert len(bounded._stream.positions) == 30
    assert np.bincount(y[bounded._stream.positions]).tolist() == [10, 10, 10]
    other = stream(LabelDistiller(6, n_candidates=30, **OPTIONS), X, y, [7], first=first)
    np.testing.assert_array_equal(other._stream.positions, bounded._stream.positions)


def test_a_regression_in_chunks(samples):
    X, y = samples
    values = np.stack([X @ np.arange(5.0), y], axis=1)
    one = LabelDistillerRegressor(4, **OPTIONS).fit(X, values)
    many = stream(LabelDistillerRegressor(4, **OPTIONS), X, values, [10, 20])
    np.testing.assert_allclose(many.coef_, one.coef_, atol=1e-9)
    with pytest.raises(InputError, match="3"):
        many.partial_fit(X, np.zeros((len(X), 3)))


def test_after_fit_later_data_is_added(samples):
    X, y = samples
    model = LabelDistiller(6, **OPTIONS).fit(X[:200], y[:200]).partial_fit(X[200:], y[200:])
    np.testing.assert_allclose(model.coef_, LabelDistiller(6, **OPTIONS).fit(X, y).coef_, atol=1e-8)
    np.testing.assert_array_equal(X[model.base_indices_], model.base_features_)
    assert model.n_samples_seen_ == 300
    # And `fit` forgets.
    again = model.fit(X[:200], y[:200])
    assert again.n_samples_seen_ == again.statistics_.count == 200
    assert not hasattr(again, "_stream")


def test_several_labels_in_chunks(samples):
    X, y = samples
    Y = np.stack([y > 0, y > 1], axis=1).astype(int)
    one = LabelDistiller(4, **OPTIONS).fit(X, Y)
    many = stream(LabelDistiller(4, **OPTIONS), X, Y, [100])
    np.testing.assert_allclose(many.coef_, one.coef_, atol=1e-9)
    with pytest.raises(InputError, match="2 columns of indicators; got 3"):
        many.partial_fit(X, np.tile(Y[:, :1], 3))
    with pytest.raises(InputError, match="classes throughout, or indicators"):
        many.partial_fit(X, y)


def test_weights_in_chunks(samples):
    X, y = samples
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    one = LabelDistiller(6, **OPTIONS).fit(X, y, sample_weight=weights)
    many = LabelDistiller(6, **OPTIONS)
    many.partial_fit(X[:90], y[:90], [0, 1, 2], sample_weight=weights[:90])
    many.partial_fit(X[90:], y[90:], sample_weight=weights[90:])
    np.testing.assert_array_equal(many.base_indices_, one.base_indices_)
    np.testing.assert_allclose(many.coef_, one.coef_, atol=1e-10)


def test_classes_must_be_told_and_kept(samples):
    X, y = samples
    model = LabelDistiller(4, **OPTIONS)
    with pytest.raises(InputError, match="first `partial_fit` needs `classes`"):
        model.partial_fit(X, y)
    model.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert model.labels_.shape == (4, 3)
    with pytest.raises(InputError, match="`classes` must be those of the first call"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(InputError, match=r"among the classes .* got .*7"):
        model.partial_fit(X, np.full(len(X), 7))
    with pytest.raises(InputError, match="`n_candidates` must be at least the 4"):
        LabelDistiller(4, n_candidates=3).partial_fit(X, y, classes=[0, 1, 2])


def test_a_chunk_that_cannot_be_solved_for_is_not_taken_in(samples, monkeypatch):
    import cvxdistill.sklearn.base as base

    X, y = samples
    options = {"n_candidates": 20, **OPTIONS}
    model = LabelDistiller(4, **options).partial_fit(X[:100], y[:100], classes=[0, 1, 2])

    def fails(*args, **kwargs):
        raise InputError("no")

    with monkeypatch.context() as patch:
        patch.setattr(base, "solve_labels", fails)
        with pytest.raises(InputError, match="no"):
            model.partial_fit(X[100:], y[100:])
    assert model.n_samples_seen_ == model.statistics_.count == 100
    model.partial_fit(X[100:], y[100:])
    other = stream(LabelDistiller(4, **options), X, y, [100], first={"classes": [0, 1, 2]})
    np.testing.assert_array_equal(model._stream.positions, other._stream.positions)
    np.testing.assert_array_equal(model.coef_, other.coef_)


@given(
    strata=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    capacity=st.integers(1, 12),
    cuts=st.lists(st.integers(0, 40), max_size=3),
)
def test_candidates_do_not_depend_on_the_chunks(strata, capacity, cuts):
    features = np.arange(len(strata), dtype=float)[:, None]
    codes = np.array(strata)

    def kept(edges):
        whole = Samples(features, codes, 4)
        found = Candidates.empty(whole, seed=3)
        for part in np.split(np.arange(len(codes)), sorted(min(c, len(codes)) for c in edges)):
            found = found.joined(whole.take(part), codes[part], capacity=capacity)
        return found

    one, many = kept([]), kept(cuts)
    np.testing.assert_array_equal(many.positions, one.positions)
    np.testing.assert_array_equal(many.samples.features[:, 0], many.positions)
    np.testing.assert_array_equal(many.samples.targets, codes[many.positions])
    counts, shares = np.bincount(codes, minlength=4), np.bincount(codes[one.positions], minlength=4)
    assert shares.sum() == min(capacity, len(codes))
    # No class has more than one above another that had more to give.
    short = counts > shares
    assert not short.any() or shares.max() <= shares[short].min() + 1


def test_candidates_are_a_uniform_draw():
    """Each of 20 samples is kept about equally often, early or late."""
    codes = np.zeros(20, dtype=np.int64)
    whole = Samples(np.zeros((20, 1)), codes, 1)
    hits = np.zeros(20)
    for seed in range(200):
        found = Candidates.empty(whole, seed=seed)
        for part in (slice(0, 11), slice(11, 20)):
            found = found.joined(whole.take(part), codes[part], capacity=5)
        hits[found.positions] += 1
    # 50 expected, standard deviation 6.
    assert hits.sum() == 1000
    assert abs(hits - 50).max() < 25


def test_shares_are_as_even_as_counts_allow():
    assert even_shares(np.array([9, 2, 9]), 9).tolist() == [4, 2, 3]
    assert even_shares(np.array([1, 0, 2]), 9).tolist() == [1, 0, 2]
    assert even_shares(np.array([5, 5, 5]), 2).tolist() == [1, 1, 0]
