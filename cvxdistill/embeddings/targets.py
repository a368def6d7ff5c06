"""Labels as they are stored, and how they become classes from 0 or real targets."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.errors import InputError

# What the targets of the rows are: class numbers, real vectors (regression, multi-label), or none.
TargetKind = Literal["classes", "real", "none"]

# A class has a column in the moments. A column of row numbers taken for labels would fill memory.
MAX_CLASSES = 1_000_000


def as_class_values(array: NDArray[Any], *, name: str) -> NDArray[Any]:
    """Return stored class labels as a vector of int64 or of strings.

    Args:
        array: `(n,)` or `(n, 1)` whole numbers, truth values, strings or UTF-8 bytes.
        name: the labels, for messages.

    Raises:
        InputError: other shapes or types.

    Example:
        >>> as_class_values(np.array([[2], [7]], dtype=np.uint8), name="labels")
        array([2, 7])
    """
    vector = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if vector.ndim != 1:
        hint = " Take the argmax of one-hot rows." if vector.ndim == 2 else ""
        raise InputError(f"{name} must be a vector; got shape {array.shape}.{hint}")
    if vector.dtype.kind == "S":
        return np.char.decode(vector, "utf-8")
    if vector.dtype.kind in "biu":
        return vector.astype(np.int64)
    if vector.dtype.kind == "U":
        return vector
    raise InputError(f"{name} must be whole numbers or strings; got {array.dtype}. Convert them.")


def as_targets(array: NDArray[Any], *, name: str) -> NDArray[Any]:
    """Return stored labels as class values, or as real targets.

    Args:
        array: class labels, see `as_class_values`; or real targets: floats, `(n,)` for a single
            one or `(n, C)`, or whole numbers or truth values `(n, C)` with `C` above 1, as
            multi-label sets have them.
        name: the labels, for messages.

    Returns:
        `(n,)` int64 or strings for classes, `(n, C)` float64 for real targets.

    Raises:
        InputError: other shapes or types.

    Example:
        >>> as_targets(np.array([[True, False], [True, True]]), name="labels")
        array([[1., 0.],
               [1., 1.]])
    """
    kind = array.dtype.kind
    if kind == "f" and array.ndim == 1:
        array = array[:, None]
    matrix = array.ndim == 2 and array.shape[1] > 0
    if matrix and (kind == "f" or (kind in "biu" and array.shape[1] > 1)):
        return array.astype(np.float64)
    if kind == "f" or (kind in "biu" and array.ndim > 1 and array.shape[1:] != (1,)):
        raise InputError(
            f"{name} must be (n,) or (n, C) with C above 0; got shape {array.shape}. Reshape them."
        )
    return as_class_values(array, name=name)


def as_weights(array: NDArray[Any], *, name: str, start: int) -> Tensor:
    """Return weights of examples as `(n,)` float64.

    Args:
        array: `(n,)` or `(n, 1)` numbers, finite and not negative.
        name: the shard, for messages.
        start: number of the first row, for messages.

    Raises:
        InputError: otherwise.
    """
    vector = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if vector.ndim != 1 or vector.dtype.kind not in "fiu":
        raise InputError(
            f"weights of {name} must be a vector of numbers; got {array.dtype} of shape "
            f"{array.shape}. Convert them."
        )
    weights = torch.from_numpy(vector.astype(np.float64))
    bad = ~(torch.isfinite(weights) & (weights >= 0))
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        raise InputError(
            f"weights of {name} must be finite and not negative; got {float(weights[row])} in row "
            f"{start + row}. Correct it."
        )
    return weights


def name_classes(
    values: NDArray[Any], stored_names: NDArray[Any] | None, *, name: str
) -> tuple[str, ...]:
    """Return the class names, in the order in which labels are numbered.

    Args:
        values: labels of the training part, from `as_class_values`.
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
    names = tuple(map(str, as_class_values(stored_names, name=f"class names of {name}")))
    if len(set(names)) != len(names):
        raise InputError(f"class names of {name} must differ; got {len(names)} with repeats.")
    return names


