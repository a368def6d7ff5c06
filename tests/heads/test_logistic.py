"""The logistic head against scikit-learn, finite differences and its own optimality condition."""

import numpy as np
import pytest
import torch
from cases import INTERCEPTS, SHAPES, draw, draw_labels
from sklearn.linear_model import LogisticRegression
from truths import relative_error

from cvxdistill.errors import InputError, SolveError
from cvxdistill.heads import LogisticHead, stack

CLASSES = 3

every_intercept = pytest.mark.parametrize("intercept", INTERCEPTS)
every_shape = pytest.mark.parametrize(
    ("m", "d"), [size for name, size in SHAPES.items() if name != "one-example"]
)


def oracle(features, labels, l2, *, intercept):
    """Return `[W; b]` of scikit-learn on rows repeated once a class, weighted by the labels."""
    m, classes = labels.shape
    rows = np.repeat(features.numpy(), classes, axis=0)
    if intercept == "penalised":
        rows = np.hstack([rows, np.ones((len(rows), 1))])
    model = LogisticRegression(
        C=1 / l2,
        fit_intercept=intercept == "free",
        solver="newton-cholesky",
        tol=1e-13,
        max_iter=500,
    )
    model.fit(rows, np.tile(np.arange(classes), m), sample_weight=labels.numpy().ravel())
    weights = model.coef_.T
    if intercept == "free":
        return np.vstack([weights, model.intercept_ - model.intercept_.mean()])
    return weights if intercept == "penalised" else np.vstack([weights, np.zeros(classes)])


def gradient(features, labels, l2, fit):
    """Return the gradient of the objective in `[W; b]` by autograd, from the formula."""
    weights = fit.weights.detach().requires_grad_()
    offset = fit.intercept.detach().requires_grad_()
    logits = features @ weights + offset
    entropy = -(labels * logits.log_softmax(-1)).sum()
    value = entropy + l2 / 2 * weights.square().sum()
    return torch.autograd.grad(value, (weights, offset))


@every_intercept
@every_shape
@pytest.mark.parametrize("l2", [1.0, 1e-2])
def test_solution_equals_scikit_learn_on_repeated_rows(m, d, l2, intercept):
    features, labels = draw(m, d), draw_labels(m, CLASSES)
    fit = LogisticHead(l2=l2, intercept=intercept).fit(features, labels)
    expected = torch.from_numpy(oracle(features, labels, l2, intercept=intercept))
    assert relative_error(stack(fit), expected) < 1e-6


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize(("m", "d"), [(14, 5), (6, 11)])
def test_the_gradient_is_zero_at_the_solution(m, d, l2):
    features, labels = draw(m, d), draw_labels(m, CLASSES)
    fit = LogisticHead(l2=l2).fit(features, labels)
    for part in gradient(features, labels, l2, fit):
        assert float(part.norm()) < 1e-12 * float(features.norm() * labels.norm())


@pytest.mark.parametrize(("m", "d", "classes"), [(40, 15, 4), (60, 70, 6)])
@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_label_gradient_equals_central_differences(m, d, classes, l2):
    features, labels = draw(m, d), draw_labels(m, classes).requires_grad_()
    query, direction = draw(20, d, seed=1), draw(m, classes, seed=2)
    cotangent = draw(20, classes, seed=3)

    def value(given):
        return (LogisticHead(l2=l2).fit(features, given)(query) * cotangent).sum()

    (found,) = torch.autograd.grad(value(labels), labels)
    with torch.no_grad():
        h = 3e-4 * float(labels.mean())
        near, far = (
            value(labels + k * h * direction) - value(labels - k * h * direction) for k in (1, 2)
        )
    expected = float(8 * near - far) / (12 * h)
    assert float((found * direction).sum()) == pytest.approx(expected, rel=1e-5)


@every_intercept
@pytest.mark.parametrize(("m", "d"), [(4, 2), (3, 4)], ids=["long", "wide"])
@pytest.mark.parametrize("scale", ["absolute", "trace"])
def test_gradients_in_all_arguments_to_second_order(m, d, intercept, scale):
    features, labels = draw(m, d).requires_grad_(), draw_labels(m, 2).requires_grad_()
    l2 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    query = draw(2, d, seed=1)

    def logits(features, labels, l2):
        return LogisticHead(l2=l2, l2_scale=scale, intercept=intercept).fit(features, labels)(query)

    assert torch.autograd.gradcheck(logits, (features, labels, l2))
    assert torch.autograd.gradgradcheck(logits, (features, labels, l2), fast_mode=True)


