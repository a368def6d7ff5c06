"""Samples as the estimators hand them on, and the bounded part of a stream that is kept."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.seeding import derive_seed

# Rows cast to float64 at a time.
BLOCK_ROWS = 16384


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Checked samples of a `fit` or `partial_fit`.

    Attributes:
        features: `(n, d)`, float32 or float64 as they came.
        targets: `(n,)` int64 classes from 0, or `(n, K)` float64.
        columns: number of label columns: the classes, or `K`.
        weights: `(n,)` float64, or `None` where every sample counts once.
    """

    features: NDArray[np.floating]
    targets: NDArray[np.int64] | NDArray[np.float64]
    columns: int
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def counted(self) -> NDArray[np.int64] | slice:
        """Where the samples are whose weight is above zero."""
        return slice(None) if self.weights is None else np.flatnonzero(self.weights)

    @property
    def groups(self) -> NDArray[np.int64]:
        """`(n,)` the class of each sample; zeros where samples have no one class."""
        if self.targets.ndim == 1:
            return self.targets.astype(np.int64, copy=False)
        return np.zeros(len(self), dtype=np.int64)

    def take(self, rows: NDArray[np.int64] | slice) -> "Samples":
        """Return the samples at `rows`, without weights."""
        return Samples(self.features[rows], self.targets[rows], self.columns)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield features in float64, targets and weights, a block of rows at a time."""
        for start in range(0, len(self), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            # Copies: memory that was handed in may be read-only, which a tensor cannot be.
            features = torch.from_numpy(np.array(self.features[rows], dtype=np.float64))
            targets = torch.from_numpy(np.array(self.targets[rows]))
            if self.weights is None:
                yield features, targets, None
            else:
                yield features, targets, torch.from_numpy(np.array(self.weights[rows]))

    def repeated(self) -> tuple[Tensor, Tensor]:
        """Return features and targets with every sample as often as its weight says.

        Raises:
            InputError: weights that are not whole numbers.
        """
        features: NDArray[Any] = self.features
        targets: NDArray[Any] = self.targets
        if self.weights is not None:
            counts = self.weights.astype(np.int64)
            if (counts != self.weights).any():
                raise InputError(
                    "`sample_weight` must be whole numbers where moments are not enough; got "
                    f"{self.weights[counts != self.weights][0]:g}. Use loss `squared` with labels "
                    "that are `free`, on the `simplex` or in a `box`."
                )
            features, targets = np.repeat(features, counts, 0), np.repeat(targets, counts, 0)
        return torch.from_numpy(np.array(features)), torch.from_numpy(np.array(targets))


def read_weights(
    weights: ArrayLike | None, features: NDArray[np.floating]
) -> NDArray[np.float64] | None:
    """Return the weights of samples in float64, checked; `None` as it is.

    Raises:
        InputError: all of them zero.
    """
    if weights is None:
        return None
    checked: NDArray[np.float64] = _check_sample_weight(
        weights, features, dtype=np.float64, ensure_non_negative=True
    )
    if not checked.any():
        raise InputError("`sample_weight` must be above zero for some sample; got zeros alone.")
    return checked


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """A bounded random part of a stream, from which base rows are chosen.

    Every sample draws a key from a seeded stream, and the smallest keys of each stratum stay. When
    there are too many, the largest strata give first, so that rare classes keep all they have. What
    is kept depends on the order of the samples alone, not on how they were cut into chunks; while
    all samples fit, all are kept.

    Attributes:
        samples: those kept, in the order in which they came.
        positions: `(k,)` their places in the stream.
        strata: `(k,)` the stratum of each.
        keys: `(k,)` the key of each.
        seen: number of samples that have come.
        seed: of the stream from which keys are drawn.
        draw: where the next keys come from.
    """

    samples: Samples
    positions: NDArray[np.int64]
    strata: NDArray[np.int64]
    keys: NDArray[np.float64]
    seen: int
    seed: int
    draw: np.random.Generator

    @classmethod
    def begun(
        cls,
        samples: Samples,
        positions: NDArray[np.int64],
        strata: NDArray[np.int64],
        *,
        seen: int,
        seed: int,
    ) -> "Candidates":
        """Return what is kept of `seen` samples when those at `positions` are."""
        draw = np.random.default_rng(derive_seed(seed, "candidates"))
        return cls(samples, positions, strata, draw.random(len(samples)), seen, seed, draw)

    @classmethod
    def empty(cls, like: Samples, *, seed: int) -> "Candidates":
        """Return a stream that has not begun, of samples such as `like`."""
        none = np.zeros(0, dtype=np.int64)
        return cls.begun(like.take(none), none, none, seen=0, seed=seed)

    def joined(self, new: Samples, strata: NDArray[np.int64], *, capacity: int) -> "Candidates":
        """Return what is kept, at most `capacity`, once `new` samples have come.

        Those of weight 0 count as having come, and are never kept.
        """
        draw = copy.deepcopy(self.draw)
        keys = np.concatenate([self.keys, draw.random(len(new))])
        positions = np.concatenate([self.positions, self.seen + np.arange(len(new))])
        strata = np.concatenate([self.strata, strata])
        allowed = np.ones(len(keys), dtype=bool)
        if new.weights is not None:
            allowed[len(self.keys) :] = new.weights > 0
        kept = _smallest_keys(keys, strata, allowed, capacity)
        old, young = kept[kept < len(self.keys)], kept[kept >= len(self.keys)] - len(self.keys)
        samples = Samples(
            np.concatenate([self.samples.features[old], new.features[young]]),
            np.concatenate([self.samples.targets[old], new.targets[young]]),
            new.columns,
        )
        parts = samples, positions[kept], strata[kept], keys[kept]
        return Candidates(*parts, self.seen + len(new), self.seed, draw)


def _smallest_keys(
    keys: NDArray[np.float64],
    strata: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    capacity: int,
) -> NDArray[np.int64]:
    """Return the rows to keep in ascending order: the smallest keys of every stratum."""
    rows = np.flatnonzero(allowed)
    if len(rows) <= capacity:
        return rows
    counts = np.bincount(strata[rows])
    quota = even_shares(counts, capacity)
    ordered = rows[np.lexsort((keys[rows], strata[rows]))]
    starts = np.cumsum(counts) - counts
    ranks = np.arange(len(ordered)) - starts[strata[ordered]]
    return np.sort(ordered[ranks < quota[strata[ordered]]])


def even_shares(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Share `total` among strata of `counts` as equally as they allow; the first get what is left.

    Example:
        >>> even_shares(np.array([9, 2, 9]), 9).tolist()
        [4, 2, 3]
    """
    ascending = np.sort(counts)
    below = np.cumsum(ascending) - ascending
    # The largest level at which strata cut down to it hold no more than `total`.
    levels = (total - below) // np.arange(len(counts), 0, -1)
    level = int(levels[np.argmax(levels <= ascending)]) if counts.sum() > total else counts.max()
    shares = np.minimum(counts, level)
    open_strata = np.flatnonzero(counts > level)
    shares[open_strata[: total - int(shares.sum())]] += 1
    return shares
