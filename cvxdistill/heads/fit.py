"""What a fit gives back: a last layer, or the linear map from labels to one."""

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFit:
    """A fitted last layer; call it to get logits.

    Attributes:
        weights: `(..., d, C)`.
        intercept: `(..., C)`.

    Example:
        >>> import torch
        >>> fit = LinearFit(torch.ones(2, 1), torch.tensor([0.5]))
        >>> fit(torch.ones(3, 2)).flatten().tolist()
        [2.5, 2.5, 2.5]
    """

    weights: Tensor
    intercept: Tensor

    def __call__(self, query: Tensor) -> Tensor:
        """Return logits `(..., n, C)` of `query (..., n, d)`."""
        return query @ self.weights.to(query.dtype) + self.intercept.to(query.dtype).unsqueeze(-2)


@dataclasses.dataclass(frozen=True, eq=False)
class LabelMap:
    """The linear map from labels to weights of a head on fixed base features.

    Attributes:
        weights: `A (..., d, m)`, such that `W = A Y`.
        intercept: `c (..., m)`, such that `b = c' Y`.
    """

    weights: Tensor
    intercept: Tensor

    def fit(self, labels: Tensor) -> LinearFit:
        """Return the head fitted to `labels (..., m, C)`."""
        return LinearFit(self.weights @ labels, (self.intercept.unsqueeze(-2) @ labels).squeeze(-2))

    def transfer(self, query: Tensor) -> Tensor:
        """Return `H (..., n, m)`, such that `H Y` are the logits of `query (..., n, d)`."""
        return query @ self.weights + self.intercept.unsqueeze(-2)