def test_third_derivatives_follow():
    labels = draw_labels(4, 2).requires_grad_()
    features = draw(4, 2)

    def slope(labels):
        value = LogisticHead(l2=0.5).fit(features, labels).weights.square().sum()
        return torch.autograd.grad(value, labels, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(slope, (labels,), fast_mode=True)


@every_intercept
@pytest.mark.parametrize(("m", "d"), [(14, 5), (6, 11)])
def test_conjugate_gradients_give_the_direct_solution(monkeypatch, m, d, intercept):
    features = draw(m, d)
    head = LogisticHead(l2=1e-2, intercept=intercept)

    def solve():
        labels = draw_labels(m, CLASSES).requires_grad_()
        fit = head.fit(features, labels)
        stack(fit).square().sum().backward()
        return stack(fit).detach(), labels.grad

    direct = solve()
    monkeypatch.setattr("cvxdistill.heads.coupled.DIRECT_LIMIT", 0)
    for iterative, expected in zip(solve(), direct, strict=True):
        assert relative_error(iterative, expected) < 1e-9


@every_intercept
def test_a_row_weighs_as_its_sum(intercept):
    features, labels = draw(7, 3), draw_labels(7, CLASSES)
    head = LogisticHead(l2=0.2, intercept=intercept)
    heavier = labels * torch.tensor([2.0] + [1.0] * 6).double()[:, None]
    twice = head.fit(torch.cat([features[:1], features]), torch.cat([labels[:1], labels]))
    assert relative_error(stack(head.fit(features, heavier)), stack(twice)) < 1e-9
    without = heavier.clone()
    without[0] = 0
    assert (
        relative_error(
            stack(head.fit(features, without)), stack(head.fit(features[1:], labels[1:]))
        )
        < 1e-9
    )


def test_scaling_labels_and_penalty_together_changes_nothing():
    features, labels = draw(7, 3), draw_labels(7, CLASSES)
    one = LogisticHead(l2=0.2).fit(features, labels)
    three = LogisticHead(l2=0.6).fit(features, 3 * labels)
    assert relative_error(stack(three), stack(one)) < 1e-9


def test_a_free_intercept_takes_up_a_shift_of_the_features_and_sums_to_zero():
    features, labels, query = draw(9, 4), draw_labels(9, CLASSES), draw(5, 4, seed=1)
    here = LogisticHead().fit(features, labels)
    there = LogisticHead().fit(features + 7.0, labels)
    assert relative_error(there(query + 7.0), here(query)) < 1e-9
    assert float(here.intercept.sum()) == pytest.approx(0, abs=1e-12)


def test_a_negative_entry_is_allowed_where_the_row_weighs():
    labels = torch.tensor([[1.2, -0.2], [0.1, 0.9], [0.5, 0.5]]).double()
    features = draw(3, 2)
    fit = LogisticHead(l2=0.1).fit(features, labels)
    assert max(float(part.norm()) for part in gradient(features, labels, 0.1, fit)) < 1e-12


def test_a_batch_is_its_episodes():
    features, labels = draw(2, 6, 3), draw_labels(12, CLASSES).reshape(2, 6, CLASSES)
    fit = LogisticHead().fit(features, labels)
    assert fit(features).shape == (2, 6, CLASSES)
    for i in range(2):
        alone = LogisticHead().fit(features[i], labels[i])
        assert torch.equal(fit.weights[i], alone.weights)
        assert torch.equal(fit.intercept[i], alone.intercept)


def test_the_trace_scale_follows_the_features():
    features, labels = draw(8, 3), draw_labels(8, CLASSES)
    head = LogisticHead(l2=0.05, l2_scale="trace")
    here, there = head.fit(features, labels), head.fit(10 * features, labels)
    assert relative_error(there(10 * features), here(features)) < 1e-9


def test_separable_data_at_a_tiny_penalty_converge():
    features = draw(12, 20)
    labels = torch.eye(3).double()[torch.arange(12) % 3]
    fit = LogisticHead(l2=1e-8).fit(features, labels)
    slope = torch.cat([part.flatten() for part in gradient(features, labels, 1e-8, fit)])
    assert float(slope.norm()) < 1e-10 * float(features.norm() * labels.norm())


def test_too_few_steps_are_an_error_with_the_gradient_norm():
    with pytest.raises(SolveError, match=r"stopped early: .* 1 Newton steps .* norm of \d\.\de"):
        LogisticHead(l2=1e-3, max_steps=1).fit(draw(20, 4), draw_labels(20, CLASSES))


def test_what_has_no_minimiser_is_refused():
    labels = torch.eye(3).double()[[0, 1, 0, 1]]
    with pytest.raises(InputError, match=r"class 2 has 0.*`penalised`"):
        LogisticHead().fit(draw(4, 2), labels)
    assert torch.isfinite(LogisticHead(intercept="penalised").fit(draw(4, 2), labels).weights).all()
    with pytest.raises(InputError, match=r"sum of zero or more.*-0\.2.*row 1"):
        LogisticHead().fit(draw(2, 2), torch.tensor([[0.5, 0.5], [-0.4, 0.2]]).double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": 0.0}, "`l2` must be finite and above zero; got 0"),
        ({"l2_scale": "trase"}, "Did you mean `trace`"),
        ({"intercept": "fre"}, "Did you mean `free`"),
        ({"tol": 0.0}, "`tol` must be finite and above zero"),
        ({"max_steps": 0}, "`max_steps` must be finite and above zero"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LogisticHead(**options)
