r"""A hundred values of `l2` for the price of one: ridge solutions along a path.

With one eigendecomposition of the smaller Gram matrix, of base features or of a target's moments,
every `l2` costs a rescaling: no refit, no grid search.

Leave-one-out errors are exact. With `P` the projection that a free intercept makes (the identity
without one) and `G = P (Kb + lam I)^-1 P` on the centred features, refitting without example `i`
misses its label by `(G Y)_i / G_ii`.

References:
    Golub, Heath and Wahba 1979, "Generalized cross-validation as a method for choosing a good
    ridge parameter", https://doi.org/10.1080/00401706.1979.10489751
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix, check_positive
from cvxdistill.errors import InputError
from cvxdistill.heads.design import check_pair, seen_by_penalty, seen_trace
from cvxdistill.heads.fit import LinearFit
from cvxdistill.heads.ridge import RidgeHead
from cvxdistill.heads.target import SeenMoments, Target


@dataclasses.dataclass(frozen=True, eq=False)
class RidgePath:
    """Ridge fits at `L` values of `l2`, float64.

    Attributes:
        l2s: `(L,)`, in the head's own scale.
        penalties: the same as absolute penalties `lam`.
        weights: `(L, d, C)`.
        intercept: `(L, C)`.
        predictions: `(L, n, C)` on the query, if one was given.
        loo_squared: `(L,)`, mean over examples of the squared leave-one-out error of a row.
        loo_accuracy: `(L,)`, share of examples whose largest label the fit without them finds.
    """

    l2s: Tensor
    penalties: Tensor
    weights: Tensor
    intercept: Tensor
    predictions: Tensor | None = None
    loo_squared: Tensor | None = None
    loo_accuracy: Tensor | None = None

    def fit(self, index: int) -> LinearFit:
        """Return the fit at `l2s[index]`."""
        return LinearFit(self.weights[index], self.intercept[index])

    def predict(self, query: Tensor) -> Tensor:
        """Return logits `(L, n, C)` of `query (n, d)`."""
        return query.to(torch.float64) @ self.weights + self.intercept.unsqueeze(-2)


def ridge_path(
    features: Tensor,
    labels: Tensor,
    l2s: Sequence[float] | Tensor,
    *,
    head: RidgeHead | None = None,
    query: Tensor | None = None,
) -> RidgePath:
    """Fit a ridge head at many `l2`, with leave-one-out errors and predictions on a query.

    Choose `l2` by `loo_squared` or `loo_accuracy` where there is no validation set, and by the
    predictions on one where there is. A left-out example leaves the penalty `lam` as it is.

    Args:
        features: `(m, d)`.
        labels: `(m, C)`.
        l2s: values in the scale of `head`.
        head: whose `l2_scale` and `intercept` count, not its `l2`; `RidgeHead()` when not given.
        query: `(n, d)`, such as validation features.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, or `l2` below zero.

    Example:
        >>> Z = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> path = ridge_path(Z, 2 * Z, [0.1, 1.0, 10.0])
        >>> int(path.loo_squared.argmin())
        0
    """
    head = head or RidgeHead()
    check_pair(features, labels)
    if features.ndim != 2:
        raise InputError(f"`features` must be (m, d); got shape {tuple(features.shape)}.")
    with torch.no_grad():
        z, mean = seen_by_penalty(features, head.intercept)
        y = labels.to(torch.float64)
        free = head.intercept == "free"
        label_mean = y.mean(0) if free else torch.zeros_like(y[0])
        spectrum = _Spectrum.of(z, free=free)
        l2, lam = _penalties(head, l2s, seen_trace(z), len(z))
        weights = spectrum.weights(z, y - label_mean, lam)
        path = _path(head, l2, lam, weights, mean.squeeze(0), label_mean)
        missed = spectrum.left_out(y - label_mean, lam)
        found = (y - missed).argmax(-1) == y.argmax(-1)
        if query is not None:
            check_matrix("query", query, columns=features.shape[1])
        return dataclasses.replace(
            path,
            predictions=None if query is None else path.predict(query),
            loo_squared=missed.square().sum(-1).mean(-1),
            loo_accuracy=found.to(torch.float64).mean(-1),
        )


def full_data_path(
    target: Target, l2s: Sequence[float] | Tensor, *, head: RidgeHead | None = None
) -> RidgePath:
    """Fit the full-data ridge head at many `l2` from one eigendecomposition of its moments.

    Use it to choose the full-data head's `l2` by predictions on validation features.

    Args:
        target: moments, or `(features (n, d), coded labels (n, C))`, of which moments are taken.
        l2s: values in the scale of `head`.
        head: whose `l2_scale` and `intercept` count; `RidgeHead()` when not given.

    Raises:
        InputError: no examples, or `l2` below zero.

    Example:
        >>> Z = torch.tensor([[-1.0], [1.0]])
        >>> path = full_data_path((Z, 2 * Z), [0.0, 2.0], head=RidgeHead(l2_scale="absolute"))
        >>> path.weights.flatten().tolist()
        [2.0, 1.0]
    """
    from cvxdistill.statistics import TargetStatistics

    head = head or RidgeHead()
    if not isinstance(target, TargetStatistics):
        check_pair(*target)
        moments = TargetStatistics(target[0].shape[1], target[1].shape[1])
        target = moments.update(*target)
    seen = SeenMoments.of(target, head.intercept)
    scatter, cross, _ = seen.normal_equations(target)
    l2, lam = _penalties(head, l2s, seen.trace, seen.count)
    values, vectors = _eigen(scatter)
    weights = _rescaled(vectors, _inverse(values, lam), vectors.mT @ cross)
    return _path(head, l2, lam, weights, seen.mean, seen.label_mean)


@dataclasses.dataclass(frozen=True, eq=False)
class _Spectrum:
    """Eigenvalues `(k,)` of the Gram matrix, with eigenvectors in the space of examples.

    Attributes:
        values: of the smaller of the two Gram matrices.
        basis: `U (m, k)`, orthonormal, within the space that a free intercept leaves.
        complete: the basis spans that space; otherwise what it leaves out is fitted by nothing.
        free: whether the constant is taken out.
    """

    values: Tensor
    basis: Tensor
    complete: bool
    free: bool

    @classmethod
    def of(cls, z: Tensor, *, free: bool) -> "_Spectrum":
        m, d = z.shape
        room = m - free
        if room <= d:
            inside = _without_constant(m, like=z) if free else None
            rows = z if inside is None else inside.mT @ z
            values, vectors = torch.linalg.eigh(rows @ rows.mT)
            basis = vectors if inside is None else inside @ vectors
            return cls(values.clamp_min(0.0), basis, complete=True, free=free)
        values, vectors = _eigen(z.mT @ z)
        kept = values > 0
        values, vectors = values[kept], vectors[:, kept]
        return cls(values, z @ vectors / values.sqrt(), complete=False, free=free)

    def weights(self, z: Tensor, labels: Tensor, lam: Tensor) -> Tensor:
        """Return `(L, d, C)`."""
        return _rescaled(z.mT @ self.basis, _inverse(self.values, lam), self.basis.mT @ labels)

    def left_out(self, labels: Tensor, lam: Tensor) -> Tensor:
        """Return what refits without each example miss of its label, `(L, m, C)`."""
        if self.complete:
            shrink = _inverse(self.values, lam)
            rest, rest_diagonal = torch.zeros_like(labels), labels.new_zeros(len(labels))
        else:
            # `lam G`, which stays finite without a penalty; the ratio is the same.
            shrink = lam[:, None] * _inverse(self.values, lam)
            rest = labels - self.basis @ (self.basis.mT @ labels)
            rest_diagonal = 1 - float(self.free) / len(labels) - self.basis.square().sum(1)
        numerator = _rescaled(self.basis, shrink, self.basis.mT @ labels) + rest
        denominator = shrink @ self.basis.mT.square() + rest_diagonal
        return numerator / denominator[:, :, None]


def _without_constant(m: int, *, like: Tensor) -> Tensor:
    """Return an orthonormal basis `(m, m - 1)` of the vectors that sum to zero (Helmert)."""
    basis = torch.ones(m, m - 1, dtype=like.dtype, device=like.device).triu()
    index = torch.arange(1, m, dtype=like.dtype, device=like.device)
    below = torch.arange(m - 1, device=like.device)
    basis[below + 1, below] = -index
    return basis / (index * (index + 1)).sqrt()


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, those that are rounding set to zero, and eigenvectors."""
    values, vectors = torch.linalg.eigh(matrix)
    cutoff = float(values[-1]) * len(values) * torch.finfo(values.dtype).eps
    return torch.where(values > cutoff, values, 0.0), vectors


