"""Paths over `l2` against refits, and the conditioning guard."""

import logging

import numpy as np
import pytest
import torch
from cases import INTERCEPTS, draw, draw_target, moments
from truths import relative_error

from cvxdistill.errors import InputError, SolveError
from cvxdistill.heads import (
    LinearFit,
    RidgeHead,
    conditioning,
    full_data_path,
    ridge_path,
    stack,
)

CLASSES = 3
L2S = np.logspace(-4, 2, 7).tolist()

every_intercept = pytest.mark.parametrize("intercept", INTERCEPTS)
every_scale = pytest.mark.parametrize("scale", ["trace", "absolute"])
every_shape = pytest.mark.parametrize(("m", "d"), [(14, 5), (8, 8), (8, 7), (6, 11)])


def data(m, d):
    return draw(m, d) + 0.5, draw(m, CLASSES, seed=3)


@every_intercept
@every_scale
@every_shape
def test_path_weights_are_refits(m, d, scale, intercept):
    features, labels = data(m, d)
    head = RidgeHead(l2_scale=scale, intercept=intercept)
    query = draw(5, d, seed=1)
    path = ridge_path(features, labels, L2S, head=head, query=query)
    for i, l2 in enumerate(L2S):
        fit = RidgeHead(l2=l2, l2_scale=scale, intercept=intercept).fit(features, labels)
        assert relative_error(stack(path.fit(i)), stack(fit)) < 1e-9
        assert relative_error(path.predictions[i], fit(query)) < 1e-9


@every_intercept
@every_scale
@every_shape
def test_leave_one_out_errors_are_those_of_refits(m, d, scale, intercept):
    features, labels = data(m, d)
    path = ridge_path(features, labels, L2S, head=RidgeHead(l2_scale=scale, intercept=intercept))
    for i, lam in enumerate(path.penalties.tolist()):
        head = RidgeHead(l2=lam, l2_scale="absolute", intercept=intercept)
        rest = [[j for j in range(m) if j != left] for left in range(m)]
        guesses = torch.cat(
            [
                head.fit(features[kept], labels[kept])(features[[left]])
                for left, kept in enumerate(rest)
            ]
        )
        squared = float((labels - guesses).square().sum(1).mean())
        assert float(path.loo_squared[i]) == pytest.approx(squared, rel=1e-9)
        accuracy = float((guesses.argmax(1) == labels.argmax(1)).double().mean())
        assert float(path.loo_accuracy[i]) == pytest.approx(accuracy)


@every_intercept
def test_without_a_penalty_the_path_is_least_squares(intercept):
    features, labels = data(14, 5)
    head = RidgeHead(l2=0.0, intercept=intercept)
    path = ridge_path(features, labels, [0.0], head=head)
    assert relative_error(stack(path.fit(0)), stack(head.fit(features, labels))) < 1e-9
    assert torch.isfinite(path.loo_squared).all()


@every_intercept
@every_scale
@pytest.mark.parametrize("source", ["features", "moments"])
def test_full_data_paths_are_the_full_data_heads(source, scale, intercept):
    features, classes = draw_target(60, 5, CLASSES)
    coded = torch.nn.functional.one_hot(classes, CLASSES).double()
    target = (features, coded) if source == "features" else moments(features, classes, CLASSES)
    path = full_data_path(target, L2S, head=RidgeHead(l2_scale=scale, intercept=intercept))
    for i, l2 in enumerate(L2S):
        head = RidgeHead(l2=l2, l2_scale=scale, intercept=intercept)
        expected = stack(head.target_root((features, coded)).full)
        assert relative_error(stack(path.fit(i)), expected) < 1e-9


@pytest.mark.parametrize(("m", "d"), [(14, 5), (6, 11)])
def test_a_hundred_values_take_one_decomposition_and_no_solve(monkeypatch, m, d):
    calls = []

    def counted(name):
        original = getattr(torch.linalg, name)

        def call(*args, **options):
            calls.append(name)
            return original(*args, **options)

        return call

    for name in ("eigh", "svd", "qr", "solve", "cholesky", "cholesky_ex", "lstsq", "inv"):
        monkeypatch.setattr(torch.linalg, name, counted(name))
    features, labels = data(m, d)
    ridge_path(features, labels, np.logspace(-6, 3, 100), query=draw(50, d))
    assert calls == ["eigh"]
    calls.clear()
    full_data_path((features, labels), np.logspace(-6, 3, 100))
    assert calls == ["eigh"]


