"""Labels as floating-point numbers of some width."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.codecs.base import LABELS, ArrayForm, EntryCodec
from cvxdistill.codecs.kinds import LABEL_KINDS


class FloatCodec(EntryCodec):
    """Every entry rounded to the nearest number of a floating-point type.

    Attributes:
        dtype: that type.
    """

    dtype: ClassVar[torch.dtype]
    # Dividing rows by their sums leaves numbers of a longer type.
    stable: ClassVar[tuple[str, ...]] = ("scores",)
    # Nothing that a head would notice is left to be gained.
    steers: ClassVar[bool] = False

    def rounding(self, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the rounding to the type, with no entry larger than the labels have."""
        largest = float(labels.abs().max())
        return lambda rows: rows.clamp(-largest, largest).to(self.dtype).to(torch.float64)

    def _encode(
        self,
        labels: Tensor,
        label_kind: str,  # noqa: ARG002
        metric: Tensor | None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        return {LABELS: labels.to(self.dtype).contiguous()}

    def _decode(
        self,
        arrays: Mapping[str, Tensor],
        shape: tuple[int, int],  # noqa: ARG002
        label_kind: str,  # noqa: ARG002
    ) -> Tensor:
        return arrays[LABELS].to(torch.float64)

    def _layout(self, examples: int, classes: int, label_kind: str) -> dict[str, ArrayForm]:  # noqa: ARG002
        return {LABELS: ArrayForm(self.dtype, (examples, classes))}

    def _entry_bound(self, labels: Tensor, label_kind: str) -> Tensor:  # noqa: ARG002
        about = torch.finfo(self.dtype)
        # Half a step of numbers of this size, and of those below the smallest normal one.
        return about.eps / 2 * labels.abs() + about.tiny * about.eps / 2


@dataclasses.dataclass(frozen=True)
class Float64(FloatCodec):
    """Labels as they were solved, 64 bits an entry: the default.

    Choose it while bits do not matter: nothing is lost, and a certificate holds to its last digit.

    Example:
        >>> labels = torch.tensor([[0.1, -0.3]], dtype=torch.float64)
        >>> torch.equal(Float64().encode(labels, "scores").decode(), labels)
        True
    """

    name: ClassVar[str] = "float64"
    exact: ClassVar[bool] = True
    stable: ClassVar[tuple[str, ...]] = LABEL_KINDS
    dtype: ClassVar[torch.dtype] = torch.float64


@dataclasses.dataclass(frozen=True)
class Float32(FloatCodec):
    """32 bits an entry, with an error of at most `6e-8` of it.

    Choose it where labels are to be told apart from float64 by nothing but a certificate.

    Example:
        >>> Float32().bits(100, 10, "distribution")
        32000
    """

    name: ClassVar[str] = "float32"
    dtype: ClassVar[torch.dtype] = torch.float32


@dataclasses.dataclass(frozen=True)
class Float16(FloatCodec):
    """16 bits an entry, with an error of at most `5e-4` of it.

    Choose it without thinking: accuracy does not show the difference.

    Example:
        >>> Float16().encode(torch.tensor([[1.0, 0.0]]), "scores").decode().tolist()
        [[1.0, 0.0]]
    """

    name: ClassVar[str] = "float16"
    dtype: ClassVar[torch.dtype] = torch.float16


@dataclasses.dataclass(frozen=True)
class BFloat16(FloatCodec):
    """16 bits an entry, with an error of at most `4e-3` of it, however small it is.

    Choose `float16` unless entries of one label differ by more than a factor of 10,000.

    Example:
        >>> BFloat16().encode(torch.tensor([[1.0, 1e-30]]), "scores").decode()[0, 1] > 0
        tensor(True)
    """

    name: ClassVar[str] = "bfloat16"
    dtype: ClassVar[torch.dtype] = torch.bfloat16
