"""What a way of choosing the base examples is, and what it is asked."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias

from torch import Tensor

from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError

Indices: TypeAlias = str | Path | Sequence[int] | Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class BaseRequest:
    """What a chooser is asked for.

    Attributes:
        data: what to choose from.
        examples: how many base examples; `None` only where `indices` say it.
        seed: the seed given by the user.
        indices: the examples themselves, for the chooser `indices`.
    """

    data: ImageSet
    examples: int | None = None
    seed: int = 0
    indices: Indices | None = None

    @property
    def count(self) -> int:
        """Number of examples asked for, `m`.

        Raises:
            InputError: none asked for, or more than there are.
        """
        if self.examples is None or self.examples < 1:
            raise InputError(
                f"`examples` must be at least 1 base example (--examples M); got {self.examples}."
            )
        if self.examples > len(self.data):
            raise InputError(
                f"`examples` must be at most the {len(self.data):,} examples of the "
                f"{self.data.split} part of {self.data.name}; got {self.examples:,}. Ask for fewer."
            )
        return self.examples


@dataclasses.dataclass(frozen=True)
class Chooser(ABC):
    """A way of choosing base examples. To add one: a subclass here, one line in `CHOOSERS`.

    Dataclass fields are options, written `name:option=value` on the command line.

    The contract, checked for every registered chooser: `choose(request)` returns
    `request.examples` distinct positions into `request.data`, the same ones each time.

    Class attributes:
        name: the key in `CHOOSERS`.
    """

    name: ClassVar[str]

    @abstractmethod
    def choose(self, request: BaseRequest) -> Tensor:
        """Return positions `(m,)` int64, in the order in which the examples are to stand.

        Raises:
            InputError: the examples cannot be chosen so.
        """
