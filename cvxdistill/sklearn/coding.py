"""What `y` means to a classifier: one class a sample, or several labels."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from cvxdistill.errors import InputError

INDICATORS = "multilabel-indicator"


@dataclasses.dataclass(frozen=True, eq=False)
class TargetCoding:
    """How `y` is turned into targets.

    Attributes:
        classes: `(C,)` the classes in order; for several labels a sample, their numbers.
        several: `y` has 0/1 indicators of labels, not one class a sample.
    """

    classes: NDArray[Any]
    several: bool

    @classmethod
    def of(cls, y: NDArray[Any], classes: ArrayLike | None = None) -> "TargetCoding":
        """Read off what `y` is, and the classes where they are not given.

        Raises:
            InputError: fewer than two classes, or several columns of classes.
        """
        if _has_indicators(y):
            return cls(np.arange(y.shape[1]), True)
        known = _distinct(column_or_1d(y) if classes is None else classes)
        if len(known) < 2:
            raise InputError(f"`y` must have 2 classes or more; got 1 class, {known[0]!r}.")
        return cls(known, False)

    @property
    def names(self) -> tuple[str, ...]:
        """One name a label column."""
        return tuple(map(str, self.classes))

    def check(self, classes: ArrayLike | None) -> None:
        """Check that these are the classes, where they are given.

        Raises:
            InputError: they are others.
        """
        if classes is None:
            return
        given = _distinct(classes)
        if not np.array_equal(given, self.classes):
            raise InputError(
                f"`classes` must be those of the first call, {self.classes}; got {given}."
            )

    def code(self, y: NDArray[Any]) -> NDArray[np.int64] | NDArray[np.float64]:
        """Return classes as numbers `(n,)` from 0, or indicators `(n, C)` as 0 and 1.

        Raises:
            InputError: another kind of `y`, or classes that are not known.
        """
        if _has_indicators(y) != self.several:
            raise InputError(
                "`y` must be classes throughout, or indicators; got one, then the other."
            )
        return self._indicators(y) if self.several else self._codes(column_or_1d(y, warn=True))

    def _codes(self, y: NDArray[Any]) -> NDArray[np.int64]:
        codes = np.searchsorted(self.classes, y).clip(max=len(self.classes) - 1)
        unknown = np.flatnonzero(self.classes[codes] != y)
        if len(unknown):
            raise InputError(
                f"`y` must be among the classes {self.classes}; got {y[unknown[0]]!r}."
            )
        return codes

    def _indicators(self, y: Any) -> NDArray[np.float64]:
        dense = y.toarray() if issparse(y) else np.asarray(y)
        if dense.shape[1] != len(self.classes):
            raise InputError(
                f"`y` must have {len(self.classes)} columns of indicators; got {dense.shape[1]}."
            )
        return (dense > 0).astype(np.float64)


def _has_indicators(y: NDArray[Any]) -> bool:
    """Return whether `y` has several labels a sample.

    Raises:
        InputError: several columns of classes.
    """
    check_classification_targets(y)
    kind = type_of_target(y)
    if kind == "multiclass-multioutput":
        raise InputError(
            "`y` must be one class a sample, or 0/1 indicators of labels; got several columns of "
            "classes. Fit one estimator a column."
        )
    return bool(kind == INDICATORS)


def _distinct(classes: ArrayLike) -> NDArray[Any]:
    return np.unique(np.asarray(classes))
