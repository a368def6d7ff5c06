"""Accuracy of solved prototypes, by how they are chosen and what they are solved against."""

import dataclasses
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.prototypes.data import CLASSES, Embeddings
from cvxdistill.choose import choose_base, select_forward
from cvxdistill.data import ImageSet
from cvxdistill.evaluate.metrics import accuracy, interval
from cvxdistill.heads import LinearFit, RidgeHead
from cvxdistill.problem import LabelSolution
from cvxdistill.solvers import solve_labels
from cvxdistill.statistics import TargetStatistics

CHOOSERS = ("random", "balanced", "kmeans", "kcenter", "herding", "greedy", "greedy:exchanges=2")
# Exchanges cost about as much as the choice a pass and matter where examples are few.
EXCHANGED = 52
L2 = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
TRUE_L2 = (1e-3, 1e-1, 1.0, 10.0)
INVERSE_PENALTIES = (0.01, 0.1, 1.0)
NAMES = tuple(f"letter-{k}" for k in range(CLASSES))


@dataclasses.dataclass(frozen=True, eq=False)
class Goal:
    """What labels are solved against, and the head whose penalty validation chose for it.

    Attributes:
        name: `one-hot` classes, or `logits` of the logistic regression.
        moments: of the whole training part.
        head: the full-data head's; its `l2` chosen on validation.
        full: the full-data head.
    """

    name: str
    moments: TargetStatistics
    head: RidgeHead
    full: LinearFit


def measure(data: Embeddings, *, draws: int, candidates: int, sizes: list[int]) -> dict[str, Any]:
    """Return all rows for one extractor."""
    started = time.perf_counter()
    logistic, logits = fit_logistic(data)
    goals = [_goal("one-hot", data.train_labels, data), _goal("logits", logits, data)]
    rivals = {"logistic regression, all data": logistic, **_class_means(data, goals[0])}
    for goal in goals:
        rivals[f"full-data ridge, {goal.name}"] = _scores(goal.full, data)
    rows = []
    for goal in goals:
        for how in CHOOSERS:
            if goal.name == "logits" and how in ("kcenter", "herding", "greedy:exchanges=2"):
                continue
            rows += _rows(data, goal, how, draws=draws, candidates=candidates, sizes=sizes)
            print(goal.name, how, f"{time.perf_counter() - started:.0f} s", flush=True)
    return {
        "features": data.train.shape[1],
        "examples": len(data.train),
        "penalties": {goal.name: goal.head.l2 for goal in goals},
        "rivals": rivals,
        "rows": rows,
        "whole": _whole(data, goals, sizes),
    }


def _rows(
    data: Embeddings, goal: Goal, how: str, *, draws: int, candidates: int, sizes: list[int]
) -> list[dict[str, Any]]:
    """Return one row a size: means and intervals over draws of the candidates."""
    sizes = [m for m in sizes if "exchanges" not in how or m <= EXCHANGED]
    chosen = [
        _choose(data, pool, goal, how, sizes, seed)
        for seed, pool in enumerate(_pools(len(data.train), draws, candidates))
    ]
    rows = []
    for m in sizes:
        bases = [choice[m][0] for choice in chosen]
        solved = [_solve(base.images, goal) for base in bases]
        fits = [fit for fit, _ in solved]
        row: dict[str, Any] = {
            "goal": goal.name,
            "how": how,
            "examples": m,
            "solved": _interval([_test(fit, data) for fit in fits]),
            "gap": sum(s.certificate.relative_gap or 0.0 for _, s in solved) / draws,
            "lossless": sum(s.certificate.lossless for _, s in solved),
            "agreement": min(_agreement(fit, goal.full, data.test) for fit in fits),
            "classes": sum(len(base.labels.unique()) for base in bases) / draws,
            "seconds": sum(choice[m][1] for choice in chosen) / draws,
        }
        if goal.name == "one-hot":
            row["true"], row["true_l2"] = _true_labels(bases, data)
        rows.append(row)
    return rows


def _pools(rows: int, draws: int, candidates: int) -> Iterator[Tensor]:
    for draw in range(draws):
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(draw))
        yield order[:candidates]


def _choose(
    data: Embeddings, pool: Tensor, goal: Goal, how: str, sizes: list[int], seed: int
) -> dict[int, tuple[ImageSet, float]]:
    """Return the base and the seconds of choosing it, for every size."""
    among = ImageSet(data.train[pool], data.train_labels[pool], NAMES, name="letters")
    options: dict[str, Any] = {"how": how, "seed": seed, "target": goal.moments, "head": goal.head}
    # These begin a larger choice with a smaller one, so that one call serves all sizes.
    once = how in ("greedy", "random")
    found = {}
    for m in [max(sizes)] if once else sizes:
        start = time.perf_counter()
        found[m] = choose_base(among, m, **options), time.perf_counter() - start
    if once:
        base, seconds = found[max(sizes)]
        found = {m: (base.subset(torch.arange(m)), seconds * m / max(sizes)) for m in sizes}
    return found


