"""The contract of solvers, for every entry of `SOLVERS`."""

import dataclasses
import math

import pytest
import torch
from bare import BareConstraint, BareHead, BareLoss
from cases import SOLVER_CASES

from cvxdistill.errors import IncompatibleError
from cvxdistill.problem import Status
from cvxdistill.solvers import SOLVERS

CASES = [
    pytest.param((name, index), id=f"{name}-{index}")
    for name, build in SOLVER_CASES.items()
    if name in SOLVERS
    for index in range(len(build()))
]


@pytest.fixture(scope="module", params=CASES)
def solved(request):
    """A case with its solver and solution."""
    name, index = request.param
    case = SOLVER_CASES[name]()[index]
    solver = SOLVERS[name]()
    return case, solver, solver.solve(case.problem)


def test_every_solver_has_a_case():
    assert set(SOLVER_CASES) == set(SOLVERS), "give new solvers a case in tests/cases.py"
    for name, kind in SOLVERS.items():
        assert kind.name == name
        assert len(SOLVER_CASES[name]()) > 0


def test_labels_have_one_row_an_example_and_the_dtype_of_the_features(solved):
    case, _, solution = solved
    assert solution.labels.shape == (case.problem.num_examples, case.problem.num_classes)
    assert solution.labels.dtype == case.problem.base_features[0].dtype
    assert torch.isfinite(solution.labels).all()
    assert solution.label_kind == case.problem.constraint.label_kind


def test_it_is_solved_to_its_tolerance(solved):
    case, _, solution = solved
    assert solution.status is Status.SOLVED or not case.solves
    if solution.status is Status.SOLVED:
        assert 0 <= solution.certificate.optimality < case.optimality
    assert solution.raise_if_failed() is solution


def test_the_objective_is_what_the_labels_reach(solved):
    case, _, solution = solved
    expected = case.objective(case.problem, solution.labels)
    assert solution.objective == pytest.approx(expected, rel=1e-9)


def test_the_objective_is_not_above_that_of_zero_labels(solved):
    case, _, solution = solved
    zero = case.problem.constraint.project(torch.zeros_like(solution.labels))
    assert solution.objective <= case.objective(case.problem, zero)


def test_no_allowed_labels_nearby_do_better(solved):
    case, _, solution = solved
    if solution.status is not Status.SOLVED:
        pytest.skip("not claimed to be optimal")
    best = case.objective(case.problem, solution.labels)
    draws = torch.Generator().manual_seed(0)
    for step in (1e-3, 1e-1, 1.0):
        for _ in range(5):
            noise = torch.randn(solution.labels.shape, generator=draws, dtype=torch.float64)
            moved = case.problem.constraint.project(solution.labels + step * noise)
            # What the tolerance leaves open is second order in it.
            assert case.objective(case.problem, moved) >= best * (1 - case.optimality)


def test_the_constraint_holds(solved):
    case, _, solution = solved
    projected = case.problem.constraint.project(solution.labels)
    assert float((projected - solution.labels).abs().max()) < 1e-9


def test_equal_inputs_give_equal_bits(solved):
    case, solver, solution = solved
    again = solver.solve(case.problem)
    assert torch.equal(again.labels, solution.labels)
    assert again.objective == solution.objective
    assert again.certificate == solution.certificate


def test_the_certificate_is_consistent_and_can_be_written_down(solved):
    _, _, solution = solved
    record = solution.certificate.record()
    assert record["lossless"] == solution.certificate.lossless
    assert record["rank_deficit"] == max(record["full_rank"] - record["rank"], 0)
    if record["full_objective"] is not None:
        assert record["objective"] >= record["full_objective"] * (1 - 1e-12)
    assert all(value is None or math.isfinite(value) for value in record.values())
    numbers = [value for value in solution.stats.values() if isinstance(value, float | int)]
    assert all(math.isfinite(value) for value in numbers)


# Traits. ----------------------------------------------------------------------------------------


BARE = {"head": BareHead, "loss": BareLoss, "constraint": BareConstraint}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("part", BARE)
def test_what_a_solver_requires_is_asked_for_before_it_starts(name, part):
    solver = SOLVERS[name]()
    problem = SOLVER_CASES[name]()[0].problem
    assert solver.missing(problem) == []
    bare = dataclasses.replace(problem, **{part: BARE[part]()})
    required = [trait for trait in solver.requires.get(part, ()) if not getattr(BARE[part], trait)]
    if not required:
        pytest.skip(f"{name} requires nothing of the {part}")
    with pytest.raises(IncompatibleError, match=f"a {part} that is `{required[0]}`"):
        solver.solve(bare)
