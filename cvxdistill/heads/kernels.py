"""Kernels on features, safe to differentiate twice where two rows are equal or zero."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError


class Kernel(ABC):
    """A positive semidefinite kernel. The contract: `diagonal(Z) == between(Z, Z).diagonal()`."""

    @abstractmethod
    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Return `K (..., n, m)` of `left (..., n, d)` and `right (..., m, d)`, float64."""

    @abstractmethod
    def diagonal(self, features: Tensor) -> Tensor:
        """Return `k(z, z) (..., n)` of `features (..., n, d)`."""

    def gram(self, features: Tensor) -> Tensor:
        """Return the Gram matrix `(..., m, m)` of `features (..., m, d)`, its diagonal exact."""
        matrix = self.between(features, features)
        exact = self.diagonal(features)
        eye = torch.eye(exact.shape[-1], dtype=torch.bool, device=exact.device)
        # The general formula meets its singularity on the diagonal, where the value is simple.
        return torch.where(eye, exact.unsqueeze(-1), 0.5 * (matrix + matrix.mT))


@dataclasses.dataclass(frozen=True, eq=False)
class Rbf(Kernel):
    """`exp(-gamma |x - y|^2)`, with `gamma (...)` a tensor.

    Example:
        >>> x = torch.zeros(1, 2, dtype=torch.float64)
        >>> Rbf(torch.tensor(0.5)).between(x, x + 1).item() == math.exp(-1)
        True
    """

    gamma: Tensor

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Return `K`; the square is expanded, which has no singular derivative at zero."""
        # A common shift changes no distance, and takes the mean out of the cancellation below.
        shift = right.detach().mean(-2, keepdim=True)
        left, right = left - shift, right - shift
        squares = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
        return (-self.gamma[..., None, None] * (squares - 2 * left @ right.mT)).exp()

    def diagonal(self, features: Tensor) -> Tensor:
        """Return ones."""
        return features.new_ones(features.shape[:-1])


@dataclasses.dataclass(frozen=True, eq=False)
class Polynomial(Kernel):
    """`(gamma <x, y> + offset)^degree`, with `gamma (...)` a tensor.

    Example:
        >>> x = torch.ones(1, 2, dtype=torch.float64)
        >>> Polynomial(torch.tensor(1.0), degree=2, offset=1.0).between(x, x).item()
        9.0
    """

    gamma: Tensor
    degree: int
    offset: float

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Return `K`."""
        inner = self.gamma[..., None, None] * (left @ right.mT) + self.offset
        return inner**self.degree

    def diagonal(self, features: Tensor) -> Tensor:
        """Return `k(z, z)`."""
        inner = self.gamma[..., None] * features.square().sum(-1) + self.offset
        return inner**self.degree


@dataclasses.dataclass(frozen=True, eq=False)
class ArcCosine(Kernel):
    r"""The arc-cosine kernel of degree 1, `depth` times: an infinitely wide ReLU network.

    With `r` the cosine of two rows, `k = |x| |y| k1(r)`, `k1` applied `depth` times, and
    `k1(r) = (sqrt(1 - r^2) + r (pi - acos r)) / pi`: the covariance of the outputs of a random
    network of `depth` hidden layers whose last layer alone is trained.

    References:
        Cho and Saul 2009, "Kernel methods for deep learning",
        https://papers.nips.cc/paper/3628-kernel-methods-for-deep-learning

    Example:
        >>> x, y = torch.eye(2, dtype=torch.float64).split(1)
        >>> round(ArcCosine(depth=1).between(x, y).item() * math.pi, 12)
        1.0
    """

    depth: int

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Return `K`."""
        cosine, norms = _cosine(left, right)
        for _ in range(self.depth):
            cosine = relu_covariance(cosine)
        return norms * cosine

    def diagonal(self, features: Tensor) -> Tensor:
        """Return `|z|^2`: a layer keeps norms."""
        return features.square().sum(-1)


@dataclasses.dataclass(frozen=True, eq=False)
class NeuralTangent(Kernel):
    r"""The tangent kernel of an infinitely wide ReLU network of `depth` hidden layers.

    All layers are trained, without biases, with weights of variance 2 over the width. With `s_0`
    the cosine `r`, `s_h = k1(s_{h-1})` and `k0(r) = (pi - acos r) / pi`, it is
    `|x| |y| / d  t_depth`, where `t_0 = s_0` and `t_h = s_h + t_{h-1} k0(s_{h-1})`. It has a kink
    where two different rows are parallel; the derivative of `k0` counts as zero there.

    References:
        Jacot et al. 2018, "Neural tangent kernel", https://arxiv.org/abs/1806.07572

    Example:
        >>> x, y = torch.eye(2, dtype=torch.float64).split(1)
        >>> round(NeuralTangent(depth=1).between(x, y).item() * 2 * math.pi, 12)
        1.0
    """

    depth: int

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Return `K`."""
        cosine, norms = _cosine(left, right)
        tangent = cosine
        for _ in range(self.depth):
            slope = relu_slopes(cosine)
            cosine = relu_covariance(cosine)
            tangent = cosine + tangent * slope
        return norms * tangent / left.shape[-1]

    def diagonal(self, features: Tensor) -> Tensor:
        """Return `(depth + 1) |z|^2 / d`."""
        return (self.depth + 1) * features.square().sum(-1) / features.shape[-1]


