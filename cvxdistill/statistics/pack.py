"""Moments as one vector of numbers, to be sent from process to process."""

import torch
from torch import Tensor

from cvxdistill.statistics.file import TENSORS
from cvxdistill.statistics.moments import TargetStatistics

_KINDS = ("none", "classes", "real")


def pack(stats: TargetStatistics) -> Tensor:
    """Return count, weight, kind of targets and all moments as one float64 vector.

    Its length depends on the numbers of features and targets alone. Names, extractor and sources
    are left out.
    """
    counts = stats.class_counts
    known = (float(stats.count), stats.weight, float(_KINDS.index(stats.target_kind)))
    parts = (
        stats.feature_mean.new_tensor(known),
        *(getattr(stats, name).flatten() for name in TENSORS),
        torch.zeros_like(stats.label_mean) if counts is None else counts,
    )
    return torch.cat(parts)


def unpack(vector: Tensor, like: TargetStatistics) -> TargetStatistics:
    """Return the moments of a vector, with the sizes, names, extractor and sources of `like`.

    Example:
        >>> features, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])
        >>> stats = TargetStatistics(1, 2).update(features, labels)
        >>> unpack(pack(stats), TargetStatistics(1, 2))
        TargetStatistics(num_features=1, num_classes=2, count=2)
    """
    copy = like.to(vector.device)
    sizes = [getattr(copy, name).numel() for name in TENSORS]
    known, *parts = vector.split([3, *sizes, copy.num_classes])
    count, weight, kind = known.tolist()
    copy.count, copy.weight, copy.target_kind = int(count), weight, _KINDS[int(kind)]
    for name, part in zip(TENSORS, parts[:-1], strict=True):
        setattr(copy, name, part.view(getattr(copy, name).shape).clone())
    copy.class_counts = None if copy.target_kind == "real" else parts[-1].clone()
    return copy
