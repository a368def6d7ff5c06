"""The two kinds of labels: distributions over the classes, and scores, which are any numbers."""

import torch
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError

LABEL_KINDS = ("distribution", "scores")


def check_label_kind(labels: Tensor, label_kind: str) -> None:
    """Refuse labels `(m, C)` that are not of the kind they are said to be.

    Raises:
        InputError: an unknown kind, or distributions that are none within 1e-6.
    """
    check_choice("label_kind", label_kind, LABEL_KINDS)
    sums = labels.sum(1)
    wrong = float(labels.min()) < -1e-6 or float((sums - 1).abs().max()) > 1e-6
    if label_kind == "distribution" and wrong:
        raise InputError(
            "labels of kind `distribution` must be non-negative with rows that sum to 1; "
            f"got a smallest entry {float(labels.min()):.3g} and row sums "
            f"{float(sums.min()):.6g} to {float(sums.max()):.6g}. Use kind `scores`."
        )


def to_distributions(labels: Tensor) -> Tensor:
    """Return `labels (..., C)` with negative entries at zero and rows divided by their sums.

    A row without a positive entry becomes uniform.

    Example:
        >>> to_distributions(torch.tensor([[0.5, 1.5], [-1.0, 0.0]])).tolist()
        [[0.25, 0.75], [0.5, 0.5]]
    """
    kept = labels.clamp_min(0)
    # Divided by the largest first: a sum of huge or tiny entries could leave the range.
    largest = kept.amax(-1, keepdim=True)
    kept = torch.where(largest > 0, kept / largest, 1.0)
    return kept / kept.sum(-1, keepdim=True)
