"""Convex cross-entropy: against a cone solver, its bound, its derivatives, and special cases."""

import dataclasses

import cvxpy as cp
import pytest
import torch
from cases import draw, draw_labels, moments, small_problem
from label_oracles import conditions
from truths import label_objective

from cvxdistill.errors import IncompatibleError
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import Box, CrossEntropyLoss, Free, Simplex, SquaredLoss
from cvxdistill.problem import Status
from cvxdistill.solvers import CrossEntropySolver, ProjectedSolver, solve_labels
from cvxdistill.solvers.softmax import DualBound, SoftmaxObjective

SETS = {"free": Free(), "simplex": Simplex(), "box": Box()}


def problem_of(**terms):
    given = {"m": 5, "widths": (7, 4), "loss": CrossEntropyLoss(0.3), "head": RidgeHead(l2=0.05)}
    return small_problem(**{**given, **terms})


def by_cone_solver(problem, constraint):
    """Return the optimum of the formula, written out with plain matrices."""
    labels = cp.Variable((problem.num_examples, problem.num_classes))
    scale, terms = problem.loss.scale, []
    for base, (features, classes) in zip(problem.base_features, problem.targets, strict=True):
        mapped = problem.head.factor(base.double())
        logits = scale * (mapped.transfer(features.double()).numpy() @ labels)
        coded = problem.loss.code(classes, num_classes=problem.num_classes).numpy()
        centred = features - features.mean(0)
        lam = float(problem.head.l2) * float(centred.square().sum()) / len(features)
        loss = cp.sum(cp.log_sum_exp(logits, axis=1)) - cp.sum(cp.multiply(coded, logits))
        penalty = lam * cp.sum_squares(mapped.weights.numpy() @ labels)
        terms.append((loss + penalty) / len(features))
    objective = sum(terms) / len(terms)
    if problem.prior is not None:
        objective += problem.prior_weight * cp.sum_squares(labels - problem.prior.numpy())
    asked = cp.Problem(cp.Minimize(objective), conditions(constraint, labels))
    return asked.solve(solver=cp.CLARABEL)


@pytest.mark.parametrize("constraint", SETS)
@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_the_objective_is_that_of_a_cone_solver(constraint, weight):
    prior = {"prior": draw(5, 3), "prior_weight": weight} if weight else {}
    problem = problem_of(constraint=SETS[constraint], **prior)
    solution = CrossEntropySolver(tolerance=1e-7, max_steps=3000).solve(problem)
    assert solution.status is Status.SOLVED
    assert solution.certificate.gap_bound <= 1e-7
    assert solution.objective == pytest.approx(by_cone_solver(problem, constraint), rel=1e-6)
    assert solution.objective == pytest.approx(label_objective(problem, solution.labels), rel=1e-9)


@pytest.mark.parametrize("intercept", ["free", "penalised", "none"])
@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_no_labels_go_below_the_dual_bound(intercept, weight):
    prior = {"prior": draw(5, 3), "prior_weight": weight} if weight else {}
    head = RidgeHead(l2=0.05, intercept=intercept)
    problem = problem_of(head=head, **prior)
    best = CrossEntropySolver(tolerance=1e-9).solve(problem).objective
    objective = SoftmaxObjective.of(problem, problem.loss.scale)
    bound, nearest = DualBound(objective), -1.0
    for seed in range(10):
        for size in (0.01, 1.0, 5.0):
            lower = bound(objective.at(size * draw(5, 3, seed=seed)))
            assert lower <= best * (1 + 1e-9)
            nearest = max(nearest, lower)
    # A bound of nothing but the targets' entropy, zero here, would pass above.
    assert nearest > 0 or weight == 0