def _rescaled(left: Tensor, shrink: Tensor, right: Tensor) -> Tensor:
    """Return `left diag(s) right (L, p, C)` for all rows `s` of `shrink (L, k)`, in one product."""
    columns = (shrink.mT[:, :, None] * right[:, None, :]).flatten(1)
    product: Tensor = left @ columns
    return product.view(len(left), len(shrink), -1).movedim(1, 0)


def _inverse(values: Tensor, lam: Tensor) -> Tensor:
    """Return `1 / (v + lam) (L, k)`, zero where both are: the solution of least norm."""
    total = values + lam[:, None]
    return torch.where(total > 0, 1 / torch.where(total > 0, total, 1.0), 0.0)


def _penalties(
    head: RidgeHead, l2s: Sequence[float] | Tensor, trace: Tensor, rows: float
) -> tuple[Tensor, Tensor]:
    values = torch.as_tensor(l2s, dtype=torch.float64, device=trace.device)
    if values.ndim != 1 or not len(values):
        raise InputError(f"`l2s` must be a list of numbers; got shape {tuple(values.shape)}.")
    check_positive("l2s", float(values.min()), zero=True)
    check_positive("l2s", float(values.max()), zero=True)
    each = dataclasses.replace(head, l2=1.0).penalty(trace, rows)
    return values, values * each


def _path(
    head: RidgeHead, l2s: Tensor, lam: Tensor, weights: Tensor, mean: Tensor, label_mean: Tensor
) -> RidgePath:
    if head.intercept == "penalised":
        return RidgePath(l2s, lam, weights[:, :-1], weights[:, -1])
    if head.intercept == "none":
        return RidgePath(l2s, lam, weights, weights.new_zeros(len(weights), weights.shape[2]))
    return RidgePath(l2s, lam, weights, label_mean - mean @ weights)
