"""First-order labels: gradients, what they reach, and what they do not claim."""

import dataclasses
import math

import pytest
import torch
from cases import draw, draw_labels, moments, small_problem
from truths import label_objective

from cvxdistill.errors import IncompatibleError, InputError
from cvxdistill.heads import KernelRidgeHead, LogisticHead, RidgeHead, SVMHead
from cvxdistill.labels import (
    Box,
    ClampRenormalise,
    CrossEntropyLoss,
    Free,
    HingeLoss,
    Simplex,
    SquaredLoss,
    TopK,
)
from cvxdistill.problem import Status
from cvxdistill.solvers import (
    CrossEntropySolver,
    ExactSolver,
    GradientSolver,
    ProjectedSolver,
    solve_labels,
)
from cvxdistill.solvers.autograd import StochasticObjective
from cvxdistill.solvers.descent import frank_wolfe


def objective_by_fit(problem, labels):
    """Return the objective from `head.fit` alone, with half a penalty for nonlinear heads."""
    total = (
        problem.prior_weight * (labels - problem.prior).square().sum()
        if problem.prior is not None
        else 0.0
    )
    for base, (features, classes) in zip(problem.base_features, problem.targets, strict=True):
        fit = problem.head.fit(base, labels)
        coded = problem.loss.code(classes, num_classes=problem.num_classes)
        penalty = 0.5 * float(problem.head.l2) * fit.weights.square().sum() / len(features)
        part = problem.loss.value(fit(features), coded) + penalty
        total = total + part / len(problem.base_features)
    return total


def test_the_full_pass_is_value_and_gradient_through_the_fit():
    problem = small_problem(
        widths=(4, 7),
        head=LogisticHead(l2=0.5),
        loss=CrossEntropyLoss(),
        prior=draw(6, 3),
        prior_weight=0.1,
    )
    labels = draw_labels(6, 3)
    at = StochasticObjective(problem).full(labels)
    leaf = labels.clone().requires_grad_()
    value = objective_by_fit(problem, leaf)
    assert at.value == pytest.approx(float(value.detach()), rel=1e-10)
    assert torch.allclose(at.gradient, torch.autograd.grad(value, leaf)[0], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    "head",
    [RidgeHead(l2=0.1), KernelRidgeHead(kernel="rbf", l2=0.1, l2_scale="absolute")],
    ids=["ridge", "kernel"],
)
def test_the_gradient_of_a_linear_head_agrees_with_finite_differences(head):
    problem = small_problem(head=head, loss=CrossEntropyLoss(), prior=draw(6, 3), prior_weight=0.1)
    objective, labels, direction = StochasticObjective(problem), draw(6, 3, seed=5), draw(6, 3)
    step = 1e-5
    rise = objective.full(labels + step * direction).value
    rise -= objective.full(labels - step * direction).value
    slope = float((objective.full(labels).gradient * direction).sum())
    assert slope == pytest.approx(rise / (2 * step), rel=1e-6)


def test_a_sample_is_unbiased():
    problem = small_problem(widths=(4, 5), loss=HingeLoss())
    objective, labels = StochasticObjective(problem), draw(6, 3)
    draws = torch.Generator().manual_seed(0)
    samples = torch.stack([objective.sample(labels, draws, 8) for _ in range(3000)])
    error = float(samples.std()) / 3000**0.5
    assert abs(float(samples.mean()) - objective.full(labels).value) < 4 * error


def test_it_comes_near_the_exact_solution():
    problem = small_problem(m=4, widths=(7,), head=RidgeHead(l2=0.1))
    exact = ExactSolver().solve(problem)
    solution = GradientSolver(max_steps=600, batch_size=40, tolerance=1e-6).solve(problem)
    assert solution.objective == pytest.approx(exact.objective, rel=2e-2)
    assert solution.objective >= exact.objective


def test_it_comes_near_the_solvers_with_a_bound():
    problem = small_problem(m=4, widths=(7,), constraint=Simplex(), head=RidgeHead(l2=0.1))
    convex = dataclasses.replace(problem, loss=CrossEntropyLoss(0.3))
    for one, solver in ((problem, ProjectedSolver()), (convex, CrossEntropySolver())):
        best = solver.solve(one).objective
        solution = GradientSolver(max_steps=600, batch_size=40, tolerance=1e-4).solve(one)
        gained = (solution.objective - best) / solution.objective
        assert -1e-4 < gained <= solution.certificate.gap_bound + 1e-4
        assert gained < 1e-2


