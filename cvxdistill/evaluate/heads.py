"""Ridge heads on frozen extractors: the one the labels were solved for, and unseen ones."""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet
from cvxdistill.errors import CvxDistillError
from cvxdistill.evaluate.metrics import accuracy
from cvxdistill.evaluate.rows import EvalRow
from cvxdistill.features import Extractor, StatisticsCache, embed
from cvxdistill.heads import LabelLinearHead
from cvxdistill.progress import Progress, silent


def evaluate_heads(
    distilled: Distilled,
    test: ImageSet,
    *,
    setting: str,
    extractors: Sequence[Extractor],
    labels: Mapping[str, Tensor],
    train: ImageSet | None,
    device: torch.device,
    cache: StatisticsCache,
    progress: Progress = silent,
) -> list[EvalRow]:
    """Fit the artefact's head to each label set over each extractor, and test it.

    Args:
        distilled: gives base examples, preprocessing and head.
        test: the test examples.
        setting: name of the rows, `same_extractor` or `unseen_extractor`.
        extractors: one a repetition.
        labels: label sets `(m, C)` by name.
        train: the training examples, for the head of the full data; no such row without them.
        device: where networks run.
        cache: of moments of the training examples.
        progress: told how far the work is.

    Returns:
        One row a label set, with one value an extractor; without values, and with the reason as
        its status, where the head cannot be fitted to the labels.
    """
    preprocessing = distilled.preprocessing.to(device)
    found: dict[str, list[float]] = {name: [] for name in labels}
    failed: dict[str, str] = {}
    spent = dict.fromkeys([*labels, "full"], 0.0)
    head = distilled.head
    linear = head if isinstance(head, LabelLinearHead) and head.finite_weights else None
    # The full-data head is the one that the labels were solved against and certified by.
    target_l2 = distilled.provenance.get("target_l2")
    if train is not None and linear is not None:
        found["full"] = []
    for index, extractor in enumerate(extractors):
        progress(setting, index, len(extractors))
        extractor = extractor.to(device)
        query = embed(extractor, test.images, preprocessing=preprocessing, device=device)
        query, truth = query.to(torch.float64), test.labels.to(device)
        base = embed(extractor, distilled.examples, preprocessing=preprocessing, device=device)
        for name, label_set in labels.items():
            started = time.perf_counter()
            try:
                fit = head.fit(base.to(torch.float64), label_set.to(device))
                found[name].append(accuracy(fit(query), truth))
            except CvxDistillError as error:
                # Such as logistic regression on true labels of fewer classes than there are.
                failed[name] = str(error)
            spent[name] += time.perf_counter() - started
        if train is not None and linear is not None:
            started = time.perf_counter()
            moments = cache.statistics(extractor, train, preprocessing=preprocessing, device=device)
            full = linear.target_root(moments, target_l2=target_l2).full
            found["full"].append(accuracy(full(query), truth))
            spent["full"] += time.perf_counter() - started
    progress(setting, len(extractors), len(extractors))
    network = str(extractors[0].network) if extractors else ""
    rows = [
        EvalRow(
            setting,
            network,
            name,
            () if name in failed else tuple(values),
            status=failed.get(name, "ok"),
            seconds=round(spent[name], 4),
        )
        for name, values in found.items()
    ]
    if train is not None and linear is None:
        status = f"{type(head).__name__} is not fitted from moments of the full data"
        rows.append(EvalRow(setting, network, "full", (), status=status))
    return rows
