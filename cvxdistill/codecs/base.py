r"""How labels are stored: a codec turns them into arrays of few bits, and back.

Labels of kind `distribution` come back as distributions, whatever a codec did to them: negative
entries are set to zero and every row is divided by its sum, in float64. Entries `(m, C)` of kind
`scores` are brought to a largest magnitude between a half and 1 first, by a power of two that takes
16 bits, so that no labels are too large or too small for a codec.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.codecs.feedback import metric_error
from cvxdistill.codecs.kinds import LABEL_KINDS, check_label_kind, to_distributions
from cvxdistill.errors import InputError

LABELS, EXPONENT = "labels", "labels.exponent"
# Beyond any number of float64, the smallest ones with fewer digits included.
LARGEST_EXPONENT = 1100


@dataclasses.dataclass(frozen=True)
class ArrayForm:
    """What an array must be: its type and its sizes."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """What such an array takes."""
        return 8 * self.dtype.itemsize * math.prod(self.shape)

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} of shape {self.shape}"


@dataclasses.dataclass(frozen=True, eq=False)
class StoredLabels:
    """Labels as a codec stores them.

    Attributes:
        codec: what made the arrays and can read them.
        label_kind: `distribution` or `scores`.
        shape: `(m, C)` of the labels.
        arrays: by the names that they have in an artefact, `labels` and `labels.SOMETHING`.

    Raises:
        InputError: arrays that are not what this codec stores for such labels.
    """

    codec: "LabelCodec"
    label_kind: str
    shape: tuple[int, int]
    arrays: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        layout = self.codec.layout(*self.shape, self.label_kind)
        if set(self.arrays) != set(layout):
            raise InputError(
                f"labels stored as `{self.codec}` are made of the arrays {', '.join(layout)}; got "
                f"{', '.join(sorted(self.arrays)) or 'none'}."
            )
        for name, form in layout.items():
            found = ArrayForm(self.arrays[name].dtype, tuple(self.arrays[name].shape))
            if found != form:
                raise InputError(
                    f"labels stored as `{self.codec}`: `{name}` must be {form} for {self.shape[0]} "
                    f"examples and {self.shape[1]} classes; got {found}."
                )

    @property
    def bits(self) -> int:
        """What the arrays take, every last bit of a byte that is begun."""
        return sum(8 * array.element_size() * array.numel() for array in self.arrays.values())

    def decode(self) -> Tensor:
        """Return the labels `(m, C)` float64."""
        return self.codec.decode(self)

    def check_holds(self, labels: Tensor, label_kind: str) -> None:
        """Refuse labels that are not those which are stored here.

        Raises:
            InputError: other labels, or labels of another kind.
        """
        if self.label_kind != label_kind or not torch.equal(self.decode(), labels.double().cpu()):
            raise InputError(
                f"`labels` must be those that are stored as `{self.codec}`; got others. "
                "Give `stored=None` with new labels."
            )


class LabelCodec(ABC):
    """A way to store labels. To add one: a frozen dataclass in its own file, a line in `CODECS`.

    The contract, checked for every registered codec. With `stored = codec.encode(Y, kind)`:

    - `stored.decode()` is `(m, C)` float64, finite; of kind `distribution` non-negative with rows
      that sum to 1 within 1e-12;
    - `stored.bits == codec.bits(m, C, kind)`, which is what the arrays take;
    - the norm of every row of `stored.decode() - Y` is at most `codec.error_bound(Y, kind)`, but
      for rounding, and where `exact` it is zero;
    - for kinds in `stable`, storing a second time loses nothing more: `encode(stored.decode())`
      decodes to the same labels;
    - scores times a power of two are stored as well as the scores themselves;
    - with a `metric` the error `tr(E' K E)` is at most what it is without, but for rounding.

    Attributes:
        name: its name in `CODECS`.
        exact: labels come back bit for bit.
        stable: kinds of labels of which a second storing loses nothing more.
        steers: a metric changes what is stored.
    """

    name: ClassVar[str]
    exact: ClassVar[bool] = False
    stable: ClassVar[tuple[str, ...]] = LABEL_KINDS
    steers: ClassVar[bool] = True

    def encode(
        self, labels: Tensor, label_kind: str, *, metric: Tensor | None = None
    ) -> StoredLabels:
        """Store labels.

        Args:
            labels: `(m, C)`.
            label_kind: `distribution` or `scores`.
            metric: `K (m, m)`, symmetric positive semidefinite; errors `E` of the labels then count
                as `tr(E' K E)`, and not as `|E|^2`. With the `K` of
                [label_metric][cvxdistill.compress.label_metric] that is what they do to the
                predictions of the head.

        Raises:
            InputError: not a finite matrix or not of this kind, or a metric of another size.
        """
        check_matrix("labels", labels)
        if labels.ndim != 2:
            raise InputError(f"`labels` must be (m, C); got shape {tuple(labels.shape)}.")
        plain = given = labels.detach().to("cpu", torch.float64)
        check_label_kind(plain, label_kind)
        m = len(labels)
        if metric is not None:
            check_matrix("metric", metric, rows=m, columns=m)
            metric = metric.detach().to("cpu", torch.float64)
        arrays: dict[str, Tensor] = {}
        if self._has_exponent(label_kind):
            exponent = binary_exponent(plain)
            arrays[EXPONENT] = torch.tensor([exponent], dtype=torch.int16)
            plain = times_power(plain, -exponent)
        stored = self._stored(plain, label_kind, None, arrays)
        if metric is None or not self.steers:
            return stored
        steered = self._stored(plain, label_kind, metric, arrays)
        # What is done for the metric is no proof that it helped.
        return min(steered, stored, key=lambda one: metric_error(one.decode() - given, metric))

    def _stored(
        self,
        labels: Tensor,
        label_kind: str,
        metric: Tensor | None,
        arrays: Mapping[str, Tensor],
    ) -> StoredLabels:
        every = {**arrays, **self._encode(labels, label_kind, metric)}
        return StoredLabels(self, label_kind, (len(labels), labels.shape[1]), every)

    def decode(self, stored: StoredLabels) -> Tensor:
        """Return the labels `(m, C)` float64 on the CPU.

        Raises:
            InputError: stored by another codec, or contents that mean no labels.
        """
        if stored.codec != self:
            raise InputError(f"labels stored as `{stored.codec}` cannot be read as `{self}`.")
        labels = self._decode(stored.arrays, stored.shape, stored.label_kind)
        if self._has_exponent(stored.label_kind):
            exponent = int(stored.arrays[EXPONENT])
            if abs(exponent) > LARGEST_EXPONENT:
                raise InputError(f"labels stored as `{self}` have 2^{exponent} for their size.")
            labels = times_power(labels, exponent)
        if not bool(torch.isfinite(labels).all()):
            raise InputError(f"labels stored as `{self}` hold NaN or infinite entries.")
        if stored.label_kind == "distribution" and not self.exact:
            labels = to_distributions(labels)
        return labels

    def layout(self, examples: int, classes: int, label_kind: str) -> dict[str, ArrayForm]:
        """Return the arrays that labels `(examples, classes)` are stored as."""
        form = self._layout(examples, classes, label_kind)
        extra = {EXPONENT: ArrayForm(torch.int16, (1,))} if self._has_exponent(label_kind) else {}
        return {**form, **extra}

    def bits(self, examples: int, classes: int, label_kind: str) -> int:
        """Return what labels `(examples, classes)` take."""
        return sum(form.bits for form in self.layout(examples, classes, label_kind).values())

    def error_bound(self, labels: Tensor, label_kind: str) -> Tensor:
        """Return a bound `(m,)` of the norm of the error of each row, stored without a metric.

        Of scores it is the sum of the bounds of the entries. Of distributions it is twice that:
        with errors `e` before a row is divided by its sum `s`, `|1 - s| <= |e|_1`, and dividing
        adds no more than that once again.
        """
        if self.exact:
            return torch.zeros(len(labels), dtype=torch.float64)
        plain = labels.detach().to("cpu", torch.float64)
        if label_kind == "distribution":
            return 2 * self._entry_bound(plain, label_kind).sum(1)
        exponent = binary_exponent(plain)
        entries = self._entry_bound(times_power(plain, -exponent), label_kind)
        return times_power(entries.sum(1), exponent)

    def options(self) -> dict[str, Any]:
        """Return the options, those at their defaults too."""
        found: Any = self
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(found)}

    def __str__(self) -> str:
        """Return the spec string that `parse_codec` reads, such as `topk:k=2`."""
        listed = ",".join(f"{key}={value}" for key, value in self.options().items())
        return f"{self.name}:{listed}" if listed else self.name

    def _has_exponent(self, label_kind: str) -> bool:
        return label_kind == "scores" and not self.exact

    @abstractmethod
    def _encode(self, labels: Tensor, label_kind: str, metric: Tensor | None) -> dict[str, Tensor]:
        """Return the arrays for labels `(m, C)` float64 whose entries are at most 1 in size."""

    @abstractmethod
    def _decode(
        self, arrays: Mapping[str, Tensor], shape: tuple[int, int], label_kind: str
    ) -> Tensor:
        """Return labels `(m, C)` float64; of distributions, before rows are made to sum to 1."""

    @abstractmethod
    def _layout(self, examples: int, classes: int, label_kind: str) -> dict[str, ArrayForm]:
        """Return the arrays that `_encode` gives."""

    @abstractmethod
    def _entry_bound(self, labels: Tensor, label_kind: str) -> Tensor:
        """Return bounds `(m, C)` of the errors of labels as `_encode` takes and `_decode` gives."""


class EntryCodec(LabelCodec):
    """A codec that stores entries one by one, and so anything else that is made of numbers too."""

    @abstractmethod
    def rounding(self, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what happens to rows `(..., C)` of scores in a store made for `labels (m, C)`."""


def binary_exponent(labels: Tensor) -> int:
    """Return the `e` with the largest magnitude in `[2^(e - 1), 2^e)`; 0 where all is zero.

    Example:
        >>> binary_exponent(torch.tensor([[0.75, -3.0]]))
        2
    """
    return int(torch.frexp(labels.abs().max()).exponent)


def times_power(labels: Tensor, exponent: int) -> Tensor:
    """Return `labels * 2^exponent`, exact where neither end of the range of float64 is met."""
    # In two steps, since 2^1100 is no number while 2^-50 * 2^1100 is one.
    half = exponent // 2
    return labels * 2.0**half * 2.0 ** (exponent - half)
