"""The exact solve: linear least squares in the labels."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.linalg import least_squares
from cvxdistill.problem import Certificate, LabelProblem, LabelSolution, LabelSolver, Status


@dataclasses.dataclass(frozen=True)
class ExactSolver(LabelSolver):
    r"""Labels in closed form, for a squared loss without constraints.

    With the error on an extractor's target written as `|F Y - g|^2 + residual`, which every head
    linear in the labels can, the problem is

        min over Y of   mean_e |F_e Y - g_e|^2 / n_e + prior_weight |Y - Y0|^2,

    one least-squares problem with `m` unknowns a class and the same matrix for all classes. It is
    solved by a QR and the singular values, so labels of least norm (nearest to the prior) come out
    where the base features have more examples than rank.

    References:
        `docs/mathematics.md` derives it.
    """

    name: ClassVar[str] = "exact"
    requires: ClassVar = {
        "head": ("label_linear",),
        "loss": ("quadratic",),
        "constraint": ("trivial",),
    }
    remedy: ClassVar[str] = "Use head RidgeHead(), loss `squared` and constraint `free`."

    def _solve(self, problem: LabelProblem) -> LabelSolution:
        matrix, rhs = stacked_system(problem)
        like = problem.base_features[0]
        prior = torch.zeros(matrix.shape[1], rhs.shape[1], dtype=matrix.dtype, device=matrix.device)
        if problem.prior is not None:
            prior = problem.prior.to(prior)
        solved = least_squares(matrix, rhs - matrix @ prior, weight=problem.prior_weight)
        labels = prior + solved.solution
        pull = problem.prior_weight * (labels - prior)
        gradient = matrix.mT @ (matrix @ labels - rhs) + pull
        at_zero = matrix.mT @ rhs + problem.prior_weight * prior
        optimality = float(gradient.norm() / at_zero.norm().clamp_min(1e-300))
        certificate = certify(problem, labels, optimality=optimality)
        penalty = problem.prior_weight * float((labels - prior).square().sum())
        trusted = bool(torch.isfinite(labels).all()) and optimality <= 1e-6
        return LabelSolution(
            labels=labels.to(like.dtype),
            label_kind=problem.constraint.label_kind,
            status=Status.SOLVED if trusted else Status.FAILED,
            objective=certificate.objective + penalty,
            certificate=certificate,
            stats={
                "condition": solved.condition,
                "rank": float(solved.rank),
                "jitter": max(mapped.jitter for mapped in problem.label_maps),
            },
        )


def stacked_system(problem: LabelProblem) -> tuple[Tensor, Tensor]:
    """Return `K (P, m)` and `G (P, C)`: the objective is `|K Y - G|^2` plus a constant."""
    extractors = len(problem.label_roots)
    weights = [(extractors * part.count) ** -0.5 for part in problem.label_roots]
    pairs = list(zip(weights, problem.label_roots, strict=True))
    matrix = torch.cat([weight * part.root.factor for weight, part in pairs])
    return matrix, torch.cat([weight * part.root.rhs for weight, part in pairs])


def certify(problem: LabelProblem, labels: Tensor, *, optimality: float) -> Certificate:
    """Return the certificate of any `labels (m, C)` under a squared loss."""
    rank, full_rank = problem.base_rank
    gap, explained, full = 0.0, 0.0, 0.0
    for part in problem.label_roots:
        above = part.gap(labels)
        if above is None or part.full_value is None or part.explained is None:
            roots = problem.label_roots
            objective = sum(one.root.value(labels) / one.count for one in roots) / len(roots)
            return Certificate(objective, None, None, rank, full_rank, optimality)
        share = 1 / (part.count * len(problem.label_roots))
        gap += share * above
        explained += share * part.explained
        full += share * part.full_value
    return Certificate(
        objective=full + gap,
        full_objective=full,
        relative_gap=gap / max(explained, 1e-300),
        rank=rank,
        full_rank=full_rank,
        optimality=optimality,
    )
