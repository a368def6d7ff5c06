"""Checks of arguments at the public boundary, one clear message each."""

import difflib
from collections.abc import Iterable

import torch
from torch import Tensor

from cvxdistill.errors import InputError


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`, else raise with the nearest choice.

    Raises:
        InputError: `value` is not among `choices`.

    Example:
        >>> check_choice("intercept", "free", ("none", "free"))
        'free'
    """
    known = list(choices)
    if value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    raise InputError(f"`{name}` must be one of {', '.join(known)}; got `{value}`.{hint}")


def check_finite(name: str, value: Tensor) -> Tensor:
    """Return `value` if every entry is finite.

    Raises:
        InputError: with the number of bad entries and the first bad row.
    """
    if not value.is_floating_point():
        return value
    # One reduction: a sum is finite when every entry is (and does not overflow); only a
    # suspicious sum pays for the elementwise look.
    if bool(torch.isfinite(value.sum())):
        return value
    bad = ~torch.isfinite(value)
    if not bool(bad.any()):
        return value
    index = (bad.any(-1) if value.ndim > 1 else bad).nonzero()[0].tolist()
    row = index[0] if len(index) == 1 else tuple(index)
    raise InputError(
        f"`{name}` must be finite; got {int(bad.sum())} NaN or infinite entries, the first in "
        f"row {row}. Remove or repair those rows."
    )


def check_matrix(
    name: str, value: Tensor, *, rows: int | None = None, columns: int | None = None
) -> Tensor:
    """Return `value` if it is a finite floating matrix `(rows, columns)`.

    Leading batch dimensions are allowed; `None` leaves a size free.

    Raises:
        InputError: wrong type, dtype, number of dimensions, size, no rows, or entries not finite.

    Example:
        >>> check_matrix("features", torch.zeros(3, 2), columns=2).shape
        torch.Size([3, 2])
    """
    if not isinstance(value, Tensor):
        raise InputError(
            f"`{name}` must be a torch.Tensor; got {type(value).__name__}. "
            "Convert it with torch.as_tensor."
        )
    if value.ndim < 2 or not value.is_floating_point():
        raise InputError(
            f"`{name}` must be a floating-point matrix; got shape {tuple(value.shape)} and dtype "
            f"{value.dtype}."
        )
    sizes = ("rows", value.shape[-2], rows), ("columns", value.shape[-1], columns)
    for what, size, want in sizes:
        if want is not None and size != want:
            raise InputError(
                f"`{name}` must have {want} {what}; got {size} (shape {tuple(value.shape)})."
            )
    if value.numel() == 0:
        raise InputError(f"`{name}` must not be empty; got shape {tuple(value.shape)}.")
    return check_finite(name, value)


def check_class_labels(name: str, labels: Tensor, *, num_classes: int) -> Tensor:
    """Return integer class labels as int64 if all lie in `[0, num_classes)`.

    Raises:
        InputError: not a vector of integers, or a label out of range.
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(
            f"`{name}` must be a vector of integer class labels; got shape {tuple(labels.shape)} "
            f"and dtype {labels.dtype}."
        )
    labels = labels.to(torch.int64)
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise InputError(
            f"`{name}` must lie in 0..{num_classes - 1}; got {int(labels.min())} to "
            f"{int(labels.max())}. Labels count from 0."
        )
    return labels


def check_positive(name: str, value: float, *, zero: bool = False) -> float:
    """Return `value` if it is a finite number above zero (or at zero, with `zero=True`).

    Raises:
        InputError: otherwise.
    """
    number = float(value)
    if (
        number != number
        or number in (float("inf"), float("-inf"))
        or number < 0
        or (number == 0 and not zero)
    ):
        bound = "zero or more" if zero else "above zero"
        raise InputError(f"`{name}` must be finite and {bound}; got {value}.")
    return value
