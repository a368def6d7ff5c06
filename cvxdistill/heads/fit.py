"""What a fit gives back: a last layer, or the linear map from labels to one."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class HeadFit(Protocol):
    """A fitted head: call it to get logits `(..., n, C)` of a query `(..., n, d)`."""

    def __call__(self, query: Tensor) -> Tensor:
        """Return logits."""


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFit:
    """A fitted last layer; call it to get logits.

    Attributes:
        weights: `(..., d, C)`.
        intercept: `(..., C)`.
        jitter: what had to be added to the diagonal of the matrix that was factorised, relative
            to its mean diagonal; 0 unless the problem is numerically singular.

    Example:
        >>> import torch
        >>> fit = LinearFit(torch.ones(2, 1), torch.tensor([0.5]))
        >>> fit(torch.ones(3, 2)).flatten().tolist()
        [2.5, 2.5, 2.5]
    """

    weights: Tensor
    intercept: Tensor
    jitter: float = 0.0

    def __call__(self, query: Tensor) -> Tensor:
        """Return logits `(..., n, C)` of `query (..., n, d)`."""
        return query @ self.weights.to(query.dtype) + self.intercept.to(query.dtype).unsqueeze(-2)


class LabelTransfer(ABC):
    """A head on fixed base features: what is left of a fit are its labels.

    The contract: `fit(Y)(query) == transfer(query) @ Y`.

    Attributes:
        jitter: as in `LinearFit`.
    """

    jitter: float

    @abstractmethod
    def fit(self, labels: Tensor) -> HeadFit:
        """Return the head fitted to `labels (..., m, C)`."""

    @abstractmethod
    def transfer(self, query: Tensor) -> Tensor:
        """Return `H (..., n, m)`, such that `H Y` are the logits of `query (..., n, d)`."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelMap(LabelTransfer):
    """The linear map from labels to weights of a head on fixed base features.

    Attributes:
        weights: `A (..., d, m)`, such that `W = A Y`.
        intercept: `c (..., m)`, such that `b = c' Y`.
        jitter: as in `LinearFit`.
    """

    weights: Tensor
    intercept: Tensor
    jitter: float = 0.0

    def fit(self, labels: Tensor) -> LinearFit:
        """Return the head fitted to `labels (..., m, C)`."""
        offset = (self.intercept.unsqueeze(-2) @ labels).squeeze(-2)
        return LinearFit(self.weights @ labels, offset, self.jitter)

    def transfer(self, query: Tensor) -> Tensor:
        """Return `H (..., n, m)`, such that `H Y` are the logits of `query (..., n, d)`."""
        return query @ self.weights + self.intercept.unsqueeze(-2)


def each_episode(
    fit: Callable[[Tensor, Tensor], LinearFit], features: Tensor, labels: Tensor
) -> LinearFit:
    """Fit one episode a leading index, one after another, and stack what comes back.

    Args:
        fit: takes `(m, d)` and `(m, C)`.
        features: `(..., m, d)`.
        labels: `(..., m, C)`; leading sizes are broadcast against those of the features.
    """
    lead = torch.broadcast_shapes(features.shape[:-2], labels.shape[:-2])
    z = features.expand(*lead, *features.shape[-2:]).reshape(-1, *features.shape[-2:])
    y = labels.expand(*lead, *labels.shape[-2:]).reshape(-1, *labels.shape[-2:])
    fits = [fit(one, other) for one, other in zip(z, y, strict=True)]
    weights = torch.stack([one.weights for one in fits])
    intercept = torch.stack([one.intercept for one in fits])
    return LinearFit(
        weights.reshape(*lead, *weights.shape[1:]), intercept.reshape(*lead, *intercept.shape[1:])
    )
