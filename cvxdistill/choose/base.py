"""What a way of choosing the base examples is, and what it is asked."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias

from torch import Tensor

from cvxdistill.checks import check_matrix
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.heads import Head, RidgeHead
from cvxdistill.statistics import TargetStatistics

# Rows cast to float64 at once: the copy stays small beside features in float16 or float32.
BLOCK_ROWS = 16384

Indices: TypeAlias = str | Path | Sequence[int] | Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class BaseRequest:
    """What a chooser is asked for.

    Attributes:
        data: what to choose from, `N` examples.
        examples: how many base examples; `None` only where `indices` say it.
        seed: the seed given by the user.
        indices: the examples themselves, for the chooser `indices`.
        features: `(N, d)` features of `data`, for choosers that look at them; examples that are
            feature vectors are their own.
        target: moments of the target under the same extractor; those of `data` when not given.
        head: the head that labels will be solved for.
        target_l2: penalty in the label objective, as in `solve_labels`.

    Raises:
        InputError: features that do not fit the examples or the moments.
    """

    data: ImageSet
    examples: int | None = None
    seed: int = 0
    indices: Indices | None = None
    features: Tensor | None = None
    target: TargetStatistics | None = None
    head: Head = dataclasses.field(default_factory=RidgeHead)
    target_l2: float | None = None

    def __post_init__(self) -> None:
        if self.features is not None:
            check_matrix("features", self.features, rows=len(self.data))
        if self.target is not None and self.features is not None:
            check_matrix("features", self.features, columns=self.target.num_features)

    @property
    def count(self) -> int:
        """Number of examples asked for, `m`.

        Raises:
            InputError: none asked for, or more than there are.
        """
        return check_count(self.examples, self.data)

    @property
    def embedded(self) -> Tensor:
        """The features `(N, d)` that choosers look at, as they were given.

        Raises:
            InputError: images whose features were not given.
        """
        if self.features is not None:
            return self.features
        if len(self.data.shape) == 1:
            return self.data.images
        raise InputError(
            f"this chooser looks at features; got images of shape {self.data.shape} without them. "
            "Pass `features=embed(extractor, data.images, ...)`, or choose balanced or random."
        )

    @property
    def moments(self) -> TargetStatistics:
        """The moments of the target: those given, or else those of the candidates themselves.

        Raises:
            InputError: images whose features were not given.
        """
        if self.target is not None:
            return self.target
        features, classes = self.embedded, self.data.num_classes
        found = TargetStatistics(features.shape[1], classes, device=features.device)
        for rows, labels in zip(
            features.split(BLOCK_ROWS), self.data.labels.split(BLOCK_ROWS), strict=True
        ):
            found.update(rows, labels)
        return found


@dataclasses.dataclass(frozen=True)
class Chooser(ABC):
    """A way of choosing base examples. To add one: a subclass here, one line in `CHOOSERS`.

    Dataclass fields are options, written `name:option=value` on the command line.

    The contract, checked for every registered chooser: `choose(request)` returns
    `request.examples` distinct positions into `request.data`, the same ones each time; one that is
    `nested` begins a larger choice with a smaller one, and one that is not `drawn` chooses the same
    examples in whatever order they come.

    Class attributes:
        name: the key in `CHOOSERS`.
        needs_features: whether it looks at features rather than at labels alone.
        nested: whether a smaller choice is the beginning of a larger one.
        drawn: whether the choice depends on the seed.
    """

    name: ClassVar[str]
    needs_features: ClassVar[bool] = False
    nested: ClassVar[bool] = False
    drawn: ClassVar[bool] = False

    @abstractmethod
    def choose(self, request: BaseRequest) -> Tensor:
        """Return positions `(m,)` int64 on the CPU, in the order in which examples are to stand.

        Raises:
            InputError: the examples cannot be chosen so.
        """


def check_count(examples: int | None, data: ImageSet) -> int:
    """Return the number of base examples if `data` has as many.

    Raises:
        InputError: otherwise.
    """
    if examples is None or examples < 1:
        raise InputError(
            f"`examples` must be at least 1 base example (--examples M); got {examples}."
        )
    if examples > len(data):
        raise InputError(
            f"`examples` must be at most the {len(data):,} examples of the {data.split} part of "
            f"{data.name}; got {examples:,}. Ask for fewer."
        )
    return examples
