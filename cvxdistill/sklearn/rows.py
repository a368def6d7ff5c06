"""Which samples become base rows: the choosers of the package, made to suit any set of samples."""

import numpy as np
import torch
from numpy.typing import NDArray

from cvxdistill.choose import Balanced, BaseRequest, Chooser, parse_chooser
from cvxdistill.data import ImageSet
from cvxdistill.heads import RidgeHead, Target
from cvxdistill.sklearn.samples import Samples
from cvxdistill.statistics import TargetStatistics


def read_chooser(choose: str | Chooser) -> Chooser:
    """Return the chooser of a name, with its options, or the one given.

    Raises:
        InputError: an unknown name or option.
    """
    return parse_chooser(choose) if isinstance(choose, str) else choose


def strata_of(samples: Samples, chooser: Chooser) -> NDArray[np.int64]:
    """Return the strata `(n,)` of a stream: classes for a chooser that goes by them, else one."""
    return samples.groups if _goes_by_class(chooser) else np.zeros(len(samples), dtype=np.int64)


def choose_rows(
    candidates: Samples,
    examples: int,
    chooser: Chooser,
    *,
    target: Target,
    head: RidgeHead,
    seed: int,
) -> NDArray[np.int64]:
    """Return the positions of base rows among the candidates.

    All of them where no more are there than asked for. Where the chooser goes by classes, one with
    less than an equal share gives all it has, and the others make up for it.

    Args:
        candidates: what to choose from.
        examples: how many.
        chooser: how.
        target: what labels will be solved against.
        head: what they will be solved for.
        seed: of the draw.

    Raises:
        InputError: the chooser cannot choose so.
    """
    every = np.arange(len(candidates))
    if examples >= len(every):
        return every
    whole = _rare(candidates.groups, examples) if _goes_by_class(chooser) else every[:0]
    rest = np.setdiff1d(every, whole, assume_unique=True)
    part = candidates.take(rest) if len(whole) else candidates
    groups, classes = np.unique(part.groups, return_inverse=True)
    data = ImageSet(
        # A copy only where the memory is not to be written to, as a tensor's can always be.
        torch.from_numpy(np.require(part.features, requirements=("C", "W"))),
        torch.from_numpy(classes),
        tuple(map(str, groups)),
        name="samples",
    )
    moments = target if isinstance(target, TargetStatistics) else None
    request = BaseRequest(data, examples - len(whole), seed, target=moments, head=head)
    return np.concatenate([whole, rest[chooser.choose(request).numpy()]])


def _goes_by_class(chooser: Chooser) -> bool:
    return isinstance(chooser, Balanced) or bool(getattr(chooser, "per_class", False))


def _rare(groups: NDArray[np.int64], examples: int) -> NDArray[np.int64]:
    """Return the positions of all samples of classes that cannot give an equal share."""
    left = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    taken: list[int] = []
    while short := [group for group, count in left.items() if count * len(left) < examples]:
        for group in short:
            examples -= left.pop(group)
            taken.append(group)
    return np.flatnonzero(np.isin(groups, taken))
