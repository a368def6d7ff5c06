"""Squared loss under a constraint: a quadratic program in the labels, with a duality gap."""

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.linalg import QuadraticRoot, root_of_rows
from cvxdistill.problem import LabelProblem, LabelSolution, LabelSolver, Status
from cvxdistill.solvers.exact import certify, stacked_system
from cvxdistill.solvers.options import check_limits
from cvxdistill.solvers.quadratic import QuadraticProgram, largest_eigenvalue

# A gap below this share of the objective at zero labels is rounding.
FLOOR = 1e-13


@dataclasses.dataclass(frozen=True)
class ProjectedSolver(LabelSolver):
    r"""Labels in a convex set, for a squared loss; optimal to a proven gap.

    Choose it for labels on the simplex or in a box. As in the exact solve the problem is
    `min |K Y - G|^2 + prior_weight |Y - Y0|^2`, now over allowed `Y`. A QR leaves `m` rows of `K`,
    so that a step costs `m^2 C` whatever the target's size. Accelerated projected gradient steps
    with restarts come first; where they stall, on ill-conditioned features, an interior point
    method takes over. The gap is that of Frank and Wolfe, and needs no trust in either.

    Where the free minimiser is allowed, it is returned.

    Args:
        tolerance: of the gap, relative to the objective.
        max_steps: limit of projected gradient steps.

    Raises:
        InputError: options out of range.

    References:
        Beck and Teboulle 2009, https://doi.org/10.1137/080716542; Frank and Wolfe 1956,
        https://doi.org/10.1002/nav.3800030109

    Example:
        >>> from cvxdistill.solvers import solve_labels
        >>> g = torch.Generator().manual_seed(0)
        >>> features = torch.randn(50, 3, generator=g, dtype=torch.float64)
        >>> classes = (features[:, 0] > 0).long()
        >>> solution = solve_labels(features[:4], (features, classes), constraint="simplex")
        >>> solution.status.name, solution.certificate.gap_bound < 1e-6
        ('SOLVED', True)
    """

    tolerance: float = 1e-7
    max_steps: int = 20_000

    name: ClassVar[str] = "projected"
    requires: ClassVar = {
        "head": ("label_linear",),
        "loss": ("quadratic",),
        "constraint": ("convex", "exact_projection"),
    }
    remedy: ClassVar[str] = (
        "Use head RidgeHead(), loss `squared` and constraint `simplex` or `box`, or solver "
        "`gradient`, which gives no bound."
    )

    def __post_init__(self) -> None:
        check_limits(self.tolerance, self.max_steps)

    def _solve(self, problem: LabelProblem) -> LabelSolution:
        root, zero = reduce_problem(problem)
        program = QuadraticProgram(
            2 * root.factor.mT @ root.factor, 2 * root.factor.mT @ root.rhs, problem.constraint
        )
        floor = FLOOR * root.value(zero)
        free = root.minimiser()
        allowed = problem.constraint.project(free)
        steps = interior = 0
        if bool((allowed - free).abs().max() <= 1e-12 * free.abs().max().clamp_min(1.0)):
            # Both are optimal, by the free gradient; the gap of an endless set may not show it.
            labels, gap = allowed, max(root.value(allowed) - root.value(free), 0.0)
        else:
            goal = max(self.tolerance * root.value(free), floor)
            result = program.minimise(allowed, tolerance=goal, max_steps=self.max_steps)
            labels, gap = result.labels, result.gap
            steps, interior = result.steps, result.interior_steps
        return self._report(problem, program, root, labels, gap, (steps, interior))

    def _report(
        self,
        problem: LabelProblem,
        program: QuadraticProgram,
        root: QuadraticRoot,
        labels: Tensor,
        gap: float,
        steps: tuple[int, int],
    ) -> LabelSolution:
        value = root.value(labels)
        floor = FLOOR * root.value(torch.zeros_like(labels))
        bound = gap / max(value, floor, 1e-300)
        mapping = program.mapping(labels, largest_eigenvalue(program.matrix))
        optimality = float(mapping.norm() / program.linear.norm().clamp_min(1e-300))
        certificate = dataclasses.replace(
            certify(problem, labels, optimality=optimality),
            gap_bound=bound if math.isfinite(bound) else None,
        )
        status = (
            Status.SOLVED if gap <= max(self.tolerance * value, floor) else Status.STOPPED_EARLY
        )
        if not bool(torch.isfinite(labels).all()) or not math.isfinite(value):
            status = Status.FAILED
        pull = 0.0
        if problem.prior is not None:
            pull = problem.prior_weight * float((labels - problem.prior.to(labels)).square().sum())
        singular = torch.linalg.svdvals(root.factor)
        smallest = max(float(singular[-1]), 1e-300 * float(singular[0]), 1e-300)
        return LabelSolution(
            labels=labels.to(problem.base_features[0].dtype),
            label_kind=problem.constraint.label_kind,
            status=status,
            objective=certificate.objective + pull,
            certificate=certificate,
            stats={
                "condition": float(singular[0]) / smallest,
                "steps": float(steps[0]),
                "interior_steps": float(steps[1]),
            },
        )


def reduce_problem(problem: LabelProblem) -> tuple[QuadraticRoot, Tensor]:
    """Return the squared-loss objective, prior included, as `m` rows, and zero labels `(m, C)`.

    The residual is the whole constant: the value at any labels is the label objective there.
    """
    matrix, rhs = stacked_system(problem)
    rows = [(matrix, rhs)]
    if problem.prior is not None:
        weight = problem.prior_weight**0.5
        eye = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
        rows.append((weight * eye, weight * problem.prior.to(matrix)))
    root = root_of_rows(rows)
    extractors = len(problem.targets)
    constant = sum(t.root.residual / t.count for t in problem.label_roots) / extractors
    zero = torch.zeros(matrix.shape[1], rhs.shape[1], dtype=matrix.dtype, device=matrix.device)
    return dataclasses.replace(root, residual=root.residual + constant), zero