class _Slopes(torch.autograd.Function):
    """`k0(r) = (pi - acos r) / pi`, with the derivative zero where it is infinite, at -1 and 1."""

    @staticmethod
    def forward(ctx: Any, cosine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine)
        return 1 - cosine.clamp(-1, 1).acos() / math.pi

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (cosine,) = ctx.saved_tensors
        height = (1 - cosine) * (1 + cosine)
        # Cosines of parallel rows miss one by rounding, and the slope would be that rounding.
        inside = height > 1e-13
        return grads[0] * torch.where(inside, torch.where(inside, height, 1.0).rsqrt(), 0) / math.pi


class _Covariance(torch.autograd.Function):
    """`k1(r)`, whose derivative is `k0(r)`."""

    @staticmethod
    def forward(ctx: Any, cosine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine)
        inside = cosine.clamp(-1, 1)
        height = ((1 - inside) * (1 + inside)).sqrt()
        return (height + inside * (math.pi - inside.acos())) / math.pi

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (cosine,) = ctx.saved_tensors
        return grads[0] * relu_slopes(cosine)


def relu_slopes(cosine: Tensor) -> Tensor:
    """Return `k0`: twice the mean product of the slopes of a ReLU at two correlated normals.

    Example:
        >>> relu_slopes(torch.tensor([-1.0, 0.0, 1.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    slopes: Tensor = _Slopes.apply(cosine)
    return slopes


def relu_covariance(cosine: Tensor) -> Tensor:
    """Return `k1`: twice the mean product of the ReLUs of two correlated normals.

    Example:
        >>> relu_covariance(torch.tensor([-1.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    covariance: Tensor = _Covariance.apply(cosine)
    return covariance


def _cosine(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and products of norms; rows of zeros have cosine zero with everything."""
    norms = _norms(left).unsqueeze(-1) * _norms(right).unsqueeze(-2)
    positive = norms > 0
    return torch.where(positive, left @ right.mT / torch.where(positive, norms, 1.0), 0.0), norms


def _norms(features: Tensor) -> Tensor:
    squares = features.square().sum(-1)
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)


@dataclasses.dataclass(frozen=True)
class KernelOptions:
    """The numbers of all kernels; each kernel reads its own.

    Attributes:
        gamma: of `rbf` and `polynomial`; `None` is `1 / (d var Z)` of the base features, the
            `scale` of scikit-learn.
        degree: of `polynomial`.
        offset: of `polynomial`.
        depth: hidden layers of `arccos` and `ntk`.

    Raises:
        InputError: numbers out of range.
    """

    gamma: float | None
    degree: int
    offset: float
    depth: int

    def __post_init__(self) -> None:
        if self.gamma is not None:
            check_positive("gamma", self.gamma)
        check_positive("offset", self.offset, zero=True)
        for name, value in (("degree", self.degree), ("depth", self.depth)):
            if int(value) != value or value < 1:
                raise InputError(f"`{name}` must be a whole number of 1 or more; got {value}.")

    def scale(self, features: Tensor) -> Tensor:
        """Return `gamma (...)` for base `features (..., m, d)`."""
        if self.gamma is not None:
            return features.new_full(features.shape[:-2], float(self.gamma))
        variance = features.var((-2, -1), correction=0)
        # Features that do not vary have no scale, and any will do.
        positive = variance > 0
        return (
            torch.where(positive, 1 / torch.where(positive, variance, 1.0), 1.0)
            / (features.shape[-1])
        )


KERNELS: dict[str, Callable[[KernelOptions, Tensor], Kernel]] = {
    "arccos": lambda options, _: ArcCosine(options.depth),
    "ntk": lambda options, _: NeuralTangent(options.depth),
    "polynomial": lambda options, base: Polynomial(
        options.scale(base), options.degree, options.offset
    ),
    "rbf": lambda options, base: Rbf(options.scale(base)),
}
