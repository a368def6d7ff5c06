"""What else was tried on validation, at one pool size, and did not make it into the comparison."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.pool.labels import Pool, Settings, mean_accuracy, solve
from cvxdistill.heads import RidgeHead
from cvxdistill.solvers import HeldOut, solve_labels
from cvxdistill.statistics import TargetStatistics


def explore(
    pool: Pool,
    held_out: Sequence[HeldOut],
    target_logits: Tensor,
    teacher: Tensor,
    few: Tensor,
    settings: Settings,
) -> list[dict[str, Any]]:
    """Return validation accuracies of ideas beside those of what they change.

    Args:
        pool: of four extractors.
        held_out: where labels are scored.
        target_logits: the teachers' logits of the target.
        teacher: the teachers' logits of the base.
        few: those of the first three teachers alone.
        settings: of the cross-entropy; its penalty is used throughout.
    """
    l2, plain = settings.l2, dataclasses.replace(settings, weight=0.0)
    rows: list[dict[str, Any]] = []

    def keep(what: str, labels: Tensor) -> None:
        accuracy = mean_accuracy(held_out, l2, labels)
        rows.append({"what": what, "accuracy": accuracy})
        print(f"{what}: {100 * accuracy:.2f}", flush=True)

    keep("labels: logits of all teachers", teacher)
    keep("labels: logits of three teachers", few)
    squared = solve("squared", pool, Settings(l2), teacher).labels
    keep("squared loss, true classes", squared)
    bare = solve_labels(
        list(pool.bases), list(pool.statistics), head=RidgeHead(l2=l2), target_l2=0.0
    )
    keep("squared loss, true classes, no penalty in the label objective", bare.labels)
    for temperature in (1.0, 4.0, 8.0):
        soft = (target_logits / temperature).softmax(1)
        moments = [TargetStatistics(f.shape[1], 10).update(f, soft) for f in pool.features]
        labels = solve("taught", dataclasses.replace(pool, taught=moments), Settings(l2), teacher)
        keep(f"squared loss, teachers' softmax at temperature {temperature:g}", labels.labels)
    keep("squared loss, teachers' logits", solve("taught", pool, Settings(l2), teacher).labels)
    entropy = solve("entropy", pool, plain, teacher).labels.double()
    keep("cross-entropy, true classes", entropy)
    for temperature in (1.0, 2.0, 4.0):
        soft = (target_logits / temperature).softmax(1)
        found = solve("entropy", dataclasses.replace(pool, classes=soft), plain, teacher)
        keep(f"cross-entropy, teachers' softmax at temperature {temperature:g}", found.labels)
    centred = entropy - entropy.mean(1, keepdim=True)
    for share in (0.1, 0.3):
        mixed = centred / centred.norm() + share * teacher / teacher.norm()
        keep(f"cross-entropy labels with {share:g} of the teachers' logits added", mixed)
    clipped = torch.nn.functional.relu(centred)
    keep("cross-entropy labels, negative scores cut off", clipped)
    return rows
