"""Numbers that judge predictions, and intervals around their means."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of rows of `logits (n, C)` whose largest entry is at `labels (n,)`.

    A row with an entry that is not a number predicts nothing, and counts as wrong.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
        0.5
    """
    right = (logits.argmax(-1) == labels) & ~logits.isnan().any(-1)
    return float(right.double().mean())


def accuracies(logits: Tensor, labels: Tensor) -> list[float]:
    """Return the `accuracy` of each of a stack of `logits (students, n, C)`.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
        >>> accuracies(logits, torch.tensor([1, 1]))
        [0.5, 1.0]
    """
    # One transfer from a GPU for all of them.
    right = (logits.argmax(-1) == labels) & ~logits.isnan().any(-1)
    found: list[float] = right.double().mean(-1).tolist()
    return found


METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": accuracy,
}


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval.

    Attributes:
        mean: of the values.
        low: lower end.
        high: upper end.
        count: number of values.
    """

    mean: float
    low: float
    high: float
    count: int


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values with its 95 % Student t interval.

    One value has no interval: both ends are the value itself.

    Example:
        >>> interval([0.5, 0.7]).mean
        0.6
    """
    from scipy.stats import t

    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, mean, mean, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(t.ppf(0.975, count - 1)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, count)
