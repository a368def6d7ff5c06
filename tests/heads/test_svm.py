"""The Crammer-Singer head against CLARABEL, liblinear, finite differences and invariances."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from cases import INTERCEPTS, draw, draw_labels
from sklearn.svm import LinearSVC
from truths import relative_error

from cvxdistill.errors import InputError, SolveError
from cvxdistill.heads import SVMHead, stack

CLASSES = 3

every_intercept = pytest.mark.parametrize("intercept", INTERCEPTS)


def objective(features, labels, l2, fit, *, intercept):
    """Return the objective from its formula."""
    logits = fit(features)
    total = labels.sum(1, keepdim=True)
    hinge = (total * logits + total - labels).amax(1) - (labels * logits).sum(1)
    penalty = fit.weights.square().sum()
    if intercept == "penalised":
        penalty = penalty + fit.intercept.square().sum()
    return float(hinge.sum() + l2 / 2 * penalty)


def clarabel(features, labels, l2, *, intercept):
    """Return the least objective, by a cone solver."""
    z, y = features.numpy(), labels.numpy()
    if intercept == "penalised":
        z = np.hstack([z, np.ones((len(z), 1))])
    total = y.sum(1, keepdims=True)
    weights = cp.Variable((z.shape[1], y.shape[1]))
    logits = z @ weights
    if intercept == "free":
        logits = logits + np.ones((len(z), 1)) @ cp.Variable((1, y.shape[1]))
    inner = cp.multiply(np.repeat(total, y.shape[1], 1), logits) + total - y
    value = l2 / 2 * cp.sum_squares(weights) + cp.sum(cp.max(inner, axis=1))
    problem = cp.Problem(cp.Minimize(value - cp.sum(cp.multiply(y, logits))))
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return problem.value


def soft(m, classes):
    return draw_labels(m, classes)


def hard(m, classes):
    return torch.eye(classes, dtype=torch.float64)[torch.arange(m) % classes]


def weighted(m, classes):
    return draw_labels(m, classes) * torch.linspace(0.3, 3, m, dtype=torch.float64)[:, None]


@every_intercept
@pytest.mark.parametrize("kind", [soft, hard, weighted])
@pytest.mark.parametrize(("m", "d"), [(20, 5), (8, 12)])
@pytest.mark.parametrize("l2", [10.0, 1.0, 1e-2])
def test_objective_equals_clarabel(m, d, l2, kind, intercept):
    features, labels = draw(m, d) + 0.5, kind(m, CLASSES)
    fit = SVMHead(l2=l2, intercept=intercept).fit(features, labels)
    found = objective(features, labels, l2, fit, intercept=intercept)
    expected = clarabel(features, labels, l2, intercept=intercept)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", [soft, hard])
def test_objective_equals_clarabel_with_ten_classes(kind):
    features, labels = draw(60, 40), kind(60, 10)
    fit = SVMHead(l2=0.1).fit(features, labels)
    found = objective(features, labels, 0.1, fit, intercept="free")
    assert found == pytest.approx(clarabel(features, labels, 0.1, intercept="free"), rel=1e-6)


def test_true_labels_give_the_machine_of_liblinear():
    features, labels = draw(30, 6), hard(30, CLASSES)
    model = LinearSVC(
        multi_class="crammer_singer", C=1 / 0.5, fit_intercept=False, tol=1e-10, max_iter=100000
    )
    model.fit(features.numpy(), labels.argmax(1).numpy())
    fit = SVMHead(l2=0.5, intercept="none").fit(features, labels)
    assert relative_error(fit.weights, torch.from_numpy(model.coef_.T)) < 1e-5


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(("m", "d", "kind"), [(40, 15, soft), (40, 15, hard), (30, 60, hard)])
def test_the_solution_is_reached_at_any_penalty(m, d, kind, l2):
    features, labels = draw(m, d), kind(m, 4)
    fit = SVMHead(l2=l2, intercept="none").fit(features, labels)
    found = objective(features, labels, l2, fit, intercept="none")
    # Strong convexity: no direction goes down.
    for seed in range(5):
        step = 1e-4 * float(fit.weights.norm()) * draw(d, 4, seed=seed)
        moved = fit.__class__(fit.weights + step, fit.intercept)
        assert objective(features, labels, l2, moved, intercept="none") > found


@every_intercept
@pytest.mark.parametrize(("m", "d", "l2"), [(5, 2, 1.0), (3, 5, 0.05)], ids=["long", "wide"])
def test_gradients_in_all_arguments_away_from_kinks(m, d, l2, intercept):
    features, labels = draw(m, d).requires_grad_(), draw_labels(m, CLASSES).requires_grad_()
    penalty = torch.tensor(l2, dtype=torch.float64, requires_grad=True)
    query = draw(2, d, seed=1)

    def logits(features, labels, l2):
        return SVMHead(l2=l2, intercept=intercept).fit(features, labels)(query)

    assert torch.autograd.gradcheck(logits, (features, labels, penalty))
    assert torch.autograd.gradgradcheck(logits, (features, labels, penalty), fast_mode=True)


def test_gradient_at_the_size_of_use_equals_central_differences():
    features, labels = draw(100, 84), draw_labels(100, 10).requires_grad_()
    direction, cotangent = draw(100, 10, seed=2), draw(100, 10, seed=3)

    def value(given):
        return (SVMHead(l2=0.1).fit(features, given)(features) * cotangent).sum()

    (found,) = torch.autograd.grad(value(labels), labels)
    h = 1e-6
    with torch.no_grad():
        expected = (value(labels + h * direction) - value(labels - h * direction)) / (2 * h)
    assert float((found * direction).sum()) == pytest.approx(float(expected), rel=1e-5)


def test_at_a_kink_the_gradient_is_finite():
    # Equal examples with equal labels: their multipliers are not unique.
    features = draw(3, 4).repeat(3, 1)
    labels = hard(3, CLASSES).repeat(3, 1).requires_grad_()
    fit = SVMHead(l2=0.1).fit(features, labels)
    fit(features).square().sum().backward()
    assert torch.isfinite(labels.grad).all()
    once = SVMHead(l2=0.1).fit(features[:3], 3 * labels[:3])
    assert relative_error(stack(fit).detach(), stack(once).detach()) < 1e-8


@every_intercept
def test_a_row_weighs_as_its_sum(intercept):
    features, labels = draw(7, 3), draw_labels(7, CLASSES)
    head = SVMHead(l2=0.2, intercept=intercept)
    heavier = labels * torch.tensor([2.0] + [1.0] * 6).double()[:, None]
    twice = head.fit(torch.cat([features[:1], features]), torch.cat([labels[:1], labels]))
    assert relative_error(stack(head.fit(features, heavier)), stack(twice)) < 1e-8
    heavier[0] = 0
    without = head.fit(features[1:], labels[1:])
    assert relative_error(stack(head.fit(features, heavier)), stack(without)) < 1e-8


def test_a_free_intercept_takes_up_a_shift_of_the_features_and_sums_to_zero():
    features, labels, query = draw(9, 4), draw_labels(9, CLASSES), draw(5, 4, seed=1)
    here = SVMHead().fit(features, labels)
    there = SVMHead().fit(features + 7.0, labels)
    assert relative_error(there(query + 7.0), here(query)) < 1e-8
    assert float(here.intercept.sum()) == pytest.approx(0, abs=1e-10)


def test_a_batch_is_its_episodes():
    features, labels = draw(2, 6, 3), draw_labels(12, CLASSES).reshape(2, 6, CLASSES)
    fit = SVMHead().fit(features, labels)
    for i in range(2):
        assert torch.equal(fit.weights[i], SVMHead().fit(features[i], labels[i]).weights)


def test_an_example_well_inside_its_class_does_not_count():
    features = torch.tensor([[-1.0], [1.0], [50.0]]).double().requires_grad_()
    fit = SVMHead(l2=0.01).fit(features, torch.eye(2).double()[[0, 1, 1]])
    (found,) = torch.autograd.grad(fit.weights[0, 1], features)
    assert float(found[2].abs()) < 1e-12 < float(found[1].abs())
    alone = SVMHead(l2=0.01).fit(features[:2], torch.eye(2).double())
    assert relative_error(fit.weights.detach(), alone.weights.detach()) < 1e-9


def test_too_few_steps_and_too_tight_a_gap_are_errors():
    features, labels = draw(20, 4), draw_labels(20, CLASSES)
    with pytest.raises(SolveError, match=r"stopped early: .* 2 interior-point steps"):
        SVMHead(max_steps=2).fit(features, labels)
    with pytest.raises(SolveError, match=r"inaccurate: .* duality gap of \d.*`tol` = 1\.0e-30"):
        SVMHead(tol=1e-30).fit(features, labels)


def test_what_has_no_minimiser_is_refused():
    with pytest.raises(InputError, match="class 2 has 0"):
        SVMHead().fit(draw(4, 2), torch.eye(3).double()[[0, 1, 0, 1]])
    with pytest.raises(InputError, match="`l2` must be finite and above zero"):
        SVMHead(l2=0.0)
