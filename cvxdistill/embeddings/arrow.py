"""Arrow columns as matrices and labels.

Matrices are read through `flatten`, which respects the offset of a slice, and only after nulls and
rows of other lengths were refused: a null row is left out by `flatten`, and all rows after it would
move up by one.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def load_pyarrow() -> Any:
    """Return the module `pyarrow`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(
            "this format is read with pyarrow, which is not installed. Run: "
            'pip install "cvxdistill[arrow]".'
        ) from error
    return pyarrow


def list_width(kind: "pa.DataType") -> int | None:
    """Return the length of lists of a fixed size, 0 for other lists, `None` for other types."""
    types = load_pyarrow().types
    if types.is_fixed_size_list(kind):
        return int(kind.list_size)
    return 0 if types.is_list(kind) or types.is_large_list(kind) else None


def is_floating(kind: "pa.DataType") -> bool:
    """Say whether entries are floating-point numbers."""
    return bool(load_pyarrow().types.is_floating(kind))


def as_matrix(array: "pa.Array", *, what: str, name: str, start: int) -> NDArray[Any]:
    """Return a column of lists of one length as `(n, d)`; a view where there are any rows.

    Args:
        array: a list array, also a slice of one.
        what: `features` or `labels`, for messages.
        name: the shard, for messages.
        start: number of the first row, for messages.

    Raises:
        InputError: a null row or entry, or rows of different lengths, with the row's number.
    """
    refuse_nulls(array, what=what, name=name, start=start)
    values = array.flatten()
    width = list_width(array.type) or (len(values) // len(array) if len(array) else 0)
    if not list_width(array.type):
        lengths = array.value_lengths().to_numpy(zero_copy_only=False)
        other = np.flatnonzero(lengths != lengths[:1])
        if len(other):
            raise InputError(
                f"{what} of {name} must be lists of one length; got {lengths[0]} in row {start} "
                f"and {lengths[other[0]]} in row {start + other[0]}. Remove or repair them."
            )
    if values.null_count:
        bad = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]
        raise InputError(
            f"{what} of {name} must have no nulls; got one in row {start + bad // width}. Remove "
            "or fill them."
        )
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(array), width)


def as_feature_tensor(array: "pa.Array", *, name: str, start: int) -> Tensor:
    """Return a column of features as a tensor that owns its memory; see `as_matrix`."""
    return torch.from_numpy(as_matrix(array, what="features", name=name, start=start).copy())


def as_labels(array: "pa.Array", *, what: str, name: str, start: int) -> NDArray[Any]:
    """Return a column of labels or weights as numpy holds them.

    Args:
        array: numbers, truth values, strings, also dictionary-encoded, or lists of one length.
        what: `labels` or `weights`, for messages.
        name: the shard, for messages.
        start: number of the first row, for messages.

    Raises:
        InputError: nulls, lists of different lengths, or another type.
    """
    types = load_pyarrow().types
    if list_width(array.type) is not None:
        return as_matrix(array, what=what, name=name, start=start)
    refuse_nulls(array, what=what, name=name, start=start)
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return np.array(array.to_pylist(), dtype=np.str_)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    raise InputError(
        f"{what} of {name} must be numbers, strings or lists of numbers; got {kind}. Say which "
        f"column with `{what}`."
    )


def refuse_nulls(array: "pa.Array", *, what: str, name: str, start: int) -> None:
    """Check that no row is null.

    Raises:
        InputError: with the number of the first null row.
    """
    if array.null_count:
        row = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0]
        raise InputError(
            f"{what} of {name} must have no nulls; got one in row {start + row}. Remove or fill "
            "them."
        )
