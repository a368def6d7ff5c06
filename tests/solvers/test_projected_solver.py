"""Squared loss under a constraint: against other solvers, by its certificate, at special cases."""

import dataclasses
import json

import cvxpy as cp
import pytest
import torch
from cases import draw, small_problem
from label_oracles import ill_conditioned, squared_by
from truths import label_objective

from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import Box, Simplex
from cvxdistill.problem import Status
from cvxdistill.solvers import ExactSolver, ProjectedSolver, build_problem
from cvxdistill.solvers.interior import InteriorPoint
from cvxdistill.solvers.projected import reduce_problem
from cvxdistill.solvers.quadratic import QuadraticProgram

SETS = {"simplex": Simplex(), "box": Box()}


def problem_of(condition: float, constraint: str, *, m: int = 20, d: int = 12, l2: float = 1e-3):
    base, features, classes = ill_conditioned(m, 400, d, 4, condition)
    return build_problem(base, (features, classes), head=RidgeHead(l2=l2), constraint=constraint)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e6])
@pytest.mark.parametrize("constraint", SETS)
@pytest.mark.parametrize("oracle", [cp.CLARABEL, cp.OSQP])
def test_the_objective_is_that_of_other_solvers(condition, constraint, oracle):
    problem = problem_of(condition, constraint)
    solution = ProjectedSolver().solve(problem)
    root, _ = reduce_problem(problem)
    accuracy = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 100_000}
    found = squared_by(
        oracle,
        root.factor.numpy(),
        root.rhs.numpy(),
        constraint,
        **(accuracy if oracle == cp.OSQP else {}),
    )
    allowed = problem.constraint.project(torch.from_numpy(found))
    assert solution.status is Status.SOLVED
    assert solution.certificate.gap_bound <= 1e-6
    assert solution.objective == pytest.approx(root.value(allowed), rel=1e-6)
    assert solution.objective <= root.value(allowed) * (1 + 1e-7)


@pytest.mark.parametrize("constraint", SETS)
def test_the_gap_is_a_bound(constraint):
    """A rough solution's certificate must cover what a fine one gains."""
    problem = problem_of(1e3, constraint)
    fine = ProjectedSolver(tolerance=1e-10).solve(problem).objective
    for steps in (1, 3, 10, 40):
        rough = ProjectedSolver(max_steps=steps).solve(problem)
        assert rough.status is Status.STOPPED_EARLY
        assert rough.objective - fine <= rough.certificate.gap_bound * rough.objective * (1 + 1e-9)
        assert rough.certificate.gap_bound > 1e-7


@pytest.mark.parametrize("limits", [(-50.0, 50.0), (-float("inf"), float("inf"))])
def test_a_wide_box_is_no_constraint(limits):
    problem = small_problem(m=4, widths=(7, 5))
    exact = ExactSolver().solve(problem)
    boxed = ProjectedSolver().solve(dataclasses.replace(problem, constraint=Box(*limits)))
    assert torch.allclose(boxed.labels, exact.labels, atol=1e-9)
    assert boxed.certificate.gap_bound < 1e-12


def test_the_free_solution_is_kept_where_it_is_allowed():
    weights = draw(6, 3).softmax(1)
    problem = small_problem(prior=weights, prior_weight=1e9)
    on = dataclasses.replace(problem, constraint=Simplex())
    assert torch.allclose(
        ProjectedSolver().solve(on).labels, ExactSolver().solve(problem).labels, atol=1e-6
    )


@pytest.mark.parametrize("low", [0.0, 0.2])
def test_a_set_without_end_has_a_bound_too(low):
    problem = dataclasses.replace(problem_of(1e3, "box", m=8), constraint=Box(low, float("inf")))
    solution = ProjectedSolver().solve(problem)
    wide = dataclasses.replace(problem, constraint=Box(low, 1e3))
    assert solution.certificate.gap_bound <= 1e-6
    assert solution.objective == pytest.approx(ProjectedSolver().solve(wide).objective, rel=1e-6)


def test_the_prior_pulls_the_labels():
    prior = torch.eye(3, dtype=torch.float64).repeat(2, 1)
    free = small_problem(constraint=Simplex())
    labels = [
        ProjectedSolver().solve(dataclasses.replace(free, prior=prior, prior_weight=weight)).labels
        for weight in (1e-6, 1e-1, 1e6)
    ]
    distances = [float((one - prior).norm()) for one in labels]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-5


def test_the_objective_is_the_formula():
    problem = small_problem(
        widths=(4, 7), constraint=Box(), prior=draw(6, 3), prior_weight=0.3, target_l2=0.01
    )
    solution = ProjectedSolver().solve(problem)
    assert solution.objective == pytest.approx(label_objective(problem, solution.labels), rel=1e-10)


@pytest.mark.parametrize("constraint", [Simplex(), Box(0.1, 0.4), Box(0.0, float("inf"))], ids=repr)
def test_the_interior_point_method_meets_the_optimality_conditions(constraint):
    root = draw(8, 8)
    program = QuadraticProgram(root.mT @ root, 3 * draw(8, 3, seed=1), constraint)
    solver = InteriorPoint(program.matrix, program.linear, constraint.limits)
    for _ in range(25):
        if not solver.step() or program.gap(constraint.project(solver.labels)) < 1e-9:
            break
    labels = constraint.project(solver.labels)
    moved = constraint.project(labels - program.gradient(labels))
    assert float((labels - moved).abs().max()) < 1e-4
    assert program.gap(labels) < 1e-8


def test_first_order_steps_alone_reach_the_optimum_of_an_easy_problem():
    root = torch.eye(6, dtype=torch.float64) + 0.1 * draw(6, 6)
    program = QuadraticProgram(root.mT @ root, draw(6, 3, seed=1), Simplex())
    result = program.minimise(torch.zeros(6, 3).double(), tolerance=1e-10, max_steps=300)
    assert result.gap <= 1e-10
    assert result.interior_steps == 0


def test_the_certificate_can_be_read_and_written():
    certificate = ProjectedSolver().solve(problem_of(1e1, "simplex")).certificate
    assert "best labels are at most" in str(certificate)
    assert "\n" not in str(certificate)
    record = json.loads(json.dumps(certificate.record(), allow_nan=False))
    assert record["gap_bound"] == certificate.gap_bound
    broken = dataclasses.replace(certificate, objective=float("nan"), gap_bound=float("inf"))
    assert broken.record()["objective"] is broken.record()["gap_bound"] is None


def test_nan_in_the_features_is_refused():
    problem = problem_of(1e1, "simplex")
    bad = problem.base_features[0].clone()
    bad[3, 0] = float("nan")
    with pytest.raises(InputError, match=r"must be finite.*row 3"):
        dataclasses.replace(problem, base_features=(bad,))


def test_badly_scaled_features_are_solved_or_say_so():
    problem = problem_of(1e6, "simplex", l2=1e-9)
    scaled = dataclasses.replace(
        problem,
        base_features=(1e8 * problem.base_features[0],),
        targets=((1e8 * problem.targets[0][0], problem.targets[0][1]),),
    )
    small, large = (ProjectedSolver().solve(one) for one in (problem, scaled))
    assert small.status is large.status is Status.SOLVED
    assert large.objective == pytest.approx(small.objective, rel=1e-6)


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"max_steps": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ProjectedSolver(**options)
