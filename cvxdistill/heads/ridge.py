"""Ridge regression, the head in closed form."""

import dataclasses
import logging
from typing import Any, ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.errors import SolveError
from cvxdistill.heads.base import LabelLinearHead
from cvxdistill.heads.design import (
    absolute_penalty,
    check_options,
    seen_by_penalty,
    seen_trace,
    split_intercept,
)
from cvxdistill.heads.fit import LabelMap, LinearFit
from cvxdistill.heads.label_root import LinearLabelRoot
from cvxdistill.heads.target import SeenMoments, Target, TargetRoot

LOG = logging.getLogger(__name__)

# What is added to the diagonal, relative to its mean, until the factor can be trusted. A smaller
# start, 1e-14, passes for a factor but leaves several percent of rounding in the predictions.
JITTER_LADDER = (1e-12, 1e-11, 1e-10)


@dataclasses.dataclass(frozen=True)
class RidgeHead(LabelLinearHead):
    r"""Ridge regression on the features, differentiable in features, labels and `l2`.

    The first choice: exact, linear in the labels, differentiable twice, one Cholesky factorisation
    of the smaller Gram matrix. It minimises

        |Zb W + 1 b' - Y|^2 + lam |W|^2,    lam = l2 * trace(Kb) / m  or  l2,

    with `Kb` the Gram matrix of the features that the penalty sees: centred ones for a free
    intercept, with a column of ones for a penalised one. In the dual, used when `m <= d`,
    `W = Zc' (Kb + lam I)^-1 (Y - mean Y)`; in the primal `W = (Zc'Zc + lam I)^-1 Zc'Y`.
    Everything is computed in float64; dtype and device of the input come back.

    Where the matrix is numerically singular, as a tiny `l2` can make it, the smallest of three
    multiples of the identity (1e-12, 1e-11, 1e-10 of the mean diagonal) that makes the factor
    trustworthy is added; it is logged, and told by the `jitter` of what comes back.

    Args:
        l2: strength of the penalty; a number, or a scalar tensor to differentiate through.
        l2_scale: `trace` (relative to the mean squared norm of a feature row, so that one value
            suits every extractor) or `absolute` (scikit-learn's `alpha`).
        intercept: `free` (not penalised, as in scikit-learn), `penalised` (a column of ones inside
            the penalty, as in Bohdal et al. 2020), or `none`.

    Raises:
        InputError: unknown option, or a negative or non-finite `l2`.

    References:
        Bertinetto et al. 2019, "Meta-learning with differentiable closed-form solvers",
        https://arxiv.org/abs/1805.08136

    Example:
        >>> Z = torch.tensor([[-1.0], [1.0]])
        >>> fit = RidgeHead(l2=2.0, l2_scale="absolute").fit(Z, torch.tensor([[0.0], [2.0]]))
        >>> fit.weights.item(), fit.intercept.item()
        (0.5, 1.0)
    """

    l2: float | Tensor = 1e-3
    l2_scale: str = "trace"
    intercept: str = "free"

    double_backward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self.l2, self.l2_scale, self.intercept, zero=True)

    def fit(self, features: Tensor, labels: Tensor) -> LinearFit:
        """Fit to `features (..., m, d)` and `labels (..., m, C)`; one fit a leading index.

        Raises:
            InputError: shapes that do not fit, or entries that are not finite.
            SolveError: a singular problem, which only `l2 = 0` can give.
        """
        check_matrix("labels", labels, rows=features.shape[-2] if features.ndim > 1 else None)
        z, z_mean, lam = self._prepare(features)
        y = labels.to(z.dtype)
        y_mean = y.mean(-2, keepdim=True)
        if self.intercept == "free":
            y = y - y_mean
        if z.shape[-2] <= z.shape[-1]:
            solved, jitter = solve_penalised(z @ z.mT, lam, y)
            weights = z.mT @ solved
        else:
            weights, jitter = solve_penalised(z.mT @ z, lam, z.mT @ y)
        if self.intercept == "free":
            offset = (y_mean - z_mean @ weights).squeeze(-2)
        else:
            weights, offset = split_intercept(weights, self.intercept, dim=-2)
        return LinearFit(weights.to(features.dtype), offset.to(features.dtype), jitter)

    def factor(self, features: Tensor) -> LabelMap:
        """Return `A (..., d, m)` and `c (..., m)` in float64, with `W = A Y` and `b = c' Y`.

        Raises:
            InputError: not a finite matrix.
            SolveError: a singular problem, which only `l2 = 0` can give.
        """
        z, z_mean, lam = self._prepare(features)
        m = z.shape[-2]
        if m <= z.shape[-1]:
            eye = torch.eye(m, dtype=z.dtype, device=z.device).expand(*z.shape[:-1], m)
            solved, jitter = solve_penalised(z @ z.mT, lam, eye)
            weights = z.mT @ solved
        else:
            weights, jitter = solve_penalised(z.mT @ z, lam, z.mT)
        if self.intercept != "free":
            return LabelMap(*split_intercept(weights, self.intercept, dim=-2), jitter)
        # Rows sum to zero in exact arithmetic, since the centred features do; saying so again
        # keeps a large 1/lam from magnifying the rounding of that sum.
        weights = weights - weights.mean(-1, keepdim=True)
        return LabelMap(weights, (1.0 / m - z_mean @ weights).squeeze(-2), jitter)

    def target_root(self, target: Target, *, target_l2: float | None = None) -> TargetRoot:
        """Return the penalised squared error on the whole target, with its minimiser.

        Args:
            target: moments, or `(features (n, d), coded labels (n, C))`; from features a QR is
                taken that never squares the condition number.
            target_l2: strength of the penalty in this head's own scale; `None` for the head's own,
                0 for the plain squared error.

        Raises:
            InputError: no examples, or sizes that do not fit.
        """
        seen = SeenMoments.of(target, self.intercept)
        head = self if target_l2 is None else dataclasses.replace(self, l2=target_l2)
        return seen.root(float(head.penalty(seen.trace, seen.count).detach()))

    def label_root(
        self, mapped: LabelMap, target: Target, *, target_l2: float | None = None
    ) -> LinearLabelRoot:
        """Return the penalised squared error on the whole target as a function of the labels.

        Args:
            mapped: what `factor` gave for the base features.
            target: as in `target_root`.
            target_l2: as in `target_root`.

        Raises:
            InputError: no examples, or sizes that do not fit.
        """
        return LinearLabelRoot.of(mapped, self.target_root(target, target_l2=target_l2))

    def penalty(self, trace: Tensor, rows: float) -> Tensor:
        """Return `lam` for features with Gram trace `trace (...)` and `rows` examples."""
        return absolute_penalty(self.l2, self.l2_scale, trace, rows)

    def _prepare(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        check_matrix("features", features)
        z, z_mean = seen_by_penalty(features, self.intercept)
        return z, z_mean, self.penalty(seen_trace(z), z.shape[-2])


def solve_penalised(gram: Tensor, lam: Tensor, rhs: Tensor) -> tuple[Tensor, float]:
    """Solve `(gram + lam I) X = rhs` by Cholesky, with jitter where it is numerically singular.

    Returns:
        `X`, and the largest jitter of the batch relative to the mean diagonal, 0 where none was
        needed.

    Raises:
        SolveError: singular even with the last jitter of the ladder.
    """
    matrix = gram + torch.diag_embed(lam[..., None].expand(*gram.shape[:-1]))
    plain = matrix.detach()
    factor, info = torch.linalg.cholesky_ex(plain)
    bad = _untrusted(plain, lam.detach(), info)
    if bad is None:
        return _solve(matrix, factor, rhs), 0.0
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    mean = plain.diagonal(dim1=-2, dim2=-1).mean(-1)
    for jitter in JITTER_LADDER:
        # Only what is singular is touched: the other episodes of a batch stay as they are.
        added = torch.where(bad, jitter * mean, 0.0)
        shifted = plain + added[..., None, None] * eye
        factor, info = torch.linalg.cholesky_ex(shifted)
        if _untrusted(shifted, lam.detach() + added, info) is None:
            LOG.warning(
                "a ridge problem of size %d is numerically singular: %.0e of the mean diagonal "
                "was added to it. Raise `l2` to choose that number yourself.",
                len(eye),
                jitter,
            )
            return _solve(matrix, factor, rhs), jitter
    raise SolveError(
        "the ridge problem is singular: the features do not determine the head at this `l2` "
        f"(size {gram.shape[-1]}), even with {JITTER_LADDER[-1]:.0e} of the mean diagonal added. "
        "Raise `l2` above zero."
    )


class _Solve(torch.autograd.Function):
    """`A^-1 B` for a symmetric `A`, differentiated with the factor at hand.

    Two triangular solves in place of the derivative of the factorisation; the backward pass is a
    solve again, so every order of derivative follows.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, factor: Tensor, rhs: Tensor) -> Tensor:
        solved = torch.cholesky_solve(rhs, factor)
        ctx.save_for_backward(matrix, factor, solved)
        ctx.rhs_shape = rhs.shape
        return solved

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor]:
        matrix, factor, solved = ctx.saved_tensors
        adjoint = _solve(matrix, factor, grads[0])
        towards_matrix = None
        if ctx.needs_input_grad[0]:
            # Labels may have leading sizes that the features lack, and the other way round.
            towards_matrix = -(adjoint @ solved.mT).sum_to_size(matrix.shape)
        return towards_matrix, None, adjoint.sum_to_size(ctx.rhs_shape)


def _solve(matrix: Tensor, factor: Tensor, rhs: Tensor) -> Tensor:
    if not (matrix.requires_grad and torch.is_grad_enabled()):
        return torch.cholesky_solve(rhs, factor)
    solved: Tensor = _Solve.apply(matrix, factor, rhs)
    return solved


def _untrusted(matrix: Tensor, lam: Tensor, info: Tensor) -> Tensor | None:
    """Return which matrices are singular up to rounding, though Cholesky may have let them pass.

    Only a negligible `lam` leaves that open. Rows and columns are then scaled to a unit diagonal,
    so that features of very different units are not taken for dependent ones.
    """
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    rounding = 4 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    safe = (info == 0) & (lam > rounding * diagonal.amax(-1))
    if bool(safe.all()):
        return None
    scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    values = torch.linalg.eigvalsh(matrix * scale[..., :, None] * scale[..., None, :])
    bad = ~safe & ~((info == 0) & (values[..., 0] > rounding))
    return bad if bool(bad.any()) else None
