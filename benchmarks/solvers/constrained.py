"""Squared loss on the simplex and in a box: our solver, CLARABEL and OSQP."""

import time
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from benchmarks.solvers.problems import Pool
from cvxdistill.heads import RidgeHead
from cvxdistill.problem import LabelProblem
from cvxdistill.solvers import ProjectedSolver, build_problem
from cvxdistill.solvers.projected import reduce_problem
from cvxdistill.solvers.quadratic import QuadraticProgram

# Settings at which both agree with our optimum to 1e-6 on all problems here.
RIVALS: dict[str, dict[str, Any]] = {
    "CLARABEL": {},
    "OSQP": {"eps_abs": 1e-7, "eps_rel": 1e-7, "max_iter": 200_000},
}


def measure(name: str, pool: Pool, *, l2: float, repeats: int) -> list[dict[str, Any]]:
    """Return one row a set of labels: objectives, gap, seconds, and the ratio of seconds."""
    rows = []
    for constraint in ("simplex", "box"):
        problem = build_problem(
            pool.bases[0],
            (pool.targets[0], pool.labels),
            head=RidgeHead(l2=l2),
            constraint=constraint,
        )
        rows.append({"problem": name, "l2": l2, **_compare(problem, constraint, repeats)})
    return rows


def _compare(problem: LabelProblem, constraint: str, repeats: int) -> dict[str, Any]:
    solution = ProjectedSolver().solve(problem)
    root, _ = reduce_problem(problem)
    matrix, rhs = root.factor.numpy(), root.rhs.numpy()
    seconds: dict[str, list[float]] = {"cvxdistill": [], **{name: [] for name in RIVALS}}
    objectives, failures = {"cvxdistill": solution.objective}, {}
    # Taking turns, so that a slow minute hits all of them.
    for _ in range(repeats):
        began = time.perf_counter()
        program = QuadraticProgram(
            2 * root.factor.mT @ root.factor, 2 * root.factor.mT @ root.rhs, problem.constraint
        )
        free = root.minimiser()
        goal = ProjectedSolver().tolerance * root.value(free)
        program.minimise(problem.constraint.project(free), tolerance=goal, max_steps=20_000)
        seconds["cvxdistill"].append(time.perf_counter() - began)
        for name, options in RIVALS.items():
            asked, labels = _model(matrix, rhs, constraint)
            try:
                asked.solve(solver=name, **options)
            except cp.SolverError as error:
                failures[name] = str(error)
                continue
            # The solver's own clock: compiling the model is not counted against it.
            seconds[name].append(asked.solver_stats.solve_time)
            allowed = problem.constraint.project(torch.from_numpy(labels.value))
            objectives[name] = root.value(allowed)
    # What else the machine does only ever adds to a time, so the fastest turn is the fairest.
    fastest = {name: min(values) for name, values in seconds.items() if values}
    others = [fastest[name] for name in RIVALS if name in fastest]
    apart = [
        abs(objectives[name] / solution.objective - 1) for name in RIVALS if name in objectives
    ]
    return {
        "constraint": constraint,
        "condition": solution.stats["condition"],
        "status": solution.status.name,
        "gap_bound": solution.certificate.gap_bound,
        "steps": solution.stats["steps"],
        "interior_steps": solution.stats["interior_steps"],
        "objectives": objectives,
        "failures": failures,
        "largest_relative_difference": max(apart),
        "seconds": fastest,
        "faster_than_the_faster_other": min(others) / fastest["cvxdistill"],
    }


def _model(matrix: np.ndarray, rhs: np.ndarray, constraint: str) -> tuple[cp.Problem, cp.Variable]:
    labels = cp.Variable((matrix.shape[1], rhs.shape[1]))
    limits = [labels >= 0]
    limits += [cp.sum(labels, axis=1) == 1] if constraint == "simplex" else [labels <= 1]
    return cp.Problem(cp.Minimize(cp.sum_squares(matrix @ labels - rhs)), limits), labels
