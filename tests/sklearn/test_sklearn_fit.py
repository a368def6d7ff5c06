"""What the estimators promise: the fit of all data at full rank, and the best there is below it."""

import warnings
from functools import partialmethod

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import cvxdistill as cvd
from cvxdistill.choose import CHOOSERS, Balanced
from cvxdistill.labels import CONSTRAINTS
from cvxdistill.sklearn import LabelDistiller, LabelDistillerRegressor
from cvxdistill.solvers import CrossEntropySolver, GradientSolver

ABSOLUTE = {"l2": 2.0, "l2_scale": "absolute", "random_state": 0}
HOW = [name for name in CHOOSERS if name != "indices"]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    # Pixels that hardly any image uses would need the very images that do for full rank.
    X = X[:, (X > 0).mean(0) > 0.1]
    return X[:1000], y[:1000], X[1000:], y[1000:]


@pytest.fixture
def line():
    """A regression of two targets in six features."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(120, 6)) + 3
    return X, X @ draw.normal(size=(6, 2)) + 0.1 * draw.normal(size=(120, 2)) + 5


def small_blobs(classes=3, sizes=(40, 40, 40), features=4):
    draw = np.random.default_rng(1)
    y = np.repeat(np.arange(classes), sizes)
    return draw.normal(size=(len(y), features)) + np.eye(classes, features)[y] * 2, y


def test_the_index_has_the_estimators():
    assert cvd.LabelDistiller is LabelDistiller
    assert cvd.LabelDistillerRegressor is LabelDistillerRegressor
    assert {"LabelDistiller", "LabelDistillerRegressor"} <= set(dir(cvd))
    with pytest.raises(AttributeError, match="no attribute 'LabelDistil'"):
        cvd.LabelDistil  # noqa: B018


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_full_rank_is_the_ridge_classifier_of_all_data(digits, fit_intercept):
    X, y, X_test, _ = digits
    # Without an intercept the code of the targets matters: RidgeClassifier's is -1 and 1.
    model = LabelDistiller(300, intercept="free" if fit_intercept else "none", **ABSOLUTE)
    full = RidgeClassifier(alpha=2.0, fit_intercept=fit_intercept).fit(X, y)
    model.fit(X, y)
    if fit_intercept:
        expected = (full.decision_function(X_test) + 1) / 2
        assert (model.predict(X_test) == full.predict(X_test)).all()
    else:
        one_hot = np.eye(10)[y]
        expected = Ridge(alpha=2.0, fit_intercept=False).fit(X, one_hot).predict(X_test)
    np.testing.assert_allclose(model.decision_function(X_test), expected, rtol=0, atol=1e-8)
    assert model.certificate_.lossless


def test_two_classes_have_the_scores_of_the_ridge_classifier():
    X, y = small_blobs(2, (50, 70))
    names = np.array(["no", "yes"])[y]
    model = LabelDistiller(10, **ABSOLUTE).fit(X, names)
    full = RidgeClassifier(alpha=2.0).fit(X, names)
    np.testing.assert_allclose(model.coef_[0], full.coef_.ravel(), atol=1e-10)
    np.testing.assert_allclose(model.intercept_, full.intercept_, atol=1e-10)
    np.testing.assert_allclose(model.decision_function(X), full.decision_function(X), atol=1e-10)
    assert (model.predict(X) == full.predict(X)).all()
    assert model.labels_.shape == (10, 2)


def test_full_rank_is_the_ridge_regression_of_all_data(line):
    X, y = line
    for target in (y, y[:, 0]):
        model = LabelDistillerRegressor(7, **ABSOLUTE).fit(X, target)
        full = Ridge(alpha=2.0).fit(X, target)
        np.testing.assert_allclose(model.coef_, full.coef_, rtol=1e-8)
        np.testing.assert_allclose(model.intercept_, full.intercept_, rtol=1e-8)
        np.testing.assert_allclose(model.predict(X), full.predict(X), rtol=1e-8)
        assert model.labels_.shape == target[:7].shape
        # The artefact's promise: anybody refits the head from the rows and their labels.
        refit = Ridge(alpha=2.0).fit(model.base_features_, model.labels_)
        np.testing.assert_allclose(refit.coef_, full.coef_, rtol=1e-7)


def test_below_full_rank_no_other_labels_of_the_same_rows_do_better(line):
    X, y = line
    model = LabelDistillerRegressor(4, **ABSOLUTE).fit(X, y)

    def objective(labels):
        fit = Ridge(alpha=2.0).fit(model.base_features_, labels)
        return np.square(fit.predict(X) - y).sum() + 2.0 * np.square(fit.coef_).sum()

    best = objective(model.labels_)
    draw = np.random.default_rng(0)
    for scale in (1e-3, 1e-1, 1.0):
        assert objective(model.labels_ + scale * draw.normal(size=model.labels_.shape)) > best
    assert best < objective(y[model.base_indices_])
    assert 0 < model.certificate_.relative_gap < 1


def test_several_labels_are_those_of_the_ridge_classifier():
    X, Y = make_multilabel_classification(200, 6, n_classes=4, random_state=0)
    model = LabelDistiller(20, **ABSOLUTE).fit(X, Y)
    full = RidgeClassifier(alpha=2.0).fit(X, Y)
    np.testing.assert_allclose(2 * model.decision_function(X), full.decision_function(X), atol=1e-8)
    assert (model.predict(X) == full.predict(X)).all()
    for options in ({"loss": "cross_entropy"}, {"constraint": "simplex"}):
        with pytest.raises(ValueError, match="several labels a sample need loss `squared`"):
            LabelDistiller(20, **options).fit(X, Y)


def test_cross_entropy_at_full_rank_is_penalised_logistic_regression():
    """An oracle by another route: its optimum over all weights, with the same penalty."""
    X, y = small_blobs()
    model = LabelDistiller(None, loss="cross_entropy", **ABSOLUTE).fit(X, y)
    # |W|^2 counts twice what scikit-learn's 1/2 |W|^2 does.
    full = LogisticRegression(C=1 / (2 * 2.0), tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), full.predict_proba(X), atol=2e-3)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1, atol=1e-12)
    squared = LabelDistiller(20, random_state=0)
    assert not hasattr(squared, "predict_proba")
    assert not hasattr(model, "partial_fit")
    assert not hasattr(LabelDistiller(loss="nonsense"), "predict_proba")


def test_search_over_a_pipeline_beats_true_labels_on_the_same_rows(digits):
    X, y, X_test, y_test = digits
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LabelDistiller(random_state=0)),
        {"labeldistiller__n_examples": [10, 20], "labeldistiller__l2": [1e-3, 1e-1]},
        cv=3,
    ).fit(X, y)
    assert search.best_params_["labeldistiller__n_examples"] == 20
    best = search.best_estimator_[-1]
    scaled, scaled_test = (search.best_estimator_[0].transform(part) for part in (X, X_test))
    rows = best.base_indices_
    rival = RidgeClassifier(
        alpha=best.l2 * np.square(scaled[rows] - scaled[rows].mean(0)).sum() / 20
    )
    true = rival.fit(scaled[rows], y[rows]).score(scaled_test, y_test)
    assert search.score(X_test, y_test) > true + 0.05


def test_cross_validation_of_a_regression(line):
    X, y = line
    assert cross_val_score(LabelDistillerRegressor(20, random_state=0), X, y).min() > 0.9


@pytest.mark.parametrize("how", HOW)
def test_every_chooser(how):
    X, y = small_blobs()
    model = LabelDistiller(9, choose=how, random_state=0).fit(X, y)
    assert len(set(model.base_indices_.tolist())) == 9
    np.testing.assert_array_equal(model.base_features_, X[model.base_indices_])
    assert model.score(X, y) > 0.8
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.base_indices_, model.base_indices_)
    values = X @ np.arange(4.0)
    assert (
        LabelDistillerRegressor(9, choose=how, random_state=0).fit(X, values).score(X, values) > 0.9
    )


def test_greedy_choice_looks_at_the_targets_and_the_penalty():
    draw = np.random.default_rng(0)
    X = draw.normal(size=(100, 30))
    y = X[:, 0] ** 2 + X[:, 1]

    def gap(how, seed=0, l2=1.0):
        options = {"l2": l2, "l2_scale": "absolute", "random_state": seed}
        return LabelDistillerRegressor(6, choose=how, **options).fit(X, y).certificate_.relative_gap

    assert gap("greedy") < 0.6 * min(gap("random", seed) for seed in range(5))
    chosen = [
        LabelDistillerRegressor(6, choose="greedy", l2=l2).fit(X, y).base_indices_.tolist()
        for l2 in (1e-3, 10.0)
    ]
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize("how", ["balanced", "kmeans"])
def test_rare_classes_give_all_they_have(how):
    X, y = small_blobs(4, (60, 2, 3, 40))
    model = LabelDistiller(20, choose=how, random_state=0).fit(X, y)
    assert np.bincount(y[model.base_indices_]).tolist() in ([7, 2, 3, 8], [8, 2, 3, 7])


def test_no_more_rows_than_there_are():
    X, y = small_blobs()
    model = LabelDistiller(1000).fit(X, y)
    np.testing.assert_array_equal(model.base_indices_, np.arange(len(X)))
    assert model.n_examples_ == len(X)
    # As many as lossless labels need: one a feature, and one for a free intercept.
    assert LabelDistiller(None).fit(X, y).n_examples_ == 5
    assert LabelDistillerRegressor(None, intercept="none").fit(X, y).n_examples_ == 4


def test_weights_are_repetitions(digits):
    X, y, *_ = digits
    X, y = X[:200], y[:200]
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    # Rows of weight 0 must not become base rows, nor count.
    X_poisoned = np.where(weights[:, None] == 0, 1e6, X)
    weighted = LabelDistiller(100, **ABSOLUTE).fit(X_poisoned, y, sample_weight=weights)
    repeated = LabelDistiller(150, **ABSOLUTE).fit(np.repeat(X, weights, 0), np.repeat(y, weights))
    np.testing.assert_allclose(
        weighted.decision_function(X), repeated.decision_function(X), atol=1e-8
    )
    assert (weights[weighted.base_indices_] > 0).all()
    assert weighted.statistics_.weight == repeated.statistics_.weight == weights.sum()
    plain = RidgeClassifier(alpha=2.0).fit(X, y, sample_weight=weights)
    scores = (plain.decision_function(X) + 1) / 2
    np.testing.assert_allclose(weighted.decision_function(X), scores, atol=1e-8)


def test_weights_that_cannot_be_meant():
    X, y = small_blobs()
    model = LabelDistiller(9, random_state=0)
    with pytest.raises(ValueError, match="zero"):
        model.fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        model.fit(X, y, sample_weight=-np.ones(len(X)))
    entropy = LabelDistiller(9, loss="cross_entropy", random_state=0)
    with pytest.raises(ValueError, match=r"whole numbers.*got 0\.5"):
        entropy.fit(X, y, sample_weight=np.full(len(X), 0.5))
    with pytest.raises(ValueError, match="2 classes or more"):
        entropy.fit(X, y, sample_weight=(y == 1).astype(float))


@pytest.mark.parametrize("kind", [LabelDistiller, LabelDistillerRegressor])
def test_float32_comes_back(kind):
    X, y = small_blobs()
    narrow = kind(10, random_state=0).fit(X.astype(np.float32), y)
    wide = kind(10, random_state=0).fit(X, y)
    assert {narrow.coef_.dtype, narrow.intercept_.dtype, narrow.base_features_.dtype} == {
        np.dtype(np.float32)
    }
    scores = "decision_function" if kind is LabelDistiller else "predict"
    assert getattr(narrow, scores)(X.astype(np.float32)).dtype == np.float32
    # Solved in float64 all the same, and labels of it kept.
    np.testing.assert_allclose(narrow.labels_, wide.labels_, atol=1e-5)
    assert narrow.labels_.dtype == np.float64


def test_random_state():
    X, y = small_blobs()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (
        LabelDistiller(9, random_state=s).fit(X, y).base_indices_ for s in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    given = np.random.RandomState(0)
    first, second = (LabelDistiller(9, random_state=given).fit(X, y).base_indices_ for _ in "ab")
    assert (first != second).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_examples": 0}, "`n_examples` must be a whole number of 1 or more; got 0"),
        ({"n_examples": 0.5}, "`n_examples` must be a whole number of 1 or more; got 0.5"),
        ({"n_examples": True}, "`n_examples` must be a whole number"),
        ({"n_candidates": None}, "`n_candidates` must be a whole number"),
        ({"choose": "balance"}, "Did you mean `balanced`"),
        ({"choose": "indices"}, "`indices`"),
        ({"l2": -1.0}, "`l2` must be finite and zero or more; got -1"),
        ({"intercept": "yes"}, "`intercept` must be one of"),
        ({"loss": "squares"}, "Did you mean `squared`"),
        ({"constraint": "simplx"}, "Did you mean `simplex`"),
    ],
)
def test_parameters_out_of_range(options, message):
    X, y = small_blobs()
    with pytest.raises(cvd.InputError, match=message) as raised:
        LabelDistiller(**{"n_examples": 9, **options}).fit(X, y)
    assert "\n" not in str(raised.value)


def test_parts_as_objects_survive_a_clone():
    X, y = small_blobs()
    parts = {"choose": Balanced(), "loss": cvd.CrossEntropyLoss(temperature=0.5)}
    model = clone(LabelDistiller(9, random_state=0, **parts)).fit(X, y)
    scores = model.decision_function(X) / 0.5
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), shares, atol=1e-12)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_every_constraint(constraint, monkeypatch):
    X, y = small_blobs()
    # Enough to see that first-order steps are taken, which end before they are done.
    few_steps = partialmethod(GradientSolver.__init__, max_steps=20, learning_rate=0.1)
    monkeypatch.setattr(GradientSolver, "__init__", few_steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LabelDistiller(9, constraint=constraint, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8
    allowed = CONSTRAINTS[constraint]().project(torch.from_numpy(model.labels_)).numpy()
    np.testing.assert_allclose(model.labels_, allowed, atol=1e-6)
    assert hasattr(model, "partial_fit") == hasattr(model, "statistics_")


def test_a_solve_that_stops_early_warns(monkeypatch):
    X, y = small_blobs()
    one_step = partialmethod(CrossEntropySolver.__init__, tolerance=1e-12, max_steps=1)
    monkeypatch.setattr(CrossEntropySolver, "__init__", one_step)
    with pytest.warns(ConvergenceWarning, match="step limit"):
        model = LabelDistiller(9, loss="cross_entropy", random_state=0).fit(X, y)
    assert model.status_ == "stopped_early"


def test_targets_that_do_not_fit():
    X, y = small_blobs()
    with pytest.raises(ValueError, match="2 classes or more; got 1 class"):
        LabelDistiller().fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="several columns of classes"):
        LabelDistiller().fit(X, np.stack([y, y], 1))
    with pytest.raises(NotFittedError):
        LabelDistiller().to_distilled()
