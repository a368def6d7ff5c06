"""The exact solve: linear least squares in the labels."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.heads import stack
from cvxdistill.linalg import least_squares
from cvxdistill.problem import Certificate, LabelProblem, LabelSolution, LabelSolver, Status


@dataclasses.dataclass(frozen=True)
class ExactSolver(LabelSolver):
    r"""Labels in closed form, for a squared loss without constraints.

    With `V = B Y` the stacked head weights of an extractor and its target's error written as
    `|F V - g|^2 + residual`, the problem is

        min over Y of   mean_e |F_e B_e Y - g_e|^2 / n_e + prior_weight |Y - Y0|^2,

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
            stats={"condition": solved.condition, "rank": float(solved.rank)},
        )


def stacked_system(problem: LabelProblem) -> tuple[Tensor, Tensor]:
    """Return `K (P, m)` and `G (P, C)`: the objective is `|K Y - G|^2` plus a constant."""
    extractors = len(problem.base_features)
    blocks, rhs = [], []
    for mapped, target in zip(problem.label_maps, problem.target_roots, strict=True):
        weight = (extractors * target.count) ** -0.5
        full_map = torch.cat([mapped.weights, mapped.intercept[None]])
        blocks.append(weight * (target.root.factor @ full_map))
        rhs.append(weight * target.root.rhs)
    return torch.cat(blocks), torch.cat(rhs)


def certify(problem: LabelProblem, labels: Tensor, *, optimality: float) -> Certificate:
    """Return the certificate of any `labels (m, C)` under a squared loss."""
    gaps, explained, full = [], [], []
    for mapped, target in zip(problem.label_maps, problem.target_roots, strict=True):
        gaps.append(target.gap(mapped.fit(labels)) / target.count)
        explained.append(target.baseline_gap() / target.count)
        full.append(target.root.value(stack(target.full)) / target.count)
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    rank, full_rank = problem.base_rank
    return Certificate(
        objective=mean(full) + mean(gaps),
        full_objective=mean(full),
        relative_gap=mean(gaps) / max(mean(explained), 1e-300),
        rank=rank,
        full_rank=full_rank,
        optimality=optimality,
    )
