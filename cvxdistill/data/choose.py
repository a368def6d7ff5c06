"""Choosing the base examples: the few real images that get synthetic labels."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.data.base import ImageSet
from cvxdistill.data.files import reading
from cvxdistill.data.stratify import shuffle_within_classes
from cvxdistill.errors import InputError
from cvxdistill.seeding import generator

Indices = str | Path | Sequence[int] | Tensor


@dataclasses.dataclass(frozen=True)
class BaseRequest:
    """What a chooser is asked for.

    Attributes:
        examples: how many base examples; `None` only where `indices` say it.
        seed: the seed given by the user.
        indices: the examples themselves, for the chooser `indices`.
    """

    examples: int | None
    seed: int = 0
    indices: Indices | None = None


def choose_base(
    data: ImageSet,
    examples: int | None = None,
    *,
    how: str = "balanced",
    seed: int = 0,
    indices: Indices | None = None,
) -> ImageSet:
    """Choose the base examples from the training part.

    Args:
        data: what to choose from.
        examples: how many, `m`; may be left out when `indices` are given.
        how: `balanced`, the same number from every class, one more for some classes drawn at
            random where `m` is no multiple of `C`, ordered by class; `random`, uniformly without
            replacement; `indices`, as told. For one seed, smaller draws are contained in larger
            ones as long as they are random or multiples of `C`.
        seed: seed of the draw.
        indices: for `how="indices"`: numbers, a comma list, or a `.npy` or text file of them.
            They count in the order of `data.source_split`, as an artefact records them, and so
            mean the same images whatever the division into parts.

    Returns:
        `(m,)` examples of `data`, their `indices` kept, `split` set to `base`.

    Raises:
        InputError: more examples than there are, too few in a class, or indices that are
            repeated, unreadable, or not in `data`.

    Example:
        >>> images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
        >>> data = ImageSet(images, torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"), name="toy")
        >>> choose_base(data, 4).labels.tolist()
        [0, 0, 1, 1]
        >>> choose_base(data, how="indices", indices="5,0").indices.tolist()
        [5, 0]
    """
    chooser = CHOOSERS[check_choice("how", how, CHOOSERS)]
    if how != "indices" and indices is not None:
        raise InputError(f'`indices` are read with how="indices" alone; got how="{how}".')
    positions = chooser(data, BaseRequest(examples, seed, indices))
    return data.subset(positions, split="base")


def choose_balanced(data: ImageSet, request: BaseRequest) -> Tensor:
    """Return positions of equally many examples of every class, ordered by class.

    Raises:
        InputError: a class has too few examples.
    """
    examples = _check_examples(data, request)
    draw = generator(request.seed, "base", "balanced")
    order = torch.randperm(data.num_classes, generator=draw)
    wanted = torch.full((data.num_classes,), examples // data.num_classes)
    wanted[order[: examples % data.num_classes]] += 1
    _check_classes(data, wanted)
    positions, ranks = shuffle_within_classes(data.labels, data.num_classes, draw)
    return positions[ranks < wanted[data.labels[positions]]]


def choose_random(data: ImageSet, request: BaseRequest) -> Tensor:
    """Return positions drawn uniformly without replacement, in the order drawn.

    Raises:
        InputError: more examples than there are.
    """
    examples = _check_examples(data, request)
    draw = generator(request.seed, "base", "random")
    return torch.randperm(len(data), generator=draw)[:examples]


def choose_indices(data: ImageSet, request: BaseRequest) -> Tensor:
    """Return the positions of given source indices, in the order given.

    Raises:
        InputError: none given, not the number asked for, repeated, or not in `data`.
    """
    if request.indices is None:
        raise InputError('how="indices" needs `indices` (--indices LIST|FILE); got none.')
    wanted = _parse_indices(request.indices)
    if request.examples not in (None, len(wanted)):
        raise InputError(
            f"`examples` must be left out or equal the {len(wanted)} `indices`; got "
            f"{request.examples}."
        )
    in_order = wanted.sort().values
    repeated = in_order[1:][in_order[1:] == in_order[:-1]]
    if len(repeated):
        raise InputError(f"`indices` must differ; {int(repeated[0])} comes twice.")
    order = torch.argsort(data.indices)
    known = data.indices[order]
    slots = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    absent = wanted[known[slots] != wanted]
    if len(absent):
        raise InputError(
            f"`indices` must be among the {len(data):,} examples of the {data.split} part of "
            f"{data.name} ({int(known[0])} to {int(known[-1])}, other parts left out); got "
            f"{int(absent[0])}."
        )
    return order[slots]


CHOOSERS: dict[str, Callable[[ImageSet, BaseRequest], Tensor]] = {
    "balanced": choose_balanced,
    "indices": choose_indices,
    "random": choose_random,
}


def _check_examples(data: ImageSet, request: BaseRequest) -> int:
    if request.examples is None or request.examples < 1:
        raise InputError(
            f"`examples` must be at least 1 base example (--examples M); got {request.examples}."
        )
    if request.examples > len(data):
        raise InputError(
            f"`examples` must be at most the {len(data):,} examples of the {data.split} part of "
            f"{data.name}; got {request.examples:,}. Ask for fewer."
        )
    return request.examples


def _check_classes(data: ImageSet, wanted: Tensor) -> None:
    counts = data.class_counts
    short = (counts < wanted.clamp(min=1)).nonzero().flatten()
    if not len(short):
        return
    label = int(short[0])
    raise InputError(
        f"a balanced base set needs {max(int(wanted[label]), 1)} examples of every class; class "
        f"`{data.class_names[label]}` of {data.name} has {int(counts[label])}. Ask for fewer "
        'examples, drop the class, or choose with how="random".'
    )


def _parse_indices(indices: Indices) -> Tensor:
    """Read indices from numbers, a comma list or a file into an int64 vector."""
    values = _read_indices(indices) if isinstance(indices, str | Path) else np.asarray(indices)
    if values.ndim != 1 or values.dtype.kind not in "iu" or values.size == 0:
        raise InputError(
            "`indices` must be a vector of one or more whole numbers; got shape "
            f"{values.shape} of {values.dtype}."
        )
    return torch.from_numpy(values.astype(np.int64))


def _read_indices(text: str | Path) -> np.ndarray:
    path = Path(text)
    if path.suffix == ".npy":
        with reading(path, expected="a .npy file of indices"):
            return np.asarray(np.load(path, allow_pickle=False))
    source = "`indices`"
    if path.is_file():
        source = str(path)
        with reading(path, expected="a text file of indices"):
            text = path.read_text(encoding="utf-8")
    words = str(text).replace(",", " ").split()
    try:
        return np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        shown = " ".join(words)[:60]
        raise InputError(
            f"{source} must be whole numbers with commas between them, or an existing .npy or "
            f"text file of them; got `{shown}`."
        ) from None
