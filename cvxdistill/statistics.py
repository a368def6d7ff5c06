r"""Mergeable moments of a target set: all that a squared loss ever asks of it.

With `n` examples of features `z (d)` and coded labels `t (C)`, the moments are the count, the
means and the centred second moments

    S = sum (z - mean z)(z - mean z)',   M = sum (z - mean z)(t - mean t)',
    Q = sum (t - mean t)(t - mean t)'.

Two sets of moments add up exactly (Chan, Golub and LeVeque 1979): centred moments of the union are
the sum of both plus a rank-one term in the difference of the means. Centred moments are kept, not
raw ones, because a raw `sum z z'` of features with a large mean loses the digits that matter in
the difference `sum z z' - n mean mean'`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cvxdistill.checks import check_class_labels, check_matrix
from cvxdistill.errors import InputError
from cvxdistill.files import atomic_file

FORMAT = "cvxdistill.statistics/1"
_TENSORS = (
    "feature_mean",
    "label_mean",
    "feature_scatter",
    "cross_scatter",
    "label_scatter",
    "class_counts",
)


class TargetStatistics:
    """Count, means and second moments of target features and labels, in float64.

    Use it when the target does not fit in memory, comes in shards, or is to serve many solves: one
    pass, then every base set, every `l2` and every number of examples is solved without it.
    Batches are merged by `update`, whole sets by `+`; order changes the last digits only.

    Args:
        num_features: `d`.
        num_classes: `C`, the number of label columns.
        device: where the moments are kept and the products are computed.

    Raises:
        InputError: sizes below 1.

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
        self, num_features: int, num_classes: int, *, device: torch.device | str = "cpu"
    ) -> None:
        for name, size in (("num_features", num_features), ("num_classes", num_classes)):
            if size < 1:
                raise InputError(f"`{name}` must be 1 or more; got {size}.")
        d, c = int(num_features), int(num_classes)
        make: Callable[..., Tensor] = lambda *size: torch.zeros(  # noqa: E731
            *size, dtype=torch.float64, device=device
        )
        self.count = 0
        self.feature_mean = make(d)
        self.label_mean = make(c)
        self.feature_scatter = make(d, d)
        self.cross_scatter = make(d, c)
        self.label_scatter = make(c, c)
        self.class_counts: Tensor = make(c)

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
        return (
            f"TargetStatistics(num_features={self.num_features}, "
            f"num_classes={self.num_classes}, count={self.count})"
        )

    def update(self, features: Tensor, labels: Tensor) -> "TargetStatistics":
        """Take in a batch, and return this object.

        Args:
            features: `(n, d)`, any floating dtype; cast to float64 *before* the products, since a
                float32 product loses 2 to 15 % of a weakly regularised head.
            labels: `(n,)` int64 classes, coded one-hot, or `(n, C)` floating targets as they are.

        Raises:
            InputError: shapes or classes that do not fit, or entries that are not finite.
        """
        check_matrix("features", features, columns=self.num_features)
        if features.ndim != 2:
            raise InputError(f"`features` must be (n, d); got shape {tuple(features.shape)}.")
        if len(labels) != len(features):
            raise InputError(
                f"`labels` must have one row a feature row; got {len(labels)} for {len(features)}."
            )
        batch = TargetStatistics(self.num_features, self.num_classes, device=self.device)
        z = features.detach().to(self.device, torch.float64)
        t = self._code(labels)
        batch.count = len(z)
        batch.feature_mean = z.mean(0)
        batch.label_mean = t.mean(0)
        z = z - batch.feature_mean
        centred = t - batch.label_mean
        batch.feature_scatter = z.mT @ z
        batch.cross_scatter = z.mT @ centred
        batch.label_scatter = centred.mT @ centred
        batch.class_counts = t.sum(0)
        self._absorb(batch)
        return self

    def _code(self, labels: Tensor) -> Tensor:
        if labels.is_floating_point():
            check_matrix("labels", labels, columns=self.num_classes)
            if labels.ndim != 2:
                raise InputError(f"`labels` must be (n, C); got shape {tuple(labels.shape)}.")
            return labels.detach().to(self.device, torch.float64)
        classes = check_class_labels("labels", labels, num_classes=self.num_classes)
        one_hot = torch.nn.functional.one_hot(classes, self.num_classes)
        return one_hot.to(self.device, torch.float64)

    def _absorb(self, other: "TargetStatistics") -> None:
        if other.count == 0:
            return
        total = self.count + other.count
        share = other.count / total
        dz = other.feature_mean - self.feature_mean
        dt = other.label_mean - self.label_mean
        weight = self.count * share
        self.feature_scatter += other.feature_scatter + weight * torch.outer(dz, dz)
        self.cross_scatter += other.cross_scatter + weight * torch.outer(dz, dt)
        self.label_scatter += other.label_scatter + weight * torch.outer(dt, dt)
        self.feature_mean += share * dz
        self.label_mean += share * dt
        self.class_counts += other.class_counts
        self.count = total

    def __add__(self, other: "TargetStatistics") -> "TargetStatistics":
        """Return the moments of both sets together.

        Raises:
            InputError: different numbers of features or classes.
        """
        if not isinstance(other, TargetStatistics):
            return NotImplemented
        sizes = (self.num_features, self.num_classes), (other.num_features, other.num_classes)
        if sizes[0] != sizes[1]:
            raise InputError(
                f"moments to be added must agree in (features, classes); got {sizes[0]} and "
                f"{sizes[1]}."
            )
        merged = TargetStatistics(*sizes[0], device=self.device)
        merged._absorb(self)
        merged._absorb(other.to(self.device))
        return merged

    def to(self, device: torch.device | str) -> "TargetStatistics":
        """Return a copy on `device`."""
        copy = TargetStatistics(self.num_features, self.num_classes, device=device)
        copy.count = self.count
        for name in _TENSORS:
            setattr(copy, name, getattr(self, name).to(device, copy=True))
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
        from safetensors.torch import save_file

        tensors = {name: getattr(self, name).cpu().contiguous() for name in _TENSORS}
        with atomic_file(Path(path)) as temporary:
            about = {"format": FORMAT, "count": str(self.count)}
            save_file(tensors, temporary, metadata={"about": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> "TargetStatistics":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, not such a file, or sizes that contradict one another.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(Path(path), framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("about", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, json.JSONDecodeError) as error:
            raise InputError(f"`{path}` is not a readable statistics file: {error}.") from error
        about = about if isinstance(about, dict) else {}
        if about.get("format") != FORMAT or set(tensors) != set(_TENSORS):
            raise InputError(
                f"`{path}` must be a file of format {FORMAT}; got {about.get('format')!r} with "
                f"tensors {sorted(tensors)}. Write it with TargetStatistics.save."
            )
        loaded = cls(tensors["feature_mean"].numel(), tensors["label_mean"].numel())
        count = str(about.get("count"))
        if not count.isdecimal():
            raise InputError(f"`{path}`: the count must be a whole number; got {count!r}.")
        loaded.count = int(count)
        for name, value in tensors.items():
            expected = getattr(loaded, name)
            if value.shape != expected.shape or value.dtype != torch.float64:
                raise InputError(
                    f"`{path}`: `{name}` must be float64 of shape {tuple(expected.shape)}; got "
                    f"{value.dtype} of shape {tuple(value.shape)}."
                )
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"`{path}`: `{name}` holds NaN or infinite entries.")
            setattr(loaded, name, value)
        return loaded._checked(path)

    def _checked(self, path: str | Path) -> "TargetStatistics":
        """Return these moments if count and means belong together."""
        # Equal but for rounding, and for the constant that `shifted_labels` adds to every column.
        excess = self.label_mean * self.count - self.class_counts
        size = self.class_counts.abs().max() + (self.count * self.label_scatter.trace()).sqrt()
        if float((excess - excess.mean()).abs().max()) > 1e-9 * float(size):
            raise InputError(
                f"`{path}`: count, label mean and class counts contradict one another; got "
                f"{self.count} examples and class counts {self.class_counts.tolist()}."
            )
        return self
