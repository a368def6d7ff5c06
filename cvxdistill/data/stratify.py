"""Drawing from every class in proportion, exactly and reproducibly."""

import torch
from torch import Tensor

from cvxdistill.errors import InputError


def shuffle_within_classes(
    labels: Tensor, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Order positions by class and at random within each class.

    Taking the first `k` of every class is then a balanced draw without replacement, and smaller
    draws are contained in larger ones.

    Args:
        labels: `(n,)` int64 class labels in `0..num_classes - 1`.
        num_classes: `C`.
        generator: source of the order.

    Returns:
        `(n,)` int64 positions, and beside them `(n,)` int64 ranks within their class, from 0.

    Example:
        >>> labels = torch.tensor([1, 0, 1])
        >>> positions, ranks = shuffle_within_classes(labels, 2, torch.Generator().manual_seed(0))
        >>> labels[positions].tolist(), ranks.tolist()
        ([0, 1, 1], [0, 0, 1])
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    positions = shuffled[torch.argsort(labels[shuffled], stable=True)]
    counts = torch.bincount(labels, minlength=num_classes)
    starts = counts.cumsum(0) - counts
    ranks = torch.arange(len(labels)) - starts[labels[positions]]
    return positions, ranks


def proportional_counts(class_counts: Tensor, total: int) -> Tensor:
    """Share `total` draws among the classes in proportion to their sizes (largest remainder).

    Every share is the exact proportion rounded down or up. Where there is a choice, no class is
    emptied.

    Args:
        class_counts: `(C,)` int64 sizes, `n` in all.
        total: number of draws, `0 <= total <= n`.

    Returns:
        `(C,)` int64 shares that sum to `total`.

    Raises:
        InputError: `total` is out of range.

    Example:
        >>> proportional_counts(torch.tensor([50, 30, 20]), 7).tolist()
        [4, 2, 1]
    """
    size = int(class_counts.sum())
    if not 0 <= total <= size:
        raise InputError(f"cannot draw {total:,} of {size:,} examples.")
    if size == 0:
        return torch.zeros_like(class_counts)
    shares = class_counts * total // size
    remainders = class_counts * total % size
    # At most one more for a class with a remainder; those that this would empty come last.
    empties = (shares + 1 >= class_counts) & (remainders > 0)
    order = torch.argsort(remainders - size * empties.long(), descending=True, stable=True)
    order = order[remainders[order] > 0]
    shares[order[: total - int(shares.sum())]] += 1
    return shares


def draw_stratified(
    labels: Tensor, num_classes: int, total: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Divide positions into a class-stratified draw of `total` and the rest.

    Args:
        labels: `(n,)` int64 class labels.
        num_classes: `C`.
        total: size of the draw.
        generator: source of the draw.

    Returns:
        The drawn positions and the others, each `(k,)` int64 in ascending order.

    Raises:
        InputError: `total` is negative or above `n`.
    """
    shares = proportional_counts(torch.bincount(labels, minlength=num_classes), total)
    positions, ranks = shuffle_within_classes(labels, num_classes, generator)
    drawn = ranks < shares[labels[positions]]
    return positions[drawn].sort().values, positions[~drawn].sort().values
