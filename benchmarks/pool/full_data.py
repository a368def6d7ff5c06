"""The ridge head of the whole target, over the same unseen extractors: what labels aim at."""

from typing import Any

from torch import Tensor

from benchmarks.pool.data import HELD_OUT_SEED, UNSEEN_SEED, Study
from benchmarks.pool.labels import L2
from cvxdistill.data import ImageSet
from cvxdistill.evaluate import accuracy
from cvxdistill.features import Extractor
from cvxdistill.heads import RidgeHead
from cvxdistill.statistics import TargetStatistics


def full_data(study: Study, *, held_out: int, unseen: int) -> dict[str, Any]:
    """Choose the penalty on validation, then return test accuracies, one an unseen extractor."""
    chosen = study.draw(held_out, seed=HELD_OUT_SEED)
    scores = [
        [_score(study, moments, l2, one, study.parts.validation) for l2 in L2]
        for one, moments in ((one, _moments(study, one)) for one in chosen)
    ]
    means = [sum(column) / len(column) for column in zip(*scores, strict=True)]
    best = L2[max(range(len(L2)), key=lambda index: means[index])]
    accuracies = [
        _score(study, _moments(study, one), best, one, study.parts.test())
        for one in study.draw(unseen, seed=UNSEEN_SEED)
    ]
    tried = [{"l2": l2, "accuracy": mean} for l2, mean in zip(L2, means, strict=True)]
    return {"l2": best, "tried": tried, "accuracies": accuracies}


def _moments(study: Study, extractor: Extractor) -> TargetStatistics:
    features: Tensor = study.features(extractor, study.target)
    statistics = TargetStatistics(features.shape[1], study.target.num_classes)
    return statistics.update(features, study.target.labels)


def _score(
    study: Study, moments: TargetStatistics, l2: float, extractor: Extractor, data: ImageSet
) -> float:
    head = RidgeHead(l2=l2).target_root(moments).full
    return accuracy(head(study.features(extractor, data).double()), data.labels)
