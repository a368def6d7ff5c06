"""Ridge regression, the head in closed form."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_matrix, check_positive
from cvxdistill.errors import SolveError
from cvxdistill.heads.base import LabelLinearHead
from cvxdistill.heads.fit import LabelMap, LinearFit
from cvxdistill.heads.target import SeenMoments, Target, TargetRoot

INTERCEPTS = ("free", "penalised", "none")
L2_SCALES = ("trace", "absolute")

# Share of the squared features that the rounding of their mean can leave after centring.
ROUNDING = (8 * torch.finfo(torch.float64).eps) ** 2


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
        check_choice("l2_scale", self.l2_scale, L2_SCALES)
        check_choice("intercept", self.intercept, INTERCEPTS)
        check_positive("l2", float(torch.as_tensor(self.l2).detach()), zero=True)

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
            weights = z.mT @ _solve(z @ z.mT, lam, y)
        else:
            weights = _solve(z.mT @ z, lam, z.mT @ y)
        if self.intercept == "free":
            offset = (y_mean - z_mean @ weights).squeeze(-2)
        else:
            weights, offset = self._split(weights, dim=-2)
        return LinearFit(weights.to(features.dtype), offset.to(features.dtype))

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
            weights = z.mT @ _solve(z @ z.mT, lam, eye)
        else:
            weights = _solve(z.mT @ z, lam, z.mT)
        if self.intercept != "free":
            return LabelMap(*self._split(weights, dim=-2))
        # Rows sum to zero in exact arithmetic, since the centred features do; saying so again
        # keeps a large 1/lam from magnifying the rounding of that sum.
        weights = weights - weights.mean(-1, keepdim=True)
        return LabelMap(weights, (1.0 / m - z_mean @ weights).squeeze(-2))

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

    def penalty(self, trace: Tensor, rows: int) -> Tensor:
        """Return `lam` for features with Gram trace `trace (...)` and `rows` examples."""
        l2 = torch.as_tensor(self.l2, dtype=torch.float64, device=trace.device)
        return l2 * trace / rows if self.l2_scale == "trace" else l2.expand(trace.shape)

    def _prepare(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        check_matrix("features", features)
        z = features.to(torch.float64)
        z_mean = z.mean(-2, keepdim=True)
        if self.intercept == "free":
            z = z - z_mean
        elif self.intercept == "penalised":
            z = torch.cat([z, z.new_ones(*z.shape[:-1], 1)], dim=-1)
        trace = z.square().sum((-2, -1))
        # Features that do not vary, as a single example's, leave a trace of rounding or of zero.
        # A penalty relative to that is none, and any positive one gives the right head, W = 0.
        rounding = features.detach().to(torch.float64).square().sum((-2, -1)) * ROUNDING
        trace = torch.where(trace > rounding, trace, float(z.shape[-2]))
        return z, z_mean, self.penalty(trace, z.shape[-2])

    def _split(self, weights: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
        """Part the row of a penalised intercept from the weights; zeros where there is none."""
        if self.intercept == "penalised":
            last = weights.shape[dim] - 1
            return weights.narrow(dim, 0, last), weights.select(dim, last)
        return weights, torch.zeros_like(weights.select(dim, 0))


def _solve(gram: Tensor, lam: Tensor, rhs: Tensor) -> Tensor:
    """Solve `(gram + lam I) X = rhs` by Cholesky, and refuse what is numerically singular."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    matrix = gram + lam[..., None, None] * eye
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool(info.any()) or _is_singular(matrix.detach(), lam.detach()):
        raise SolveError(
            "the ridge problem is singular: the features do not determine the head at this `l2` "
            f"(size {gram.shape[-1]}). Raise `l2` above zero."
        )
    return torch.cholesky_solve(rhs, factor)


def _is_singular(matrix: Tensor, lam: Tensor) -> bool:
    """Return whether a matrix that Cholesky let pass is singular up to rounding.

    Only a negligible `lam` leaves that open. Rows and columns are scaled to a unit diagonal first,
    so that features of very different units are not taken for dependent ones.
    """
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    rounding = 4 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    if bool((lam > rounding * diagonal.amax(-1)).all()):
        return False
    scale = diagonal.rsqrt()
    values = torch.linalg.eigvalsh(matrix * scale[..., :, None] * scale[..., None, :])
    return bool((values[..., 0] <= rounding).any())
