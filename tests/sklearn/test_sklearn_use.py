"""The estimators among other tools: data frames, files, routing of weights, the artefact."""

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import cvxdistill as cvd
from cvxdistill.sklearn import LabelDistiller, LabelDistillerRegressor


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


@pytest.fixture(scope="module")
def fitted(digits):
    return LabelDistiller(30, random_state=0).fit(*digits)


def test_scores_as_a_data_frame(digits):
    pandas = pytest.importorskip("pandas")
    X, y = digits
    frame = pandas.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    model = LabelDistiller(30, random_state=0).set_output(transform="pandas")
    scores = model.fit(frame, y).transform(frame)
    assert list(scores.columns) == [f"labeldistiller{i}" for i in range(10)]
    assert scores.index.equals(frame.index)
    np.testing.assert_array_equal(scores.to_numpy(), model.decision_function(frame))
    assert list(model.feature_names_in_[:2]) == ["pixel0", "pixel1"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"pixel0": "other"}))
    two = LabelDistiller(30, random_state=0).set_output(transform="pandas")
    assert list(two.fit_transform(frame, y > 4).columns) == ["labeldistiller0"]


def test_a_file_and_back(fitted, digits, tmp_path):
    X, y = digits
    streamed = LabelDistiller(30, random_state=0).partial_fit(X[:300], y[:300], classes=range(10))
    for model in (fitted, streamed):
        joblib.dump(model, tmp_path / "model.joblib")
        loaded = joblib.load(tmp_path / "model.joblib")
        np.testing.assert_array_equal(loaded.decision_function(X), model.decision_function(X))
        assert loaded.certificate_ == model.certificate_
    # A stream goes on from the file as it would have gone on without.
    loaded.partial_fit(X[300:], y[300:])
    streamed.partial_fit(X[300:], y[300:])
    np.testing.assert_array_equal(loaded.base_indices_, streamed.base_indices_)
    np.testing.assert_array_equal(loaded.coef_, streamed.coef_)


def test_weights_are_routed_through_a_pipeline(digits):
    X, y = digits
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = LabelDistiller(30, random_state=0).set_fit_request(sample_weight=True)
        routed = make_pipeline(scaler, model).fit(X, y, sample_weight=weights)
    direct = LabelDistiller(30, random_state=0)
    direct.fit(StandardScaler().fit_transform(X), y, sample_weight=weights)
    np.testing.assert_array_equal(routed[-1].coef_, direct.coef_)
    unweighted = clone_fit(direct, X, y)
    assert not np.allclose(routed[-1].coef_, unweighted.coef_)


def clone_fit(model, X, y):
    return sklearn.clone(model).fit(StandardScaler().fit_transform(X), y)


def test_the_artefact(fitted, digits, tmp_path):
    X, y = digits
    made = fitted.to_distilled()
    made.save(tmp_path / "run")
    loaded = cvd.Distilled.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.labels.numpy(), fitted.labels_)
    np.testing.assert_array_equal(loaded.examples.numpy(), X[fitted.base_indices_])
    np.testing.assert_array_equal(loaded.true_labels.numpy(), y[fitted.base_indices_])
    np.testing.assert_array_equal(loaded.base.indices.numpy(), fitted.base_indices_)
    assert loaded.class_names == tuple("0123456789")
    assert loaded.label_kind == "scores"
    assert loaded.provenance["certificate"]["relative_gap"] == fitted.certificate_.relative_gap
    # Anybody refits the head from it, and `evaluate` judges it as the estimator judges itself.
    head = loaded.head.fit(loaded.examples, loaded.labels)
    np.testing.assert_allclose(head.weights.numpy().T, fitted.coef_, atol=1e-12)
    test = cvd.ImageSet(torch.from_numpy(X), torch.from_numpy(y), loaded.class_names, name="digits")
    rows = cvd.evaluate(loaded, test, students=[], seeds=1)
    found = {row.labels: row.accuracy for row in rows if row.setting == "same_extractor"}
    assert found["distilled"] == pytest.approx(fitted.score(X, y), abs=0.004)
    assert found["distilled"] > found["hard"]


def test_the_artefact_of_other_targets(digits, tmp_path):
    X, y = digits
    models = (
        LabelDistillerRegressor(20, random_state=0).fit(X, y * 0.5),
        LabelDistillerRegressor(20, random_state=0).fit(X, np.stack([y, -y], 1) * 0.5),
        LabelDistiller(20, random_state=0).fit(X, np.stack([y > 2, y > 5], 1).astype(int)),
        LabelDistiller(20, constraint="simplex", random_state=0).fit(
            X, np.array(["n", "y"])[y % 2]
        ),
    )
    names = ("y0",), ("y0", "y1"), ("0", "1"), ("n", "y")
    kinds = "scores", "scores", "scores", "distribution"
    for model, columns, kind in zip(models, names, kinds, strict=True):
        model.to_distilled().save(tmp_path / "run")
        loaded = cvd.Distilled.load(tmp_path / "run")
        assert (loaded.class_names, loaded.label_kind) == (columns, kind)
        np.testing.assert_array_equal(loaded.labels.numpy(), model.labels_.reshape(20, -1))


def test_moments_go_to_the_solver(fitted, digits):
    """Another base set and another `l2`, without the samples."""
    X, _ = digits
    solution = cvd.solve_labels(torch.from_numpy(X[:70]), fitted.statistics_)
    assert solution.labels.shape == (70, 10)
    assert fitted.statistics_.target_names == tuple("0123456789")


@pytest.mark.gpu
def test_on_a_gpu(fitted, digits):
    X, y = digits
    model = LabelDistiller(30, random_state=0, device="cuda").fit(X, y)
    np.testing.assert_allclose(model.coef_, fitted.coef_, atol=1e-9)
    assert model.statistics_.device.type == "cpu"