def number_labels(
    values: NDArray[Any], names: tuple[str, ...], *, positions: bool, name: str, start: int = 0
) -> Tensor:
    """Return labels as int64 numbers from 0.

    Args:
        values: labels, from `as_class_values`.
        names: class names, from `name_classes`.
        positions: whether whole numbers already are positions in `names` (which then were stored
            beside them) and not names themselves.
        name: the labels, for messages.
        start: number of the first row, for messages.

    Raises:
        InputError: a label that is none of the classes.

    Example:
        >>> number_labels(np.array(["b", "a"]), ("a", "b"), positions=False, name="labels")
        tensor([1, 0])
    """
    if positions and values.dtype.kind == "i":
        outside = np.flatnonzero((values < 0) | (values >= len(names)))
        if len(outside):
            raise InputError(
                f"{name} must lie in 0..{len(names) - 1}, positions in the class names; got "
                f"{values[outside[0]]} in row {start + outside[0]}. Correct the labels or the "
                "names."
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


@dataclasses.dataclass(frozen=True)
class TargetCoding:
    """How stored labels become targets.

    Attributes:
        kind: `classes`, `real` or `none`.
        names: of the classes, or of the real targets.
        positions: whether stored whole numbers are positions in `names` already.
    """

    kind: TargetKind
    names: tuple[str, ...]
    positions: bool = False

    def code(self, array: NDArray[Any], *, name: str, start: int) -> Tensor:
        """Return `(n,)` int64 classes, or `(n, C)` float64 real targets.

        Args:
            array: labels as stored.
            name: the shard, for messages.
            start: number of the first row, for messages.

        Raises:
            InputError: labels of another kind or width, none of the classes, or not finite.
        """
        where = f"labels of {name}"
        values = as_targets(array, name=where)
        if _kind(values) != self.kind:
            raise InputError(
                f"{where} must be {_WORDS[self.kind]} as in the first shard; got "
                f"{_WORDS[_kind(values)]}. Store all alike."
            )
        if self.kind == "classes":
            return number_labels(
                values, self.names, positions=self.positions, name=where, start=start
            )
        targets = torch.from_numpy(values)
        if targets.shape[1] != len(self.names):
            raise InputError(
                f"{where} must have {len(self.names)} columns, one a name or as in the first "
                f"shard; got {targets.shape[1]}. Store all alike."
            )
        bad = ~torch.isfinite(targets).all(1)
        if bool(bad.any()):
            row = start + int(bad.nonzero()[0, 0])
            raise InputError(
                f"{where} must be finite; got NaN or infinity in row {row}. Remove or repair it."
            )
        return targets


_WORDS = {"classes": "classes", "real": "real targets", "none": "absent"}


def _kind(values: NDArray[Any]) -> TargetKind:
    return "real" if values.ndim == 2 else "classes"


def find_coding(
    blocks: Iterable[tuple[str, int, NDArray[Any]]], class_names: tuple[str, ...] | None
) -> TargetCoding:
    """Look at stored labels, and say how they become targets.

    Args:
        blocks: the name of a shard, the number of the first row in it, and labels, for all labels
            of all shards in order. Of real targets only the first block is looked at.
        class_names: names that are stored with the data, or `None`: the distinct labels, sorted
            (numbers as numbers), are the classes.

    Raises:
        InputError: labels of two kinds, none of the classes, or too many classes.
    """
    if class_names is not None:
        name_classes(np.empty(0), np.array(class_names), name="the data")
    seen: set[Any] = set()
    coding: TargetCoding | None = None
    first = ""
    for name, start, array in blocks:
        where = f"labels of {name}"
        values = as_targets(array, name=where)
        if _kind(values) == "real" and coding is None:
            names = class_names or tuple(str(k) for k in range(values.shape[1]))
            coding = TargetCoding("real", names)
            coding.code(array, name=name, start=start)
            return coding
        if coding is None:
            coding = TargetCoding("classes", class_names or (), positions=class_names is not None)
            first = name
        distinct = np.unique(values) if _kind(values) == "classes" else values
        words = {type(value) for value in (*itertools.islice(seen, 1), *distinct[:1].tolist())}
        if distinct.ndim == 2 or len(words) > 1:
            raise InputError(
                f"{where} must be like those of {first}; got {array.dtype} of shape {array.shape}. "
                "Store all alike."
            )
        seen.update(distinct.tolist())
        if class_names is not None:
            coding.code(array, name=name, start=start)
        elif len(seen) > MAX_CLASSES:
            raise InputError(
                f"{where} must be classes; got more than {MAX_CLASSES:,} distinct ones. Name "
                "another array or column of labels."
            )
    if coding is None:
        raise InputError("labels must not be empty; got no rows.")
    if class_names is not None:
        return coding
    # Numbers from 0 without a gap are positions already, and need no looking up.
    return TargetCoding(
        "classes", tuple(map(str, sorted(seen))), positions=seen == set(range(len(seen)))
    )
