"""The draws by which the authors' scripts pick base examples, made again from their seed.

Their results hold the classes of the base examples but not which images they are. The pick follows
from the seed alone, so it can be made again and, since the classes came with it, proved.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Sizes of the permutations that dividing each target draws before base examples are picked.
TARGET_DRAWS = {
    "cifar10": (50_000, 45_000),
    "cifar100": (50_000, 45_000),
    "k49": (232_365,),
    "kmnist": (60_000, 50_000),
    "mnist": (60_000, 50_000),
}


@dataclasses.dataclass(frozen=True)
class Pick:
    """A pick of base examples that has the recorded classes.

    Attributes:
        positions: `(m,)` int64 positions in the training part of the source.
        balanced: whether equally many of each class were taken.
    """

    positions: Tensor
    balanced: bool


def pick_again(
    labels: Tensor, recorded: Sequence[int], *, target: str, num_classes: int, seed: int
) -> Pick | None:
    """Return the pick that gives the recorded classes in their order, or `None`.

    Args:
        labels: `(n,)` classes of all examples of the source, from 0, in its order.
        recorded: classes of the base examples, from 0 or (EMNIST letters) from 1.
        target: name of the target, a key of `TARGET_DRAWS`.
        num_classes: of the target, over which balanced picks are spread.
        seed: the scripts' `random_seed`.
    """
    first = first_class(labels, recorded)
    for order in _orders(len(labels), TARGET_DRAWS.get(target, ()), seed):
        for balanced in (False, True):
            quota = max(len(recorded) // num_classes, 1) if balanced else None
            chosen = _take(labels[order], len(recorded), num_classes, quota)
            positions = order[chosen]
            if (labels[positions] + first).tolist() == list(recorded):
                return Pick(positions, balanced)
    return None


def first_class(labels: Tensor, recorded: Sequence[int]) -> int:
    """Return the number of the first class in the record: 1 where the last would not fit else."""
    return int(max(recorded, default=0) > int(labels.max()))


def _orders(count: int, draws: Sequence[int], seed: int) -> Iterator[Tensor]:
    """Yield the order in which a shuffled loader gives `count` examples: new and old PyTorch."""
    for seeded in (True, False):
        generator = torch.Generator().manual_seed(seed)
        for size in draws:
            torch.randperm(size, generator=generator)
        # A loader draws a seed for its workers first, whether it has any or not.
        _draw_seed(generator)
        if seeded:
            # Since 1.9 the sampler shuffles by a generator of its own.
            generator = torch.Generator().manual_seed(_draw_seed(generator))
        yield torch.randperm(count, generator=generator)


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


def _take(labels: Tensor, most: int, num_classes: int, quota: int | None) -> Tensor:
    """Return the positions taken from shuffled labels: the first, or a quota of each class.

    Balanced picks open the first `num_classes` classes that come, and fill each up to its quota.
    """
    if quota is None:
        return torch.arange(min(most, len(labels)))
    counts: dict[int, int] = {}
    taken = []
    for position, label in enumerate(labels.tolist()):
        is_open = label in counts or len(counts) < num_classes
        if is_open and counts.get(label, 0) < quota:
            counts[label] = counts.get(label, 0) + 1
            taken.append(position)
            if len(taken) == min(most, quota * num_classes):
                break
    return torch.tensor(taken, dtype=torch.int64)
