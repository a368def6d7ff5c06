"""The label sets that are compared, how each is solved, and how its settings are chosen."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cvxdistill.heads import RidgeHead
from cvxdistill.labels import CrossEntropyLoss
from cvxdistill.problem import LabelSolution
from cvxdistill.solvers import (
    HeldOut,
    choose_prior_weight,
    choose_temperature,
    solve_labels,
)
from cvxdistill.statistics import TargetStatistics

# The same grid of the head's penalty for every label set.
L2 = (1e-3, 1e-2, 1e-1, 0.3)
TEMPERATURES = (0.1, 0.3, 1.0, 3.0)
WEIGHTS = tuple(10.0**power for power in range(-6, 3))
# Of the cross-entropy: what a displacement as long as the plain labels themselves costs, in nats.
PULLS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """What labels are solved on: one entry an extractor.

    Attributes:
        bases: base features `(m, d)`.
        features: target features `(n, d)` float32.
        classes: of the target `(n,)`.
        statistics: moments with one-hot targets.
        taught: moments with the teachers' centred logits as targets.
    """

    bases: Sequence[Tensor]
    features: Sequence[Tensor]
    classes: Tensor
    statistics: Sequence[TargetStatistics]
    taught: Sequence[TargetStatistics]

    def first(self, size: int) -> "Pool":
        """Return the pool of the first `size` extractors."""
        return Pool(
            self.bases[:size],
            self.features[:size],
            self.classes,
            self.statistics[:size],
            self.taught[:size],
        )

    def examples(self) -> list[tuple[Tensor, Tensor]]:
        """Return `(features, classes)`, one an extractor."""
        return [(features, self.classes) for features in self.features]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What validation chooses for a label set.

    Attributes:
        l2: of the head, trace-scaled; in the solve and in the fit on unseen extractors.
        temperature: of the cross-entropy.
        weight: of the prior, as the solver takes it, or as a pull for the cross-entropy.
    """

    l2: float
    temperature: float = 1.0
    weight: float = 0.0


def solve(kind: str, pool: Pool, settings: Settings, teacher: Tensor) -> LabelSolution:
    """Solve one label set: `squared`, `taught` or `entropy`, with a prior if it has weight.

    The prior is the teachers' logits, scaled to the labels of the plain solve by least squares.
    """
    head = RidgeHead(l2=settings.l2)
    bases = list(pool.bases)
    if kind == "entropy":
        options: dict[str, Any] = {"head": head, "loss": CrossEntropyLoss(settings.temperature)}
        target: Any = pool.examples()
    else:
        options = {"head": head}
        target = list(pool.statistics if kind == "squared" else pool.taught)
    plain = solve_labels(bases, target, **options).raise_if_failed()
    if settings.weight == 0:
        return plain
    prior = scaled_prior(plain.labels, teacher)
    weight = settings.weight
    if kind == "entropy":
        weight /= float(plain.labels.double().square().sum())
    return solve_labels(
        bases, target, prior=prior, prior_weight=weight, **options
    ).raise_if_failed()


def scaled_prior(labels: Tensor, teacher: Tensor) -> Tensor:
    """Return the teachers' logits at the scale that is nearest to the labels, with their mean."""
    labels = labels.double()
    mean = labels.mean(0)
    centred, logits = labels - mean, teacher - teacher.mean(0)
    return (centred * logits).sum() / logits.square().sum() * logits + mean


def mean_accuracy(held_out: Sequence[HeldOut], l2: float, labels: Tensor) -> float:
    """Return the mean validation accuracy over held-out extractors."""
    head = RidgeHead(l2=l2)
    return sum(one.accuracy(head, labels) for one in held_out) / len(held_out)


def choose_given(
    held_out: Sequence[HeldOut], labels: Tensor, *, penalties: Sequence[float] = L2
) -> tuple[Settings, list[Any]]:
    """Choose the penalty of labels that need no solve."""
    tried = [{"l2": l2, "accuracy": mean_accuracy(held_out, l2, labels)} for l2 in penalties]
    return _best(tried)


def choose_squared(
    kind: str,
    pool: Pool,
    held_out: Sequence[HeldOut],
    teacher: Tensor,
    *,
    prior: bool,
    penalties: Sequence[float] = L2,
) -> tuple[Settings, list[Any]]:
    """Choose penalty, and weight of the prior, of an exact solve."""
    tried: list[dict[str, float]] = []
    target = list(pool.statistics if kind == "squared" else pool.taught)
    for l2 in penalties:
        plain = solve(kind, pool, Settings(l2), teacher)
        if not prior:
            accuracy = mean_accuracy(held_out, l2, plain.labels)
            tried.append({"l2": l2, "accuracy": accuracy})
            continue
        choice = choose_prior_weight(
            list(pool.bases),
            target,
            prior=scaled_prior(plain.labels, teacher),
            held_out=held_out,
            weights=WEIGHTS,
            head=RidgeHead(l2=l2),
        )
        pairs = zip(choice.values, choice.accuracies, strict=True)
        tried += [{"l2": l2, "weight": weight, "accuracy": found} for weight, found in pairs]
    return _best(tried)


def choose_entropy(
    pool: Pool, held_out: Sequence[HeldOut], *, penalties: Sequence[float] = L2
) -> tuple[Settings, list[Any]]:
    """Choose penalty and temperature of the cross-entropy without a prior."""
    tried: list[dict[str, float]] = []
    for l2 in penalties:
        choice = choose_temperature(
            list(pool.bases),
            pool.examples(),
            held_out=held_out,
            temperatures=TEMPERATURES,
            head=RidgeHead(l2=l2),
        )
        pairs = zip(choice.values, choice.accuracies, strict=True)
        tried += [{"l2": l2, "temperature": value, "accuracy": found} for value, found in pairs]
    return _best(tried)


def choose_pull(
    pool: Pool, held_out: Sequence[HeldOut], teacher: Tensor, plain: Settings
) -> tuple[Settings, list[Any]]:
    """Choose the prior's pull beside the cross-entropy, at the settings of its plain solve."""
    tried: list[dict[str, float]] = []
    for pull in PULLS:
        settings = dataclasses.replace(plain, weight=pull)
        labels = solve("entropy", pool, settings, teacher).labels
        accuracy = mean_accuracy(held_out, settings.l2, labels)
        tried.append({**dataclasses.asdict(settings), "accuracy": accuracy})
    return _best(tried)


def _best(tried: list[dict[str, float]]) -> tuple[Settings, list[Any]]:
    best = dict(max(tried, key=lambda one: one["accuracy"]))
    del best["accuracy"]
    return Settings(**best), tried


def timed(kind: str, pool: Pool, settings: Settings, teacher: Tensor) -> dict[str, Any]:
    """Return labels, status, certificate and seconds of one solve."""
    began = time.perf_counter()
    solution = solve(kind, pool, settings, teacher)
    certificate = solution.certificate
    return {
        "labels": solution.labels.double(),
        "status": solution.status.name,
        "seconds": time.perf_counter() - began,
        "optimality": certificate.optimality,
        "gap_bound": certificate.gap_bound,
        "relative_gap": certificate.relative_gap,
        "steps": dict(solution.stats),
    }