def test_derivatives_agree_with_autograd():
    problem = problem_of(prior=draw(5, 3), prior_weight=0.2)
    objective = SoftmaxObjective.of(problem, problem.loss.scale)
    labels, direction = draw(5, 3, seed=4), draw(5, 3, seed=5)
    state = objective.at(labels)

    def value(y):
        total = problem.prior_weight * (y - problem.prior).square().sum()
        total = total + (objective.root @ y).square().sum()
        pairs = zip(objective.transfers, objective.targets, strict=True)
        for rows, goal in pairs:
            total = total + problem.loss.value(rows @ y, goal) / len(objective.transfers)
        return total

    leaf = labels.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf, create_graph=True)
    (curvature,) = torch.autograd.grad((gradient * direction).sum(), leaf)
    assert state.value == pytest.approx(float(value(labels)), rel=1e-12)
    assert torch.allclose(state.gradient, gradient.detach(), rtol=1e-10, atol=1e-12)
    assert torch.allclose(objective.curvature(state, direction), curvature, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("constraint", SETS)
def test_an_overwhelming_prior_is_returned(constraint):
    prior = draw_labels(5, 3)
    problem = problem_of(constraint=SETS[constraint], prior=prior, prior_weight=1e7)
    assert torch.allclose(CrossEntropySolver().solve(problem).labels, prior, atol=1e-5)


def test_soft_targets_are_met_exactly_where_they_can_be():
    """Targets that a head on the base can give have no cross-entropy above their entropy."""
    base, features = draw(4, 3), draw(60, 3, seed=1)
    logits = RidgeHead(l2=0.1).fit(base, draw(4, 3, seed=2))(features)
    target = logits.softmax(1)
    solution = solve_labels(
        base, (features, target), head=RidgeHead(l2=0.1), loss="cross_entropy", target_l2=0.0
    )
    entropy = -float((target * target.log()).sum(1).mean())
    assert solution.status is Status.SOLVED
    assert solution.objective == pytest.approx(entropy, rel=1e-4)
    # Here even without penalty the bound is tight, since nothing goes below the entropy.
    assert solution.certificate.gap_bound < 1e-4


def test_without_penalty_separable_targets_have_no_optimum_and_it_says_so():
    base = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    features = torch.cat([base - 0.5, base + 0.5, base])
    problem = dataclasses.replace(
        small_problem(loss=CrossEntropyLoss(), target_l2=0.0),
        base_features=(base,),
        targets=((features, (features[:, 0] > 0).long()),),
    )
    solution = CrossEntropySolver(max_steps=3).solve(problem)
    assert solution.status is Status.STOPPED_EARLY
    assert solution.certificate.gap_bound > 0.5


@pytest.mark.parametrize("constraint", SETS)
def test_stopping_early_is_said_and_measured(constraint):
    problem = problem_of(constraint=SETS[constraint])
    fine = CrossEntropySolver(tolerance=1e-8, max_steps=3000).solve(problem)
    rough = CrossEntropySolver(tolerance=1e-8, max_steps=1).solve(problem)
    assert rough.status is Status.STOPPED_EARLY
    gained = (rough.objective - fine.objective) / rough.objective
    assert 0 < gained <= rough.certificate.gap_bound


def test_more_classes_than_the_targets_show_come_from_the_prior():
    problem = problem_of(prior=draw(5, 4), prior_weight=0.1)
    assert problem.num_classes == 4
    assert CrossEntropySolver().solve(problem).labels.shape == (5, 4)


def test_the_start_is_the_squared_loss_and_temperature_scales_free_labels():
    """Without penalty, labels `Y` at temperature `tau` are what `Y / tau` are at 1."""
    soft = (draw(40, 3).softmax(1) + 0.2) / 1.6
    problems = [
        dataclasses.replace(
            small_problem(m=3, loss=CrossEntropyLoss(t), target_l2=0.0),
            targets=((draw(40, 5, seed=3), soft),),
        )
        for t in (1.0, 0.25)
    ]
    plain, cold = (CrossEntropySolver().solve(one) for one in problems)
    assert plain.objective == pytest.approx(cold.objective, rel=1e-6)


def test_moments_are_refused_with_a_way_out():
    features, classes = draw(20, 3), torch.arange(20) % 3
    stats = moments(features, classes, 3)
    with pytest.raises(IncompatibleError, match=r"target.*examples.*\(features, labels\)"):
        solve_labels(features[:5], stats, loss="cross_entropy")
    with pytest.raises(IncompatibleError, match="use loss `squared`"):
        solve_labels(features[:5], stats, loss="cross_entropy", solver="cross-entropy")


def test_a_squared_loss_is_refused():
    problem = problem_of(loss=SquaredLoss())
    with pytest.raises(IncompatibleError, match="a loss that is `cross_entropy`"):
        CrossEntropySolver().solve(problem)
    with pytest.raises(IncompatibleError, match="a loss that is `quadratic`"):
        ProjectedSolver().solve(problem_of())
