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
# How likely a match may be by chance, for it to prove anything.
_MOST_CHANCE = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Pick:
    """Base examples that the scripts may have picked.

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
        target: name of the target; none but those of `TARGET_DRAWS` give a pick.
        num_classes: of the target, over which balanced picks are spread.
        seed: the scripts' `random_seed`.
    """
    if target not in TARGET_DRAWS:
        return None
    every = picks(
        labels, len(recorded), draws=TARGET_DRAWS[target], num_classes=num_classes, seed=seed
    )
    for pick in every:
        found = labels[pick.positions]
        if same_classes(found, recorded) and _chance(labels, found) < _MOST_CHANCE:
            return pick
    return None


def same_classes(found: Tensor, recorded: Sequence[int]) -> bool:
    """Whether classes are those of a record, which counts them from 0 or from 1."""
    shift = torch.tensor(recorded, dtype=torch.int64)
    if shift.shape != found.shape:
        return False
    shift = shift - found
    return bool((shift == shift[0]).all()) and int(shift[0]) in (0, 1)


def picks(
    labels: Tensor, count: int, *, draws: Sequence[int], num_classes: int, seed: int
) -> Iterator[Pick]:
    """Yield what the scripts pick: by new and by old versions of PyTorch, random and balanced.

    Args:
        labels: as in `pick_again`.
        count: of base examples, `m`.
        draws: sizes of the permutations drawn before.
        num_classes: of the target.
        seed: the scripts' `random_seed`.
    """
    for order in _orders(len(labels), draws, seed):
        yield Pick(order[:count], balanced=False)
        chosen = _take_balanced(labels[order], max(count // num_classes, 1), num_classes)
        yield Pick(order[chosen], balanced=True)


def _chance(labels: Tensor, found: Tensor) -> float:
    """Return how likely examples at random have the found classes: what a match proves."""
    shares = torch.bincount(labels).double() / len(labels)
    return float(shares[found].log().sum().exp())


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


def _take_balanced(labels: Tensor, quota: int, num_classes: int) -> Tensor:
    """Return the positions that are taken from shuffled labels.

    The first `num_classes` classes that come are opened, and each is filled up to its quota.
    """
    counts: dict[int, int] = {}
    taken = []
    for position, label in enumerate(labels.tolist()):
        is_open = label in counts or len(counts) < num_classes
        if is_open and counts.get(label, 0) < quota:
            counts[label] = counts.get(label, 0) + 1
            taken.append(position)
            if len(taken) == quota * num_classes:
                break
    return torch.tensor(taken, dtype=torch.int64)
