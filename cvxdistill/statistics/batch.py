"""The sums of one batch about a shift: all that is linear in the features."""

import dataclasses

import torch
from torch import Tensor


def gram_of(rows: Tensor) -> Tensor:
    """Return `Z'Z (d, d)` of `rows (n, d)`.

    On a CPU by numpy, which sees that both factors are one matrix and computes one triangle: half
    the work of PyTorch's product.
    """
    if rows.device.type != "cpu":
        return rows.mT @ rows
    array = rows.numpy()
    return torch.from_numpy(array.T @ array)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    r"""Sums over a batch of examples, about a shift `s` of the features and `u` of the targets.

    With weights `w`: what takes `O(n d)` is here. The product `rows' rows`, which takes `O(n d^2)`,
    is left to the caller, who may know a faster one than PyTorch's.

    Attributes:
        rows: `(n, d)` float64, `sqrt(w) (z - s)`.
        shift: `s (d,)`.
        target_shift: `u (C,)`; zero for classes.
        weight: scalar tensor, `sum w`.
        first: `(d,)`, `sum w (z - s)`.
        targets: `(C,)`, `sum w (t - u)`.
        cross: `(d, C)`, `sum w (z - s)(t - u)'`.
        target_gram: `(C, C)`, `sum w (t - u)(t - u)'`, or `None` for classes, which need none.
        class_counts: `(C,)` rows of each class, or `None` for real targets.
    """

    rows: Tensor
    shift: Tensor
    target_shift: Tensor
    weight: Tensor
    first: Tensor
    targets: Tensor
    cross: Tensor
    target_gram: Tensor | None
    class_counts: Tensor | None

    @classmethod
    def of_classes(
        cls,
        centred: Tensor,
        shift: Tensor,
        classes: Tensor,
        num_classes: int,
        weights: Tensor | None,
    ) -> "Batch":
        """Sum over examples with classes; `C` columns cost no product, only sums of segments.

        Args:
            centred: `(n, d)` float64, `z - s`; overwritten where there are weights.
            shift: `s (d,)`.
            classes: `(n,)` int64, known to lie in `0..C-1`.
            num_classes: `C`.
            weights: `(n,)` float64, known to be finite and not negative, or `None`.
        """
        roots = None if weights is None else weights.sqrt()
        rows = centred if roots is None else centred.mul_(roots[:, None])
        sums = _sums_by_class(rows, classes, num_classes, roots)
        counts = torch.bincount(classes, minlength=num_classes).to(rows.dtype)
        if weights is None:
            weight, targets = rows.new_tensor(float(len(rows))), counts
        else:
            weight = weights.sum()
            targets = torch.bincount(classes, weights, minlength=num_classes)
        zero = torch.zeros_like(targets)
        return cls(rows, shift, zero, weight, sums.sum(0), targets, sums.mT, None, counts)

    @classmethod
    def of_targets(
        cls,
        centred: Tensor,
        shift: Tensor,
        targets: Tensor,
        target_shift: Tensor,
        weights: Tensor | None,
    ) -> "Batch":
        """Sum over examples with real targets.

        Args:
            centred: `(n, d)` float64, `z - s`; overwritten where there are weights.
            shift: `s (d,)`.
            targets: `(n, C)` float64.
            target_shift: `u (C,)`, near the mean of the targets.
            weights: as in `of_classes`.
        """
        moved = targets - target_shift
        if weights is None:
            roots, weight = centred.new_ones(len(centred)), centred.new_tensor(float(len(centred)))
        else:
            roots, weight = weights.sqrt(), weights.sum()
            centred.mul_(roots[:, None])
            moved = moved * roots[:, None]
        return cls(
            rows=centred,
            shift=shift,
            target_shift=target_shift,
            weight=weight,
            first=roots @ centred,
            targets=roots @ moved,
            cross=centred.mT @ moved,
            target_gram=moved.mT @ moved,
            class_counts=None,
        )

    def moments(self, gram: Tensor) -> "Moments":
        """Return the moments of the batch.

        Args:
            gram: `rows' rows (d, d)`; overwritten.
        """
        weight = self.weight.clamp_min(1e-300)
        # The root of the weight on both sides keeps the result symmetric to the last bit.
        root = self.first / weight.sqrt()
        targets = self.targets.diag() if self.target_gram is None else self.target_gram
        return Moments(
            count=len(self.rows),
            weight=float(self.weight),
            target_kind="classes" if self.target_gram is None else "real",
            feature_mean=self.shift,
            feature_mean_rest=self.first / weight,
            label_mean=self.target_shift,
            label_mean_rest=self.targets / weight,
            feature_scatter=gram.addr_(root, root, alpha=-1),
            cross_scatter=self.cross - torch.outer(self.first, self.targets / weight),
            label_scatter=targets - torch.outer(self.targets, self.targets / weight),
            class_counts=self.class_counts,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """What is added when sets of moments are: the numbers of `TargetStatistics`, by its names.

    A mean is the sum of two parts, so that it is known to far more digits than one number holds.
    Where means are large beside the spread about them, merging would lose the digits otherwise.
    """

    count: int
    weight: float
    target_kind: str
    feature_mean: Tensor
    feature_mean_rest: Tensor
    label_mean: Tensor
    label_mean_rest: Tensor
    feature_scatter: Tensor
    cross_scatter: Tensor
    label_scatter: Tensor
    class_counts: Tensor | None


def move_mean(mean: Tensor, rest: Tensor, step: Tensor) -> None:
    """Add `step` to the mean `mean + rest`, in place; `rest` takes what `mean` rounds off."""
    moved = rest + step
    before = mean.clone()
    mean += moved
    rest.copy_(moved - (mean - before))


def mean_row(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Return the weighted mean `(d,)` of `rows (n, d)`; the plain one where nothing weighs."""
    if weights is None or float(weights.sum()) == 0:
        return rows.mean(0)
    return weights @ rows / weights.sum()


def _sums_by_class(rows: Tensor, classes: Tensor, num_classes: int, scale: Tensor | None) -> Tensor:
    """Return `(C, d)` sums of the rows of each class, each row times its `scale`."""
    if rows.device.type != "cpu":
        scaled = rows if scale is None else rows * scale[:, None]
        return rows.new_zeros(num_classes, rows.shape[1]).index_add_(0, classes, scaled)
    # A sparse matrix with one entry a column: an addition a number, where PyTorch's `index_add_`
    # pays for a call a row and a one-hot product for `C` multiplications a number.
    import numpy as np
    from scipy.sparse import csc_array

    n = len(rows)
    entries = np.ones(n) if scale is None else scale.numpy()
    pointers = np.arange(n + 1)
    chooser = csc_array((entries, classes.numpy(), pointers), shape=(num_classes, n))
    return torch.from_numpy(chooser @ rows.numpy())