def _solve(base: Tensor, goal: Goal) -> tuple[LinearFit, LabelSolution]:
    """Solve for labels, and fit the head to them as anybody would."""
    solution = solve_labels(base, goal.moments, head=goal.head).raise_if_failed()
    return goal.head.fit(base, solution.labels), solution


def _true_labels(bases: list[ImageSet], data: Embeddings) -> tuple[dict[str, float], float]:
    """Return the accuracy of the same examples with their true classes, at its own best `l2`."""
    tried = {
        l2: [RidgeHead(l2=l2).fit(base.images, _one_hot(base.labels)) for base in bases]
        for l2 in TRUE_L2
    }
    best = max(TRUE_L2, key=lambda l2: sum(_validation(fit, data) for fit in tried[l2]))
    return _interval([_test(fit, data) for fit in tried[best]]), best


def _whole(data: Embeddings, goals: list[Goal], sizes: list[int]) -> list[dict[str, Any]]:
    """Return greedy choices among all training examples, one call for every number of them."""
    rows = []
    for goal in goals:
        start = time.perf_counter()
        selected = select_forward(data.train, goal.moments, max(sizes), head=goal.head)
        seconds = time.perf_counter() - start
        for m in sizes:
            fit, solution = _solve(data.train[selected.positions[:m]], goal)
            predicted = float(selected.objectives[m - 1])
            rows.append(
                {
                    "goal": goal.name,
                    "examples": m,
                    "test": _test(fit, data),
                    "gap": solution.certificate.relative_gap,
                    "certificate": str(solution.certificate),
                    "prediction_error": abs(predicted / solution.objective - 1),
                    "seconds_for_all_sizes": seconds,
                }
            )
    return rows


def _goal(name: str, targets: Tensor, data: Embeddings) -> Goal:
    """Return the goal with the `l2` at which the full-data head is best on validation."""
    moments = TargetStatistics(data.train.shape[1], CLASSES).update(data.train, targets)
    heads = [RidgeHead(l2=l2) for l2 in L2]
    fits = [head.target_root(moments).full for head in heads]
    on_validation = [_validation(fit, data) for fit in fits]
    best = on_validation.index(max(on_validation))
    return Goal(name, moments, heads[best], fits[best])


def _class_means(data: Embeddings, goal: Goal) -> dict[str, dict[str, float]]:
    """Return what 26 class means do: as nearest means, with one-hot and with solved labels."""
    means = torch.stack([data.train[data.train_labels == k].mean(0) for k in range(CLASSES)])
    # The nearest mean is the largest of a linear score.
    nearest = LinearFit(2 * means.mT, -means.square().sum(1))
    heads = [RidgeHead(l2=l2) for l2 in L2]
    ridge = [_scores(head.fit(means, _one_hot(torch.arange(CLASSES))), data) for head in heads]
    return {
        "nearest class mean": _scores(nearest, data),
        "class means, one-hot labels": max(ridge, key=lambda score: score["validation"]),
        "class means, solved labels": _scores(_solve(means, goal)[0], data),
    }


def fit_logistic(data: Embeddings) -> tuple[dict[str, float], Tensor]:
    """Return the scores of scikit-learn's logistic regression, and its logits on the training part.

    Its penalty is chosen on validation, with fits to a fifth of the examples.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = float(data.train.std())
    train, labels = (data.train / scale).float().numpy(), data.train_labels.numpy()
    validation = (data.validation / scale).float().numpy()

    def fit(inverse: float, step: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=inverse, max_iter=200)
            return model.fit(train[::step], labels[::step])

    def score(inverse: float) -> float:
        found: float = fit(inverse, 5).score(validation, data.validation_labels.numpy())
        return found

    model = fit(max(INVERSE_PENALTIES, key=score), 1)
    weights = torch.from_numpy(model.coef_).to(torch.float64).mT / scale
    head = LinearFit(weights, torch.from_numpy(model.intercept_).to(torch.float64))
    return {**_scores(head, data), "C": float(model.C)}, head(data.train)


def _scores(fit: LinearFit, data: Embeddings) -> dict[str, float]:
    return {"validation": _validation(fit, data), "test": _test(fit, data)}


def _validation(fit: LinearFit, data: Embeddings) -> float:
    return accuracy(fit(data.validation), data.validation_labels)


def _test(fit: LinearFit, data: Embeddings) -> float:
    return accuracy(fit(data.test), data.test_labels)


def _agreement(one: LinearFit, other: LinearFit, features: Tensor) -> float:
    return float((one(features).argmax(1) == other(features).argmax(1)).double().mean())


def _interval(values: list[float]) -> dict[str, float]:
    return dataclasses.asdict(interval(values))


def _one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES).to(torch.float64)
