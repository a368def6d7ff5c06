"""How well a ridge problem is conditioned, before or after a fit."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.errors import InputError
from cvxdistill.heads.design import seen_by_penalty, seen_trace
from cvxdistill.heads.ridge import RidgeHead, solve_penalised


@dataclasses.dataclass(frozen=True)
class Conditioning:
    """Numbers about the matrix that a ridge fit factorises.

    Attributes:
        condition: ratio of its largest to its smallest eigenvalue, the penalty included; about
            16 less its decimal logarithm digits of a solution are right.
        effective_rank: `sum_k v_k / (v_k + lam)` over the eigenvalues `v` without the penalty, the
            effective degrees of freedom: how many directions of the features the fit uses.
        jitter: what has to be added, relative to the mean diagonal, for a factor that can be
            trusted; 0 where nothing has to.
    """

    condition: float
    effective_rank: float
    jitter: float


def conditioning(features: Tensor, head: RidgeHead) -> Conditioning:
    """Return the conditioning of the fit of `head` to base `features (m, d)`.

    Use it to choose an `l2`, or to understand a fit that reports a jitter.

    Raises:
        InputError: not one finite matrix.
        SolveError: singular even with the last jitter of the ladder.

    References:
        Hastie, Tibshirani and Friedman 2009, "The elements of statistical learning", section
        3.4.1, https://hastie.su.domains/ElemStatLearn/

    Example:
        >>> Z = torch.diag(torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64))
        >>> found = conditioning(Z, RidgeHead(l2=1.0, l2_scale="absolute", intercept="none"))
        >>> round(found.condition, 9), round(found.effective_rank, 9), found.jitter
        (5.0, 1.3, 0.0)
    """
    check_matrix("features", features)
    if features.ndim != 2:
        raise InputError(f"`features` must be (m, d); got shape {tuple(features.shape)}.")
    with torch.no_grad():
        z, _ = seen_by_penalty(features, head.intercept)
        lam = head.penalty(seen_trace(z), len(z))
        gram = z @ z.mT if len(z) <= z.shape[1] else z.mT @ z
        _, jitter = solve_penalised(gram, lam, gram[:, :1])
        values = torch.linalg.svdvals(z).square()
    mean = float(gram.diagonal().mean() + lam)
    shift = float(lam) + jitter * mean
    least = float(values[-1]) + shift
    return Conditioning(
        condition=(float(values[0]) + shift) / least if least > 0 else float("inf"),
        effective_rank=float(torch.where(values > 0, values / (values + lam), 0.0).sum()),
        jitter=jitter,
    )
