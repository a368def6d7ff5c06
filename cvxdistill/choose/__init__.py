"""Choosing the base examples: the few real examples that get synthetic labels."""

from cvxdistill.choose.balanced import Balanced
from cvxdistill.choose.base import BaseRequest, Chooser, Indices
from cvxdistill.choose.indices import ByIndices
from cvxdistill.choose.random import Random
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.specs import parse_spec

CHOOSERS: dict[str, type[Chooser]] = {
    "balanced": Balanced,
    "indices": ByIndices,
    "random": Random,
}

__all__ = [
    "CHOOSERS",
    "Balanced",
    "BaseRequest",
    "ByIndices",
    "Chooser",
    "Indices",
    "Random",
    "choose_base",
    "parse_chooser",
]


def parse_chooser(spec: str) -> Chooser:
    """Read a chooser as a user types it: `balanced`, or `name:option=value`.

    Raises:
        InputError: an unknown name or option, or a value of the wrong type or out of range.

    Example:
        >>> parse_chooser("random")
        Random()
    """
    return parse_spec(spec, CHOOSERS, what="how")


def choose_base(
    data: ImageSet,
    examples: int | None = None,
    *,
    how: str | Chooser = "balanced",
    seed: int = 0,
    indices: Indices | None = None,
) -> ImageSet:
    """Choose the base examples from the training part.

    Args:
        data: what to choose from.
        examples: how many, `m`; may be left out when `indices` are given.
        how: a name in `CHOOSERS`, or a chooser.
        seed: seed of the draw.
        indices: for `how="indices"`: numbers, a comma list, or a `.npy` or text file of them.

    Returns:
        `(m,)` examples of `data`, their `indices` kept, `split` set to `base`.

    Raises:
        InputError: more examples than there are, too few in a class, or indices that are
            repeated, unreadable, or not in `data`.

    Example:
        >>> import torch
        >>> images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
        >>> data = ImageSet(images, torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"), name="toy")
        >>> choose_base(data, 4).labels.tolist()
        [0, 0, 1, 1]
        >>> choose_base(data, how="indices", indices="5,0").indices.tolist()
        [5, 0]
    """
    chooser = parse_chooser(how) if isinstance(how, str) else how
    if indices is not None and not isinstance(chooser, ByIndices):
        raise InputError(f'`indices` are read with how="indices" alone; got how="{chooser.name}".')
    return data.subset(chooser.choose(BaseRequest(data, examples, seed, indices)), split="base")