def test_bad_paths_are_refused():
    features, labels = data(6, 3)
    with pytest.raises(InputError, match="`l2s` must be finite and zero or more; got -1"):
        ridge_path(features, labels, [0.1, -1.0])
    with pytest.raises(InputError, match="`l2s` must be a list of numbers"):
        ridge_path(features, labels, [])
    with pytest.raises(InputError, match="`query` must have 3 columns"):
        ridge_path(features, labels, [0.1], query=draw(2, 4))
    with pytest.raises(InputError, match=r"must be \(m, d\)"):
        ridge_path(draw(2, 6, 3), draw(2, 6, 3), [0.1])


# The conditioning guard. ------------------------------------------------------------------------


@every_intercept
@pytest.mark.parametrize(("m", "d"), [(14, 5), (6, 11)])
def test_conditioning_is_that_of_the_matrix_that_is_factorised(m, d, intercept):
    features = draw(m, d) + 0.5
    seen = features - features.mean(0) if intercept == "free" else features
    if intercept == "penalised":
        seen = torch.cat([seen, torch.ones(m, 1)], dim=1)
    q = min(seen.shape)
    gram = seen @ seen.mT if m <= seen.shape[1] else seen.mT @ seen
    head = RidgeHead(l2=0.1, l2_scale="absolute", intercept=intercept)
    found = conditioning(features, head)
    matrix = gram + 0.1 * torch.eye(q).double()
    assert found.condition == pytest.approx(float(torch.linalg.cond(matrix)), rel=1e-9)
    freedom = float(torch.linalg.solve(matrix, gram).trace())
    assert found.effective_rank == pytest.approx(freedom, rel=1e-9)
    assert found.jitter == 0


def test_a_hopeless_matrix_is_jittered_and_says_so(caplog):
    features = (draw(20, 3) @ draw(3, 10, seed=1)) * 1e3
    labels = draw(20, CLASSES)
    head = RidgeHead(l2=1e-18, l2_scale="absolute")
    with caplog.at_level(logging.WARNING, logger="cvxdistill.heads.ridge"):
        fit = head.fit(features, labels)
    assert fit.jitter == 1e-12
    assert "numerically singular: 1e-12 of the mean diagonal" in caplog.text
    assert head.factor(features).jitter == fit.jitter == conditioning(features, head).jitter
    expected = np.linalg.lstsq(
        np.hstack([features, np.ones((20, 1))]), labels.numpy(), rcond=1e-10
    )[0]
    query = features[:5]
    by_lstsq = LinearFit(torch.from_numpy(expected[:-1]), torch.from_numpy(expected[-1]))
    assert relative_error(fit(query), by_lstsq(query)) < 1e-3


def test_jitter_touches_only_the_episodes_that_need_it():
    good, bad = draw(20, 4), draw(20, 2) @ draw(2, 4, seed=1)
    labels = draw(2, 20, CLASSES)
    head = RidgeHead(l2=0.0)
    fit = head.fit(torch.stack([good, bad]), labels)
    assert fit.jitter > 0
    assert relative_error(fit.weights[0], head.fit(good, labels[0]).weights) < 1e-12


def test_a_jittered_fit_has_finite_gradients():
    features = (draw(6, 1) @ draw(1, 3, seed=1)).requires_grad_()
    labels = draw(6, CLASSES).requires_grad_()
    RidgeHead(l2=1e-20).fit(features, labels)(draw(4, 3)).square().sum().backward()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(labels.grad).all()


def test_what_no_jitter_helps_is_an_error():
    with pytest.raises(SolveError, match=r"even with 1e-10 of the mean diagonal.*Raise `l2`"):
        RidgeHead(l2=0.0).fit(torch.zeros(4, 2, dtype=torch.float64), draw(4, 2))
    with pytest.raises(InputError, match=r"must be \(m, d\)"):
        conditioning(draw(2, 4, 3), RidgeHead())
