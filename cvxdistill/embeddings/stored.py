"""Rows and headers as a format stores them, before labels are coded and entries checked."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.errors import InputError

_FLOATING = ("float16", "bfloat16", "float32", "float64")
_ALIKE = {
    "num_features": "columns of features:",
    "dtype": "features of type",
    "labelled": "labels:",
    "weighted": "weights:",
}

LABEL_BLOCK = 1 << 16
"""Labels that are looked at in one piece when a set is opened."""


@dataclasses.dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself before its rows are read.

    Attributes:
        name: what messages call it, usually its path.
        rows: number of rows.
        num_features: `d`; 0 where there are no rows to say it.
        dtype: of the features, a name that numpy and PyTorch share, or `bfloat16`.
        labelled: whether there are labels beside the features.
        weighted: whether there are weights beside the features.
    """

    name: str
    rows: int
    num_features: int
    dtype: str
    labelled: bool
    weighted: bool


@dataclasses.dataclass(frozen=True)
class Contents:
    """What opening finds.

    Attributes:
        headers: one a shard, in reading order.
        class_names: names that are stored with the data, or `None`.
    """

    headers: tuple[ShardHeader, ...]
    class_names: tuple[str, ...] | None = None

    @property
    def first(self) -> ShardHeader:
        """The first header with rows, which all others are like."""
        return next(header for header in self.headers if header.rows)


@dataclasses.dataclass(frozen=True, eq=False)
class StoredRows:
    """Some consecutive rows as they are stored.

    Attributes:
        features: `(n, d)`, floating.
        labels: as numpy holds them, `n` entries or rows, or `None`.
        weights: `n` numbers, or `None`.
    """

    features: Tensor
    labels: NDArray[Any] | None
    weights: NDArray[Any] | None


def check_alike(contents: Contents, *, place: Path) -> None:
    """Check that there are rows, and that all shards have the same columns.

    Args:
        contents: what opening found.
        place: file or folder, for messages.

    Raises:
        InputError: no rows, features that are not floating, or shards that contradict one another.
    """
    # Where there are no rows, some formats cannot say how wide they would be.
    headers = [header for header in contents.headers if header.rows]
    if not headers:
        raise InputError(f"{place} must hold rows of embeddings; got none. Write it anew.")
    first = contents.first
    for header in headers:
        if header.dtype not in _FLOATING:
            raise InputError(
                f"features of {header.name} must be one of {', '.join(_FLOATING)}; got "
                f"{header.dtype}. Convert them."
            )
        if header.num_features < 1:
            raise InputError(f"features of {header.name} must have 1 column or more; got 0.")
        for field, what in _ALIKE.items():
            here, there = getattr(header, field), getattr(first, field)
            if here != there:
                raise InputError(
                    f"all shards must be alike; got {what} {there} in {first.name} and {here} in "
                    f"{header.name}. Correct one of them."
                )


def check_features(features: Tensor, *, columns: int, name: str, start: int) -> None:
    """Check that features have as many columns as the first ones, and are finite.

    Args:
        features: `(n, d)`, floating.
        columns: `d` of the whole set; lists of no fixed size may change their length.
        name: the shard, for the message.
        start: number of the first row, for the message.

    Raises:
        InputError: with the first bad row.
    """
    if features.shape[1] != columns:
        raise InputError(
            f"features of {name} must have {columns} columns as in the first row; got "
            f"{features.shape[1]} from row {start} on. Remove or repair them."
        )
    # A row's sum is finite when its entries are, unless it overflows: only suspects are looked at.
    suspects = (~torch.isfinite(features.sum(1))).nonzero().flatten()
    bad = suspects[~torch.isfinite(features[suspects]).all(1)]
    if len(bad):
        raise InputError(
            f"features of {name} must be finite; got NaN or infinity in row {start + int(bad[0])}, "
            f"the first of {len(bad)} such rows read with it. Remove or repair them."
        )


def array_header(
    shape: tuple[int, ...],
    dtype: str,
    *,
    name: str,
    labels: tuple[int, ...] | None,
    weights: tuple[int, ...] | None,
) -> ShardHeader:
    """Return the header of a shard that is stored as arrays.

    Args:
        shape: of the features.
        dtype: of the features.
        name: the shard.
        labels: shape of the labels, or `None`.
        weights: shape of the weights, or `None`.

    Raises:
        InputError: features that are no matrix, or other numbers of rows beside them.
    """
    if len(shape) != 2:
        raise InputError(f"features of {name} must be (n, d); got shape {shape}. Reshape them.")
    for what, partner in (("labels", labels), ("weights", weights)):
        if partner is not None and partner[:1] != shape[:1]:
            raise InputError(
                f"{name} must have {what} for each of its {shape[0]} rows; got {what} of shape "
                f"{partner}. Correct the files."
            )
    return ShardHeader(name, *shape, dtype, labels is not None, weights is not None)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of a stored array in memory that may be written to, in native byte order."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
