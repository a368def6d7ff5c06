"""Convex sets that labels may be confined to."""

import dataclasses
from typing import ClassVar

from torch import Tensor

from cvxdistill.labels.base import LabelConstraint


@dataclasses.dataclass(frozen=True)
class Free(LabelConstraint):
    """No constraint: labels are real scores, the only choice that can be lossless.

    Example:
        >>> import torch
        >>> Free().project(torch.tensor([[-2.0, 3.0]])).tolist()
        [[-2.0, 3.0]]
    """

    name: ClassVar[str] = "free"
    trivial: ClassVar[bool] = True

    def project(self, labels: Tensor) -> Tensor:
        """Return the labels as they are."""
        return labels