def test_the_bound_of_a_hinge_covers_what_more_steps_gain():
    problem = small_problem(loss=HingeLoss(), constraint=Box())
    rough = GradientSolver(max_steps=10).solve(problem)
    fine = GradientSolver(max_steps=1000).solve(problem)
    assert fine.objective < rough.objective
    assert (rough.objective - fine.objective) / rough.objective <= rough.certificate.gap_bound


@pytest.mark.parametrize("head", [LogisticHead(l2=0.5), SVMHead(l2=0.5)], ids=["logistic", "svm"])
@pytest.mark.parametrize("constraint", [Simplex(), TopK(k=2), ClampRenormalise()], ids=repr)
def test_heads_that_are_not_linear_in_the_labels_improve_without_a_claim(head, constraint):
    problem = small_problem(head=head, constraint=constraint, loss=CrossEntropyLoss())
    solution = GradientSolver(max_steps=15).solve(problem)
    certificate = solution.certificate
    assert solution.objective <= solution.stats["objective_start"]
    assert certificate.gap_bound is certificate.relative_gap is certificate.full_objective is None
    assert "no bound" in str(certificate)
    assert solution.label_kind == "distribution"


def test_a_nonconvex_problem_has_no_bound():
    problem = small_problem(head=LogisticHead(), loss=CrossEntropyLoss(), constraint=Simplex())
    at = StochasticObjective(problem).full(draw_labels(6, 3))
    assert frank_wolfe(problem, at) is None
    convex = dataclasses.replace(problem, head=RidgeHead())
    assert frank_wolfe(convex, StochasticObjective(convex).full(draw_labels(6, 3))) > 0


def test_one_step_is_stopping_early_and_divergence_is_not_hidden():
    problem = small_problem(loss=HingeLoss())
    assert GradientSolver(max_steps=1).solve(problem).status is Status.STOPPED_EARLY
    wild = GradientSolver(optimiser="sgd", learning_rate=1e200, max_steps=50).solve(problem)
    # The start is the best that was seen, and is what comes back.
    assert wild.status is Status.STOPPED_EARLY
    assert math.isfinite(wild.objective)
    assert wild.objective == pytest.approx(label_objective(problem, torch.zeros(6, 3)))


def test_the_seed_decides_the_batches():
    problem = small_problem(loss=HingeLoss(), widths=(4, 5))
    labels = [
        GradientSolver(max_steps=20, batch_size=4, seed=s).solve(problem).labels for s in (0, 0, 1)
    ]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_it_is_what_solve_labels_falls_back_on():
    base, target = draw(6, 3), (draw(30, 3, seed=1), torch.arange(30) % 3)
    solution = solve_labels(base, target, loss="hinge", constraint="top-k")
    assert solution.stats["steps"] > 0
    assert solution.certificate.gap_bound is not None


def test_starts():
    problem = small_problem(loss=HingeLoss(), prior=draw(6, 3), prior_weight=0.1)
    objective = label_objective(problem, problem.prior)
    assert GradientSolver(max_steps=1).solve(problem).stats["objective_start"] == pytest.approx(
        objective
    )
    start = draw(6, 3, seed=8)
    given = GradientSolver(max_steps=1, start=start).solve(problem)
    assert given.stats["objective_start"] == pytest.approx(label_objective(problem, start))
    with pytest.raises(InputError, match=r"`start` must be of shape \(6, 3\)"):
        GradientSolver(start=start[:5]).solve(problem)


def test_what_cannot_be_solved_names_a_way_out():
    features, classes = draw(20, 3), torch.arange(20) % 3
    stats = moments(features, classes, 3)
    with pytest.raises(IncompatibleError, match=r"target.*examples.*Give each target as"):
        solve_labels(features[:5], stats, head=LogisticHead())
    kernel = small_problem(head=KernelRidgeHead(kernel="rbf", l2_scale="trace"), loss=HingeLoss())
    with pytest.raises(IncompatibleError, match=r"target_l2=0\.0"):
        GradientSolver().solve(kernel)
    assert GradientSolver(max_steps=2).solve(dataclasses.replace(kernel, target_l2=0.0)).objective


@pytest.mark.parametrize(
    "options",
    [{"optimiser": "lion"}, {"learning_rate": 0.0}, {"max_steps": 0}, {"batch_size": 0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        GradientSolver(**options)


def test_a_squared_loss_has_the_certificate_against_the_full_data_head():
    problem = small_problem(loss=SquaredLoss(), constraint=TopK(k=2))
    solution = GradientSolver(max_steps=50).solve(problem)
    assert solution.certificate.relative_gap > 0
    free = ExactSolver().solve(dataclasses.replace(problem, constraint=Free()))
    assert solution.objective >= free.objective
    assert solution.certificate.full_objective < solution.objective
