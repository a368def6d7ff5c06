"""Targets as class distributions, for losses that read them so."""

import torch
from torch import Tensor

from cvxdistill.checks import check_class_labels
from cvxdistill.errors import InputError

# Rows of float32 softmax outputs sum to one within this.
ROUNDING = 1e-4


def code_distributions(labels: Tensor, *, num_classes: int, loss: str) -> Tensor:
    """Return targets `(n, C)` float64 whose rows are distributions, one-hot for classes `(n,)`.

    Raises:
        InputError: class labels out of range, or soft targets that are not distributions.

    Example:
        >>> code_distributions(torch.tensor([1]), num_classes=2, loss="cross_entropy").tolist()
        [[0.0, 1.0]]
    """
    if not labels.is_floating_point():
        classes = check_class_labels("labels", labels, num_classes=num_classes)
        return torch.nn.functional.one_hot(classes, num_classes).to(torch.float64)
    soft = labels.to(torch.float64)
    sums = soft.sum(-1)
    off = (soft < -ROUNDING).any(-1) | ((sums - 1).abs() > ROUNDING)
    if bool(off.any()):
        row = int(off.nonzero()[0])
        raise InputError(
            f"soft targets of the loss `{loss}` must be distributions, rows of zero or more that "
            f"sum to 1; got {int(off.sum())} rows that are not, the first is row {row} with sum "
            f"{float(sums[row]):.4g}. Give class labels, or use loss `squared`."
        )
    # Rounding of float32 is taken off, so that certificates hold to float64.
    soft = soft.clamp_min(0)
    return soft / soft.sum(-1, keepdim=True)
