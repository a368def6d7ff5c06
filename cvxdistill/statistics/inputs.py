"""Checks of what is to be taken into moments."""

import torch
from torch import Tensor

from cvxdistill.checks import check_class_labels, check_finite, check_matrix
from cvxdistill.errors import InputError


def checked_targets(labels: Tensor, *, num_classes: int, device: torch.device) -> Tensor:
    """Return `(n,)` int64 classes, or `(n, C)` float64 targets, on `device`.

    Raises:
        InputError: other shapes, classes out of range, or entries that are not finite.
    """
    if not labels.is_floating_point():
        return check_class_labels("labels", labels, num_classes=num_classes).to(device)
    check_matrix("labels", labels, columns=num_classes)
    if labels.ndim != 2:
        raise InputError(f"`labels` must be (n, C); got shape {tuple(labels.shape)}.")
    return labels.detach().to(device, torch.float64)


def checked_weights(weights: Tensor, *, rows: int, device: torch.device) -> Tensor:
    """Return `(n,)` float64 weights on `device`.

    Raises:
        InputError: another length, or entries that are negative or not finite.
    """
    if weights.shape != (rows,):
        raise InputError(
            f"`weights` must have one entry a row, {rows}; got shape {tuple(weights.shape)}."
        )
    scale = check_finite("weights", weights.detach().to(device, torch.float64))
    if float(scale.min()) < 0:
        raise InputError(f"`weights` must be zero or more; got {float(scale.min()):g}.")
    return scale
