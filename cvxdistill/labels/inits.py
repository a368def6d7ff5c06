"""Labels that need no solve: baselines, starting points and priors."""

from collections.abc import Callable

import torch
from torch import Tensor

from cvxdistill.checks import check_class_labels
from cvxdistill.errors import InputError


def one_hot(classes: Tensor, num_classes: int) -> Tensor:
    """Return the true labels `(m, C)` float64 of `classes (m,)`.

    Example:
        >>> one_hot(torch.tensor([1]), 3).tolist()
        [[0.0, 1.0, 0.0]]
    """
    classes = check_class_labels("classes", classes, num_classes=num_classes)
    return torch.nn.functional.one_hot(classes, num_classes).to(torch.float64)


def smoothed(classes: Tensor, num_classes: int, *, smoothing: float = 0.1) -> Tensor:
    """Return label-smoothed labels `(1 - s) onehot + s / C` (Szegedy et al. 2016).

    Raises:
        InputError: `smoothing` outside [0, 1).

    References:
        https://arxiv.org/abs/1512.00567

    Example:
        >>> smoothed(torch.tensor([0]), 2, smoothing=0.5).tolist()
        [[0.75, 0.25]]
    """
    if not 0 <= smoothing < 1:
        raise InputError(f"`smoothing` must lie in [0, 1); got {smoothing}.")
    return (1 - smoothing) * one_hot(classes, num_classes) + smoothing / num_classes


def uniform(classes: Tensor, num_classes: int) -> Tensor:
    """Return `1 / C` everywhere: labels that know nothing."""
    return torch.full((len(classes), num_classes), 1.0 / num_classes, dtype=torch.float64)


INITS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "one-hot": one_hot,
    "smoothed": smoothed,
    "uniform": uniform,
}
