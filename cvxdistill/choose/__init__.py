"""Choosing the base examples: the few real examples that get synthetic labels.

To add a way of choosing: a subclass of `Chooser` in a file of its own and a line in `CHOOSERS`.
"""

from torch import Tensor

from cvxdistill.choose.balanced import Balanced
from cvxdistill.choose.base import BaseRequest, Chooser, Indices, check_count
from cvxdistill.choose.forward import Selection, select_forward
from cvxdistill.choose.greedy import Greedy
from cvxdistill.choose.herding import Herding
from cvxdistill.choose.indices import ByIndices
from cvxdistill.choose.kcenter import KCenter
from cvxdistill.choose.kmeans import KMeans
from cvxdistill.choose.random import Random
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.heads import Head, RidgeHead
from cvxdistill.specs import parse_spec
from cvxdistill.statistics import TargetStatistics

CHOOSERS: dict[str, type[Chooser]] = {
    "balanced": Balanced,
    "greedy": Greedy,
    "herding": Herding,
    "indices": ByIndices,
    "kcenter": KCenter,
    "kmeans": KMeans,
    "random": Random,
}

__all__ = [
    "CHOOSERS",
    "Balanced",
    "BaseRequest",
    "ByIndices",
    "Chooser",
    "Greedy",
    "Herding",
    "Indices",
    "KCenter",
    "KMeans",
    "Random",
    "Selection",
    "check_count",
    "choose_base",
    "parse_chooser",
    "select_forward",
]


def parse_chooser(spec: str) -> Chooser:
    """Read a chooser as a user types it: `balanced`, or `kmeans:per_class=false`.

    Raises:
        InputError: an unknown name or option, or a value of the wrong type or out of range.

    Example:
        >>> parse_chooser("kmeans:per_class=false")
        KMeans(per_class=False)
    """
    return parse_spec(spec, CHOOSERS, what="how")


def choose_base(
    data: ImageSet,
    examples: int | None = None,
    *,
    how: str | Chooser = "balanced",
    seed: int = 0,
    indices: Indices | None = None,
    features: Tensor | None = None,
    target: TargetStatistics | None = None,
    head: Head | None = None,
    target_l2: float | None = None,
) -> ImageSet:
    """Choose the base examples from the training part.

    Args:
        data: what to choose from.
        examples: how many, `m`; may be left out when `indices` are given.
        how: a name in `CHOOSERS`, with options as in `kmeans:per_class=false`, or a chooser.
        seed: seed of the draw.
        indices: for `how="indices"`: numbers, a comma list, or a `.npy` or text file of them.
        features: `(N, d)` features of `data`, for the choosers that look at them: `greedy`,
            `herding`, `kcenter` and `kmeans`. Examples that are feature vectors are their own.
        target: for `greedy`: moments of the target under the same extractor; those of `data` when
            not given.
        head: for `greedy`: the head that labels will be solved for; `RidgeHead()` when not given.
        target_l2: for `greedy`: as in `solve_labels`.

    Returns:
        `(m,)` examples of `data`, their `indices` kept, `split` set to `base`.

    Raises:
        InputError: more examples than there are, too few in a class, indices that are repeated,
            unreadable, or not in `data`, or features that are missing or do not fit.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0]])
        >>> data = ImageSet(z, torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"), name="toy")
        >>> choose_base(data, 4).labels.tolist()
        [0, 0, 1, 1]
        >>> choose_base(data, how="indices", indices="5,0").indices.tolist()
        [5, 0]
        >>> choose_base(data, 2, how="kcenter:per_class=false").indices.tolist()
        [3, 5]
    """
    chooser = parse_chooser(how) if isinstance(how, str) else how
    if indices is not None and not isinstance(chooser, ByIndices):
        raise InputError(f'`indices` are read with how="indices" alone; got how="{chooser.name}".')
    request = BaseRequest(
        data,
        examples,
        seed,
        indices,
        features=features,
        target=target,
        head=head or RidgeHead(),
        target_l2=target_l2,
    )
    return data.subset(chooser.choose(request), split="base")
