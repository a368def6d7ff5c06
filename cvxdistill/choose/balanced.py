"""Base examples drawn in equal numbers from every class."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.choose.base import BaseRequest, Chooser
from cvxdistill.data import ImageSet
from cvxdistill.data.stratify import shuffle_within_classes
from cvxdistill.errors import InputError
from cvxdistill.seeding import generator


@dataclasses.dataclass(frozen=True)
class Balanced(Chooser):
    """Equally many examples of every class, ordered by class; the default.

    Choose it where true and smoothed labels are to be fair baselines. Where `m` is no multiple of
    `C`, some classes drawn at random give one more. For one seed, draws of multiples of `C` are
    contained in larger ones.

    Example:
        >>> from cvxdistill.data import load_splits
        >>> data = load_splits("digits").train
        >>> data.labels[Balanced().choose(BaseRequest(data, 10))].tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    name: ClassVar[str] = "balanced"
    drawn: ClassVar[bool] = True

    def choose(self, request: BaseRequest) -> Tensor:
        """Return positions of equally many examples of every class.

        Raises:
            InputError: a class has too few examples.
        """
        data, draw = request.data, generator(request.seed, "base", "balanced")
        wanted = share_equally(data, request.count, draw)
        labels = data.labels.cpu()
        positions, ranks = shuffle_within_classes(labels, data.num_classes, draw)
        return positions[ranks < wanted[labels[positions]]]


def share_equally(data: ImageSet, examples: int, draw: torch.Generator) -> Tensor:
    """Return how many examples `(C,)` each class gives; what is left over goes to classes drawn.

    Raises:
        InputError: a class has too few examples, or none at all.
    """
    order = torch.randperm(data.num_classes, generator=draw)
    wanted = torch.full((data.num_classes,), examples // data.num_classes)
    wanted[order[: examples % data.num_classes]] += 1
    counts = data.class_counts.cpu()
    short = (counts < wanted.clamp(min=1)).nonzero().flatten()
    if len(short):
        label = int(short[0])
        raise InputError(
            f"a balanced base set needs {max(int(wanted[label]), 1)} examples of every class; "
            f"class `{data.class_names[label]}` of {data.name} has {int(counts[label])}. Ask for "
            'fewer examples, drop the class, or choose with how="random".'
        )
    return wanted
