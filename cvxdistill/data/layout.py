"""What arrays mean: which axis is the channel, and how labels of any kind are numbered."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.errors import InputError

_CHANNELS = (1, 3, 4)


def as_examples(array: NDArray[Any], *, name: str) -> Tensor:
    """Turn a stored array into images or features as an `ImageSet` holds them.

    Args:
        array: floating `(n, d)` features; `(n, h, w)` grey images; or images with 1, 3 or 4
            channels in the last axis or in the second, whichever of the two has such a size.
        name: the array, for messages.

    Returns:
        `(n, d)` features, or `(n, c, h, w)` images. Whole numbers from 0 to 255 become uint8;
        floating images float32; features keep float32 and float64, and float16 becomes float32.

    Raises:
        InputError: other numbers of dimensions, channels nowhere or in both places, no examples,
            or values that are neither floating nor 0 to 255.

    Example:
        >>> as_examples(np.zeros((5, 32, 32, 3), np.uint8), name="images").shape
        torch.Size([5, 3, 32, 32])
    """
    if array.size == 0:
        raise InputError(f"{name} must not be empty; got shape {array.shape}.")
    values = _as_numbers(array, name)
    if values.ndim == 2:
        if values.dtype.kind != "f":
            raise InputError(
                f"{name} of shape {array.shape} must be floating-point features; got "
                f"{array.dtype}. Reshape images to (n, h, w), or store features as float32."
            )
        return torch.from_numpy(np.ascontiguousarray(values))
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if values.ndim == 3:
        return torch.from_numpy(np.ascontiguousarray(values[:, None]))
    if values.ndim != 4:
        raise InputError(
            f"{name} must be (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w); got shape "
            f"{array.shape}. Reshape it."
        )
    first, last = values.shape[1] in _CHANNELS, values.shape[3] in _CHANNELS
    if first == last:
        found = "both" if first else "neither"
        raise InputError(
            f"{name} must have 1, 3 or 4 channels either in the second or in the last axis; got "
            f"{found} in shape {array.shape}. Store grey images as (n, h, w), feature maps as "
            "(n, d)."
        )
    return torch.from_numpy(np.ascontiguousarray(values if first else values.transpose(0, 3, 1, 2)))


def _as_numbers(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return uint8, float32 or float64 in the machine's byte order."""
    kind = array.dtype.kind
    if kind == "f":
        return array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32, copy=False)
    if kind in "iu":
        low, high = int(array.min()), int(array.max())
        if 0 <= low <= high <= 255:
            return array.astype(np.uint8, copy=False)
        raise InputError(
            f"{name} of whole numbers must lie in 0..255; got {low} to {high}. Scale it, or store "
            "floating-point numbers."
        )
    raise InputError(
        f"{name} must be numbers, floating-point or 0..255; got {array.dtype}. Convert it."
    )


def as_label_values(array: NDArray[Any], *, name: str) -> NDArray[Any]:
    """Return stored labels as a vector of int64 or of strings.

    Args:
        array: `(n,)` or `(n, 1)` whole numbers, strings or UTF-8 bytes.
        name: the array, for messages.

    Raises:
        InputError: other shapes or types.

    Example:
        >>> as_label_values(np.array([[2], [7]], dtype=np.uint8), name="labels")
        array([2, 7])
    """
    vector = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if vector.ndim != 1:
        hint = " Take the argmax of one-hot rows." if vector.ndim == 2 else ""
        raise InputError(f"{name} must be a vector; got shape {array.shape}.{hint}")
    if vector.dtype.kind == "S":
        return np.char.decode(vector, "utf-8")
    if vector.dtype.kind in "iu":
        return vector.astype(np.int64)
    if vector.dtype.kind == "U":
        return vector
    raise InputError(f"{name} must be whole numbers or strings; got {array.dtype}. Convert them.")


def name_classes(
    values: NDArray[Any], stored_names: NDArray[Any] | None, *, name: str
) -> tuple[str, ...]:
    """Return the class names, in the order in which labels are numbered.

    Args:
        values: labels of the training part, from `as_label_values`.
        stored_names: names that come with the data, or `None`.
        name: the labels, for messages.

    Returns:
        The stored names; without them the distinct labels, sorted (numbers as numbers).

    Raises:
        InputError: stored names that are no vector of distinct strings.

    Example:
        >>> name_classes(np.array([10, 9, 10]), None, name="labels")
        ('9', '10')
    """
    if stored_names is None:
        return tuple(str(value) for value in np.unique(values))
    names = tuple(map(str, as_label_values(stored_names, name=f"class names of {name}")))
    if len(set(names)) != len(names):
        raise InputError(f"class names of {name} must differ; got {len(names)} with repeats.")
    return names


def number_labels(
    values: NDArray[Any], names: tuple[str, ...], *, positions: bool, name: str
) -> Tensor:
    """Return labels as int64 numbers from 0.

    Args:
        values: labels, from `as_label_values`.
        names: class names, from `name_classes`.
        positions: whether whole numbers already are positions in `names` (which then were stored
            beside them) and not names themselves.
        name: the labels, for messages.

    Raises:
        InputError: a label that is none of the classes.

    Example:
        >>> number_labels(np.array(["b", "a"]), ("a", "b"), positions=False, name="labels")
        tensor([1, 0])
    """
    if positions and values.dtype.kind == "i":
        outside = values[(values < 0) | (values >= len(names))]
        if len(outside):
            raise InputError(
                f"{name} must lie in 0..{len(names) - 1}, positions in the class names; got "
                f"{outside[0]}. Correct the labels or the names."
            )
        return torch.from_numpy(values.astype(np.int64))
    distinct, inverse = np.unique(values, return_inverse=True)
    place = {known: position for position, known in enumerate(names)}
    unknown = [str(value) for value in distinct if str(value) not in place]
    if unknown:
        raise InputError(
            f"{name} must be among the {len(names)} classes of the training part; got "
            f"`{unknown[0]}`. Correct the labels, or store `class_names`."
        )
    table = np.array([place[str(value)] for value in distinct], dtype=np.int64)
    return torch.from_numpy(table[inverse.reshape(-1)])
