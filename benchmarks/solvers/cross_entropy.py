"""Cross-entropy against squared loss: certificate, seconds, and an unseen extractor's head."""

import time
from typing import Any

from benchmarks.solvers.problems import Pool
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import CrossEntropyLoss, LabelLoss, SquaredLoss
from cvxdistill.solvers import HeldOut, choose_temperature, solve_labels

KINDS: tuple[tuple[LabelLoss, str], ...] = (
    (SquaredLoss(), "free"),
    (CrossEntropyLoss(), "free"),
    (SquaredLoss(), "simplex"),
    (CrossEntropyLoss(0.1), "simplex"),
)


def measure(name: str, pool: Pool, *, size: int) -> list[dict[str, Any]]:
    """Solve over the first `size` extractors; score on those after them, with validation data."""
    bases = pool.bases[:size]
    targets = [(features, pool.labels) for features in pool.targets[:size]]
    unseen = [
        HeldOut(base, features, pool.validation_labels)
        for base, features in zip(pool.bases[size:], pool.validation[size:], strict=True)
    ]
    rows = []
    for loss, constraint in KINDS:
        began = time.perf_counter()
        solution = solve_labels(bases, targets, loss=loss, constraint=constraint)
        seconds = time.perf_counter() - began
        accuracies = [one.accuracy(RidgeHead(), solution.labels) for one in unseen]
        rows.append(
            {
                "problem": name,
                "loss": repr(loss),
                "constraint": constraint,
                "status": solution.status.name,
                "seconds": seconds,
                "objective": solution.objective,
                "gap_bound": solution.certificate.gap_bound,
                "stats": dict(solution.stats),
                "unseen_extractor": sum(accuracies) / len(accuracies),
            }
        )
    # Chosen on the pool itself: its extractors with validation data.
    seen = [
        HeldOut(base, features, pool.validation_labels)
        for base, features in zip(bases, pool.validation[:size], strict=True)
    ]
    choice = choose_temperature(bases, targets, held_out=seen, temperatures=(0.1, 0.3, 1.0))
    rows.append(
        {
            "problem": name,
            "temperature": choice.value,
            "temperatures": choice.values,
            "accuracies": choice.accuracies,
        }
    )
    return rows
