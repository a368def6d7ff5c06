"""What every head does to its arguments first: checks, float64, centring, the scale of `l2`."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_matrix, check_positive

INTERCEPTS = ("free", "penalised", "none")
L2_SCALES = ("trace", "absolute")
# Share of the squared features that the rounding of their mean can leave after centring.
ROUNDING = (8 * torch.finfo(torch.float64).eps) ** 2


def check_options(l2: float | Tensor, l2_scale: str, intercept: str, *, zero: bool) -> None:
    """Check the hyper-parameters that all heads share; `zero` allows `l2 = 0`.

    Raises:
        InputError: unknown option, or a negative or non-finite `l2`.
    """
    check_choice("l2_scale", l2_scale, L2_SCALES)
    check_choice("intercept", intercept, INTERCEPTS)
    check_positive("l2", float(l2.detach() if isinstance(l2, Tensor) else l2), zero=zero)


def absolute_penalty(l2: float | Tensor, l2_scale: str, trace: Tensor, rows: float) -> Tensor:
    """Return `lam` for features with Gram trace `trace (...)` and `rows` examples.

    Example:
        >>> absolute_penalty(0.5, "trace", torch.tensor(6.0, dtype=torch.float64), 3).item()
        1.0
    """
    value = torch.as_tensor(l2, dtype=torch.float64, device=trace.device)
    if l2_scale == "absolute":
        return value.expand(trace.shape)
    return value * trace / rows


def seen_trace(seen: Tensor) -> Tensor:
    """Return the Gram trace `(...)` of features as the penalty sees them, `(..., m, d)`.

    Features that do not vary, as a single example's, leave a trace of zero once centred. A penalty
    relative to that is none, and any positive one gives the right head, weights of zero; so the
    trace of unit rows stands in.
    """
    trace = seen.square().sum((-2, -1)) if seen.requires_grad else _squared_norm(seen)
    flat = trace == 0
    return torch.where(flat, float(seen.shape[-2]), trace) if bool(flat.any()) else trace


def seen_by_penalty(features: Tensor, intercept: str) -> tuple[Tensor, Tensor]:
    """Return features as the penalty sees them, and their mean `(..., 1, d)`, in float64.

    Centred for a free intercept, with a column of ones for a penalised one.
    """
    z = features.to(torch.float64)
    mean = z.mean(-2, keepdim=True)
    if intercept == "free":
        centred = z - mean
        # Features that do not vary are left with the rounding of their mean, which is no variation:
        # a penalty relative to it would be none.
        flat = _squared_norm(centred) <= ROUNDING * _squared_norm(z)
        if bool(flat.any()):
            centred = torch.where(flat[..., None, None], 0.0, centred)
        return centred, mean
    if intercept == "penalised":
        return torch.cat([z, z.new_ones(*z.shape[:-1], 1)], dim=-1), mean
    return z, mean


def _squared_norm(matrix: Tensor) -> Tensor:
    """Return `|Z|^2 (...)` without gradients, in one pass and without a copy."""
    norm: Tensor = torch.linalg.vector_norm(matrix.detach(), dim=(-2, -1))
    return norm.square()


def split_intercept(weights: Tensor, intercept: str, *, dim: int) -> tuple[Tensor, Tensor]:
    """Part the row of a penalised intercept from the weights; zeros where there is none."""
    if intercept == "penalised":
        last = weights.shape[dim] - 1
        return weights.narrow(dim, 0, last), weights.select(dim, last)
    return weights, torch.zeros_like(weights.select(dim, 0))


def check_pair(features: Tensor, labels: Tensor) -> None:
    """Check that features and labels are finite matrices with equally many rows.

    Raises:
        InputError: otherwise.
    """
    check_matrix("features", features)
    check_matrix("labels", labels, rows=features.shape[-2])


@dataclasses.dataclass(frozen=True, eq=False)
class RowSpace:
    """An orthonormal basis of the span of the rows of `Z (m, d)`, where `m < d`.

    A quadratic penalty keeps the weights in that span, so a fit in its coordinates `Z Q (m, r)`,
    `r = min(m, d)`, is exact and costs what the smaller of `m` and `d` costs.

    Attributes:
        basis: `Q (d, r)`, or `None` for the whole space.
        coordinates: `Z Q (m, r)`.
    """

    basis: Tensor | None
    coordinates: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "RowSpace":
        """Take the basis from a QR of the transpose."""
        m, d = features.shape
        if m >= d:
            return cls(None, features)
        basis, triangle = torch.linalg.qr(features.mT)
        return cls(basis, triangle.mT)

    def up(self, weights: Tensor) -> Tensor:
        """Return weights `(d, C)` of coordinates `(r, C)`."""
        return weights if self.basis is None else self.basis @ weights

    def down(self, weights: Tensor) -> Tensor:
        """Return the coordinates `(r, C)` of the part of `weights (d, C)` in the span."""
        return weights if self.basis is None else self.basis.mT @ weights
