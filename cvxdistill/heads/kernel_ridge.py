"""Kernel ridge regression: linear in the labels, without finite weights."""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_matrix
from cvxdistill.errors import IncompatibleError
from cvxdistill.heads.base import LabelLinearHead
from cvxdistill.heads.design import absolute_penalty, check_options, check_pair
from cvxdistill.heads.fit import LabelTransfer
from cvxdistill.heads.kernels import KERNELS, Kernel, KernelOptions
from cvxdistill.heads.label_root import LabelRoot
from cvxdistill.heads.ridge import solve_penalised
from cvxdistill.heads.target import BLOCK_ROWS, Target
from cvxdistill.linalg import root_of_rows
from cvxdistill.statistics import TargetStatistics

# Up to this many target examples the full-data head, a system of that size, is solved for the
# certificate: 2000 take half a second and 100 MB.
FULL_LIMIT = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class KernelFit:
    """A fitted kernel head; call it to get logits.

    Attributes:
        mapped: base features and kernel.
        labels: `(..., m, C)`.
    """

    mapped: "KernelMap"
    labels: Tensor

    def __call__(self, query: Tensor) -> Tensor:
        """Return logits `(..., n, C)` of `query (..., n, d)`, in the query's dtype."""
        logits = self.mapped.transfer(query.to(torch.float64)) @ self.labels.to(torch.float64)
        return logits.to(query.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class KernelMap(LabelTransfer):
    """A kernel head on fixed base features.

    Attributes:
        base: `(..., m, d)` float64.
        kernel: with its scale set.
        gram: `Kb (..., m, m)` as the penalty sees it.
        centre: `(..., m)`, what is taken off a row of the query's kernel.
        coefficients: `A (..., m, m)`, such that `H = (k(query) - centre) A + 1 constant'`.
        constant: `(..., m)`.
        lam: the penalty, `(...)`.
        jitter: as in `LinearFit`.
    """

    base: Tensor
    kernel: Kernel
    gram: Tensor
    centre: Tensor
    coefficients: Tensor
    constant: Tensor
    lam: Tensor
    jitter: float = 0.0

    def fit(self, labels: Tensor) -> KernelFit:
        """Return the head fitted to `labels (..., m, C)`."""
        return KernelFit(self, labels)

    def transfer(self, query: Tensor) -> Tensor:
        """Return `H (..., n, m)` float64, such that `H Y` are the logits of `query (..., n, d)`."""
        rows = self.kernel.between(query.to(torch.float64), self.base)
        return (rows - self.centre.unsqueeze(-2)) @ self.coefficients + self.constant.unsqueeze(-2)


@dataclasses.dataclass(frozen=True)
class KernelRidgeHead(LabelLinearHead):
    r"""Ridge regression in the feature space of a kernel, twice differentiable in all it is given.

    Choose it where a linear layer on the features is too weak, or where the labels are for a whole
    infinitely wide network (`ntk`, on pixels or features). It is linear in the labels, so the
    exact solve works; but it has no finite weights, so moments of the target are not enough for it:
    give targets as `(features, labels)`. The solve costs `n m (d + m)`. It minimises

        |Kb A + 1 b' - Y|^2 + lam tr(A' Kb A),    lam = l2 trace(Kb) / m  or  l2,

    over `A (m, C)` and `b (C)`, and predicts `k(query) A + b`. A free intercept is the same as
    centring the kernel's feature space at the mean of the base, and the trace is that of the
    centred Gram matrix, so the kernel `<x, y>` gives `RidgeHead`; a penalised one adds 1 to the
    kernel. Everything is computed in float64; dtype of the query and device come back. A
    numerically singular matrix is met as in `RidgeHead`.

    Args:
        kernel: `rbf` (`exp(-gamma |x - y|^2)`), `polynomial` (`(gamma <x, y> + offset)^degree`),
            `arccos` (a random ReLU network of `depth` hidden layers whose last layer is fitted) or
            `ntk` (the same with all layers trained).
        l2: strength of the penalty; a number, or a scalar tensor to differentiate through.
        l2_scale: `trace` (relative to the mean of the Gram matrix's diagonal) or `absolute`.
        intercept: `free`, `penalised` or `none`.
        gamma: of `rbf` and `polynomial`; `None` is `1 / (d var Z)` of the base features.
        degree: of `polynomial`.
        offset: of `polynomial`.
        depth: hidden layers of `arccos` and `ntk`.

    Raises:
        InputError: unknown option, or numbers out of range.

    References:
        Nguyen, Chen and Lee 2021, "Dataset meta-learning from kernel ridge-regression",
        https://arxiv.org/abs/2011.00050

    Example:
        >>> Z = torch.tensor([[0.0], [1.0], [2.0]])
        >>> fit = KernelRidgeHead(l2=1e-6).fit(Z, torch.tensor([[0.0], [1.0], [0.0]]))
        >>> fit(Z).round(decimals=3).abs().flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    kernel: str = "rbf"
    l2: float | Tensor = 1e-3
    l2_scale: str = "trace"
    intercept: str = "free"
    gamma: float | None = None
    degree: int = 3
    offset: float = 1.0
    depth: int = 3

    double_backward: ClassVar[bool] = True
    finite_weights: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("kernel", self.kernel, KERNELS)
        check_options(self.l2, self.l2_scale, self.intercept, zero=True)
        self._options()

    def _options(self) -> KernelOptions:
        return KernelOptions(self.gamma, self.degree, self.offset, self.depth)

    def fit(self, features: Tensor, labels: Tensor) -> KernelFit:
        """Fit to `features (..., m, d)` and `labels (..., m, C)`; one fit a leading index.

        Raises:
            InputError: shapes that do not fit, or entries that are not finite.
            SolveError: a singular problem, which only `l2 = 0` can give.
        """
        check_pair(features, labels)
        return self.factor(features).fit(labels)

    def factor(self, features: Tensor) -> KernelMap:
        """Return the map from labels to predictions for base `features (..., m, d)`.

        Raises:
            InputError: not a finite matrix.
            SolveError: a singular problem, which only `l2 = 0` can give.
        """
        check_matrix("features", features)
        z = features.to(torch.float64)
        kernel = KERNELS[self.kernel](self._options(), z)
        raw = gram = kernel.gram(z)
        m = z.shape[-2]
        eye = torch.eye(m, dtype=z.dtype, device=z.device).expand_as(gram)
        centre = gram.new_zeros(gram.shape[:-1])
        constant = centre
        if self.intercept == "free":
            centre = gram.mean(-1)
            centred = gram - centre.unsqueeze(-1) - centre.unsqueeze(-2)
            gram = centred + centre.mean(-1)[..., None, None]
        elif self.intercept == "penalised":
            gram = gram + 1.0
        trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
        # As in `seen_trace`; centring a Gram matrix leaves rounding of its entries.
        rounding = m * 1e-15 * raw.detach().diagonal(dim1=-2, dim2=-1).sum(-1)
        trace = torch.where(trace > rounding, trace, float(m))
        lam = absolute_penalty(self.l2, self.l2_scale, trace, m)
        coefficients, jitter = solve_penalised(gram, lam, eye)
        if self.intercept == "free":
            # Columns and rows sum to zero once labels and features are centred.
            coefficients = coefficients - coefficients.mean(-1, keepdim=True)
            coefficients = coefficients - coefficients.mean(-2, keepdim=True)
            constant = constant + 1.0 / m
        elif self.intercept == "penalised":
            constant = coefficients.sum(-2)
        return KernelMap(z, kernel, gram, centre, coefficients, constant, lam, jitter)

    def label_root(
        self, mapped: KernelMap, target: Target, *, target_l2: float | None = None
    ) -> LabelRoot:
        """Return the penalised squared error on the whole target as a function of the labels.

        One pass over the target in blocks, by a QR that never squares the condition number. The
        `trace` scale of the penalty takes a pass over all pairs of target examples with a free
        intercept; `l2_scale="absolute"` or `target_l2=0` spares it.

        Args:
            mapped: what `factor` gave for the base features.
            target: `(features (n, d), coded labels (n, C))`.
            target_l2: as in `RidgeHead.target_root`.

        Raises:
            IncompatibleError: a target of moments alone.
            InputError: sizes that do not fit.
        """
        if isinstance(target, TargetStatistics):
            raise IncompatibleError(
                "a kernel head needs the target's features, since its predictions are no function "
                f"of d weights; got {target!r}. Give the target as (features, labels), or use "
                "RidgeHead, for which moments are enough."
            )
        check_pair(*target)
        features, labels = (part.detach() for part in target)
        lam = self._target_penalty(mapped.kernel, features, target_l2)
        root = root_of_rows(_rows(mapped, features, labels, lam))
        full = None
        if len(features) <= FULL_LIMIT:
            full = self._full_value(mapped.kernel, features, labels, lam)
        t = labels.to(torch.float64)
        centre = t.mean(0) if self.intercept == "free" else torch.zeros_like(t[0])
        constant = float((t - centre).square().sum())
        if self.intercept == "penalised":
            # The best constant pays `lam |b|^2`: the mean shrunk by n / (n + lam).
            constant -= float(t.sum(0).square().sum()) / (len(t) + lam)
        explained = None if full is None else max(constant - full, 0.0)
        return LabelRoot(root, len(features), full, explained)

    def _target_penalty(self, kernel: Kernel, features: Tensor, target_l2: float | None) -> float:
        own = float(torch.as_tensor(self.l2).detach())
        l2 = own if target_l2 is None else target_l2
        if self.l2_scale == "absolute" or l2 == 0.0:
            return l2
        n = len(features)
        trace = sum(float(kernel.diagonal(block).sum()) for block in _blocks(features))
        if self.intercept == "free":
            pairs = sum(
                float(kernel.between(one, other).sum())
                for one in _blocks(features)
                for other in _blocks(features)
            )
            trace -= pairs / n
        elif self.intercept == "penalised":
            trace += n
        return float(absolute_penalty(l2, self.l2_scale, torch.tensor(trace), n))

    def _full_value(self, kernel: Kernel, features: Tensor, labels: Tensor, lam: float) -> float:
        """Return the least of the objective over all functions of the kernel's space."""
        z, t = features.to(torch.float64), labels.to(torch.float64)
        gram = kernel.gram(z)
        if self.intercept == "free":
            mean = gram.mean(1)
            gram = gram - mean - mean[:, None] + mean.mean()
            t = t - t.mean(0)
        elif self.intercept == "penalised":
            gram = gram + 1.0
        values, vectors = torch.linalg.eigh(gram)
        # Directions that the kernel does not reach stay in the error whatever the penalty.
        values = torch.where(values > float(values[-1]) * len(z) * 2.3e-16, values, 0.0)
        left = torch.where(values > 0, lam / (values + lam), 1.0)
        return float((left[:, None] * (vectors.mT @ t).square()).sum())


def _blocks(features: Tensor) -> Iterator[Tensor]:
    return (block.to(torch.float64) for block in features.split(BLOCK_ROWS))


def _rows(
    mapped: KernelMap, features: Tensor, labels: Tensor, lam: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows of `H` with their labels, the penalty's own rows last."""
    for z, t in zip(_blocks(features), _blocks(labels), strict=True):
        yield mapped.transfer(z), t
    if lam > 0:
        # `lam |W(Y)|^2 = lam tr(Y' A' Kb A Y)`, by a square root of the Gram matrix.
        values, vectors = torch.linalg.eigh(mapped.gram)
        root = (lam * values.clamp_min(0)).sqrt()[:, None] * vectors.mT
        yield root @ mapped.coefficients, labels.new_zeros(len(root), labels.shape[1]).double()
