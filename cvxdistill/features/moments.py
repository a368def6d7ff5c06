"""Moments of a data set under an extractor, in one streaming pass."""

import torch
from torch import Tensor

from cvxdistill.data import ImageSet
from cvxdistill.features.base import Extractor
from cvxdistill.features.embedding import embed_batches
from cvxdistill.features.preprocess import Preprocessing
from cvxdistill.progress import Progress, silent
from cvxdistill.statistics import TargetStatistics

# Rows gathered for one product. Merging moments costs a few passes over a d x d matrix, as much as
# the product of a few dozen rows, so batches of the size that suits networks would double it.
_ROWS = 4096


def embed_statistics(
    extractor: Extractor,
    data: ImageSet,
    *,
    preprocessing: Preprocessing,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> TargetStatistics:
    """Return the moments of `data` under `extractor`; its features are never held as a whole.

    Args:
        extractor: the network held still.
        data: labelled examples.
        preprocessing: done to each batch first.
        device: where networks run and moments are kept.
        progress: told the examples done.

    Example:
        >>> from cvxdistill.data import load_splits
        >>> from cvxdistill.features import ConvNet, draw_extractor
        >>> data = load_splits("digits").train
        >>> extractor = draw_extractor(ConvNet(width=8), data.shape, seed=0)
        >>> embed_statistics(extractor, data, preprocessing=Preprocessing.fit(data)).count
        1078
    """
    statistics = TargetStatistics(extractor.num_features, data.num_classes, device=device)
    gathered: list[Tensor] = []
    batches = embed_batches(
        extractor, data.images, preprocessing=preprocessing, device=device, progress=progress
    )
    for features in batches:
        gathered.append(features)
        rows = sum(map(len, gathered))
        if rows >= _ROWS or statistics.count + rows == len(data):
            labels = data.labels[statistics.count : statistics.count + rows]
            statistics.update(torch.cat(gathered), labels)
            gathered = []
    return statistics


class StatisticsCache:
    """Moments that were computed already in this process, so that no pass is made twice.

    A distillation and its evaluation need the same moments of the training examples. Nothing is
    dropped: `8 * d**2` bytes an extractor, 11 MB at 1,152 features.

    Example:
        >>> from cvxdistill.data import load_splits
        >>> from cvxdistill.features import ConvNet, draw_extractor
        >>> data, cache = load_splits("digits").train, StatisticsCache()
        >>> extractor, ready = draw_extractor(ConvNet(width=4), data.shape, seed=0), Preprocessing()
        >>> first = cache.statistics(extractor, data, preprocessing=ready)
        >>> cache.statistics(extractor, data, preprocessing=ready) is first
        True
    """

    def __init__(self) -> None:
        # The data set itself is kept beside its moments: its identity is the key, and must not
        # be given to another object while the key is in use.
        self._kept: dict[tuple[str, int, str, str], tuple[ImageSet, TargetStatistics]] = {}

    def statistics(
        self,
        extractor: Extractor,
        data: ImageSet,
        *,
        preprocessing: Preprocessing,
        device: torch.device | str = "cpu",
        features: Tensor | None = None,
        progress: Progress = silent,
    ) -> TargetStatistics:
        """Return what `embed_statistics` returns, computed at the first call only.

        With `features (n, d)` of the data at hand no network runs for it.
        """
        key = extractor.fingerprint(), id(data), preprocessing.fingerprint(), str(device)
        if key not in self._kept and features is not None:
            found = TargetStatistics(features.shape[1], data.num_classes, device=device)
            parts = zip(features.split(_ROWS), data.labels.split(_ROWS), strict=True)
            for rows, labels in parts:
                found.update(rows, labels)
            self._kept[key] = data, found
        if key not in self._kept:
            found = embed_statistics(
                extractor, data, preprocessing=preprocessing, device=device, progress=progress
            )
            self._kept[key] = data, found
        return self._kept[key][1]
