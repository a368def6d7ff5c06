"""`TargetStatistics`: the moments as an object."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.errors import InputError
from cvxdistill.statistics.agree import agreed_extractor, agreed_kind, agreed_names
from cvxdistill.statistics.batch import Batch, Moments, gram_of, mean_row, move_mean
from cvxdistill.statistics.file import FORMAT, MEANS, TENSORS, Record, read_moments, write_moments
from cvxdistill.statistics.inputs import checked_targets, checked_weights
from cvxdistill.statistics.source import Source, join_sources


class TargetStatistics:
    """Count, means and second moments of target features and labels, in float64.

    Use it when the target does not fit in memory, comes in shards, or is to serve many solves: one
    pass, then every base set, every `l2` and every number of examples is solved without it.
    Batches are merged by `update`, whole sets by `+`; order changes the last digits only.

    Args:
        num_features: `d`.
        num_classes: `C`, the number of label columns: classes, or real targets.
        device: where the moments are kept and the products are computed.
        target_names: one name a class or real target; empty where they are not known.
        extractor: fingerprint of what made the features, where it is known.

    Attributes:
        count: number of rows `n` taken in.
        weight: sum of their weights: `n` where all weigh 1, and what every solve takes for `n`.
        target_kind: `classes` or `real`, by the first labels; `none` before.
        class_counts: `(C,)` rows of each class; `None` for real targets.
        feature_mean: `(d,)`; `feature_mean_rest` is what its digits leave out.
        label_mean: `(C,)`, with `label_mean_rest`.
        feature_scatter: `S (d, d)`.
        cross_scatter: `M (d, C)`.
        label_scatter: `Q (C, C)`.
        sources: the rows of embeddings that were read, where the moments come from files.

    Raises:
        InputError: sizes below 1, or names that are not `C` distinct ones.

    Example:
        >>> features = torch.randn(6, 3, dtype=torch.float64)
        >>> labels = torch.tensor([0, 1, 0, 1, 1, 0])
        >>> whole = TargetStatistics(3, 2).update(features, labels)
        >>> halves = [TargetStatistics(3, 2).update(features[i::2], labels[i::2]) for i in (0, 1)]
        >>> merged = halves[0] + halves[1]
        >>> merged.count, torch.allclose(merged.feature_scatter, whole.feature_scatter)
        (6, True)
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        device: torch.device | str = "cpu",
        target_names: Sequence[str] = (),
        extractor: str | None = None,
    ) -> None:
        for name, size in (("num_features", num_features), ("num_classes", num_classes)):
            if size < 1:
                raise InputError(f"`{name}` must be 1 or more; got {size}.")
        d, c = int(num_features), int(num_classes)
        names = tuple(map(str, target_names))
        if names and (len(names) != c or len(set(names)) != c):
            raise InputError(
                f"`target_names` must be {c} distinct names, one a label column; got {len(names)} "
                f"with {len(set(names))} distinct ones."
            )
        make: Callable[..., Tensor] = lambda *size: torch.zeros(  # noqa: E731
            *size, dtype=torch.float64, device=device
        )
        self.count = 0
        self.weight = 0.0
        self.target_kind = "none"
        self.target_names = names
        self.extractor = extractor
        self.sources: tuple[Source, ...] = ()
        self.feature_mean, self.feature_mean_rest = make(d), make(d)
        self.label_mean, self.label_mean_rest = make(c), make(c)
        self.feature_scatter = make(d, d)
        self.cross_scatter = make(d, c)
        self.label_scatter = make(c, c)
        self.class_counts: Tensor | None = make(c)

    @property
    def num_features(self) -> int:
        """Number of features `d`."""
        return len(self.feature_mean)

    @property
    def num_classes(self) -> int:
        """Number of label columns `C`."""
        return len(self.label_mean)

    @property
    def device(self) -> torch.device:
        """Where the moments are kept."""
        return self.feature_mean.device

    def __repr__(self) -> str:
        weighted = "" if self.weight == self.count else f", weight={self.weight:g}"
        return (
            f"TargetStatistics(num_features={self.num_features}, "
            f"num_classes={self.num_classes}, count={self.count}{weighted})"
        )

    def update(
        self, features: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> "TargetStatistics":
        """Take in a batch, and return this object.

        Args:
            features: `(n, d)`, any floating dtype; cast to float64 *before* the products, since a
                float32 product loses 2 to 15 % of a weakly regularised head.
            labels: `(n,)` int64 classes, which count as one-hot targets, or `(n, C)` floating
                targets as they are: real values of a regression, labels of several classes at
                once, or distributions.
            weights: `(n,)` finite numbers, zero or more; all 1 when not given. Weight 2 is the
                same as the row twice.

        Raises:
            InputError: shapes or classes that do not fit, entries that are not finite, negative
                weights, or classes after real targets or the reverse.
        """
        check_matrix("features", features, columns=self.num_features)
        if features.ndim != 2:
            raise InputError(f"`features` must be (n, d); got shape {tuple(features.shape)}.")
        if len(labels) != len(features):
            raise InputError(
                f"`labels` must have one row a feature row; got {len(labels)} for {len(features)}."
            )
        targets = checked_targets(labels, num_classes=self.num_classes, device=self.device)
        agreed_kind(self.target_kind, "real" if targets.is_floating_point() else "classes")
        if weights is not None:
            weights = checked_weights(weights, rows=len(features), device=self.device)
        z = features.detach().to(self.device, torch.float64)
        z = z - (shift := mean_row(z, weights))
        if targets.is_floating_point():
            batch = Batch.of_targets(z, shift, targets, mean_row(targets, weights), weights)
        else:
            batch = Batch.of_classes(z, shift, targets, self.num_classes, weights)
        return self.add_batch(batch, gram_of(batch.rows))

    def add_batch(self, batch: Batch, gram: Tensor) -> "TargetStatistics":
        """Take in a batch whose sums are known already, and return this object.

        Args:
            batch: all that is linear in the features.
            gram: `rows' rows (d, d)` of it; overwritten.

        Raises:
            InputError: classes after real targets, or the reverse.
        """
        self._merge(batch.moments(gram))
        return self

    def _merge(self, other: "Moments | TargetStatistics") -> None:
        self.target_kind = agreed_kind(self.target_kind, other.target_kind)
        if self.target_kind == "real":
            self.class_counts = None
        elif self.class_counts is not None and other.class_counts is not None:
            self.class_counts += other.class_counts
        self.count += other.count
        if other.weight == 0:
            return
        if self.weight == 0:
            for name in MEANS:
                getattr(self, name).copy_(getattr(other, name))
        total = self.weight + other.weight
        share = other.weight / total
        dz = other.feature_mean - self.feature_mean
        dz += other.feature_mean_rest - self.feature_mean_rest
        dt = other.label_mean - self.label_mean
        dt += other.label_mean_rest - self.label_mean_rest
        root = (self.weight * share) ** 0.5
        self.feature_scatter.add_(other.feature_scatter).addr_(root * dz, root * dz)
        self.cross_scatter.add_(other.cross_scatter).addr_(root * dz, root * dt)
        self.label_scatter.add_(other.label_scatter).addr_(root * dt, root * dt)
        move_mean(self.feature_mean, self.feature_mean_rest, share * dz)
        move_mean(self.label_mean, self.label_mean_rest, share * dt)
        self.weight = total

    def __iadd__(self, other: "TargetStatistics") -> "TargetStatistics":
        """Add other moments to these in place: as `+`, without a copy of these."""
        if not isinstance(other, TargetStatistics):
            return NotImplemented
        sizes = (self.num_features, self.num_classes), (other.num_features, other.num_classes)
        if sizes[0] != sizes[1]:
            raise InputError(
                f"moments to be added must agree in (features, classes); got {sizes[0]} and "
                f"{sizes[1]}."
            )
        names = agreed_names(self.target_names, other.target_names)
        extractor = agreed_extractor(self.extractor, other.extractor)
        sources = join_sources((*self.sources, *other.sources))
        agreed_kind(self.target_kind, other.target_kind)
        self.target_names, self.extractor, self.sources = names, extractor, sources
        self._merge(other if other.device == self.device else other.to(self.device))
        return self

    def __add__(self, other: "TargetStatistics") -> "TargetStatistics":
        """Return the moments of both sets together.

        Raises:
            InputError: different numbers of features or classes, different names or extractors,
                classes and real targets, or rows of embeddings that are in both.
        """
        if not isinstance(other, TargetStatistics):
            return NotImplemented
        merged = self.to(self.device)
        merged += other
        return merged

    def to(self, device: torch.device | str) -> "TargetStatistics":
        """Return a copy on `device`."""
        copy = TargetStatistics(
            self.num_features,
            self.num_classes,
            device=device,
            target_names=self.target_names,
            extractor=self.extractor,
        )
        for name in ("count", "weight", "target_kind", "sources"):
            setattr(copy, name, getattr(self, name))
        for name in (*TENSORS, "class_counts"):
            value = getattr(self, name)
            setattr(copy, name, None if value is None else value.to(device, copy=True))
        return copy

    def shifted_labels(self, shift: float) -> "TargetStatistics":
        """Return the moments of the targets plus `shift` in every column (another coding)."""
        copy = self.to(self.device)
        copy.label_mean += shift
        return copy

    def save(self, path: str | Path) -> None:
        """Write the moments to one safetensors file, atomically.

        Raises:
            InputError: the folder does not exist or cannot be written.
        """
        record = Record(
            format=FORMAT,
            count=self.count,
            weight=self.weight,
            target_kind=self.target_kind,  # type: ignore[arg-type]
            target_names=self.target_names,
            extractor=self.extractor,
            sources=self.sources,
        )
        tensors = {name: getattr(self, name) for name in TENSORS}
        if self.class_counts is not None:
            tensors["class_counts"] = self.class_counts
        write_moments(Path(path), record, tensors)

    @classmethod
    def load(cls, path: str | Path) -> "TargetStatistics":
        """Read what `save` wrote, in this format or the one before.

        Raises:
            InputError: no such file, not such a file, or contents that contradict one another.
        """
        record, tensors = read_moments(Path(path))
        loaded = cls(
            tensors["feature_mean"].numel(),
            tensors["label_mean"].numel(),
            target_names=record.target_names,
            extractor=record.extractor,
        )
        loaded.count, loaded.weight = record.count, record.weight
        loaded.target_kind, loaded.sources = record.target_kind, record.sources
        for name in TENSORS:
            setattr(loaded, name, tensors[name])
        loaded.class_counts = tensors.get("class_counts")
        return loaded
