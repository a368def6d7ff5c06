"""Labels between two limits."""

import dataclasses
import math
from typing import ClassVar

from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.labels.base import LabelConstraint, RowLimits


@dataclasses.dataclass(frozen=True)
class Box(LabelConstraint):
    """Every entry lies in `[low, high]`.

    Choose it when labels are stored in few bits, or must not be extreme, but need not sum to 1.

    Args:
        low: lower limit, or `-inf`.
        high: upper limit, above `low`, or `inf`.

    Raises:
        InputError: limits that leave nothing between them.

    Example:
        >>> import torch
        >>> Box(high=0.5).project(torch.tensor([[-1.0, 0.2, 3.0]])).tolist()
        [[0.0, 0.2..., 0.5]]
    """

    low: float = 0.0
    high: float = 1.0

    name: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        if not self.low < self.high or self.low == math.inf or self.high == -math.inf:
            raise InputError(
                f"a box needs `low` below `high`; got low {self.low} and high {self.high}."
            )

    @property
    def limits(self) -> RowLimits:
        """The two limits."""
        return RowLimits(low=self.low, high=self.high)

    def project(self, labels: Tensor) -> Tensor:
        """Return `labels (..., C)` clipped to the limits."""
        return labels.clamp(self.low, self.high)

    def lowest(self, gradient: Tensor) -> float:
        """Return the least `<gradient, S>`; `-inf` where an entry can move without end."""
        up, down = float(gradient.clamp_min(0).sum()), float(gradient.clamp_max(0).sum())
        return (self.low * up if up else 0.0) + (self.high * down if down else 0.0)
