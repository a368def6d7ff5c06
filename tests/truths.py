"""Independent routes to what the package computes: NumPy, constructions, and plain formulas.

Nothing here calls the solvers or the linear algebra under test.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from cvxdistill.problem import LabelProblem
from cvxdistill.statistics import TargetStatistics


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Return `|value - expected| / |expected|` in the Frobenius norm (absolute near zero)."""
    value, expected = value.to(torch.float64), expected.to(torch.float64)
    assert value.shape == expected.shape, (value.shape, expected.shape)
    return float((value - expected).norm() / expected.norm().clamp_min(1e-12))


def seen_features(features: np.ndarray, intercept: str) -> np.ndarray:
    """Return features as the penalty sees them."""
    if intercept == "free":
        return features - features.mean(0)
    if intercept == "penalised":
        return np.hstack([features, np.ones((len(features), 1))])
    return features


def absolute_l2(features: np.ndarray, l2: float, scale: str, intercept: str) -> float:
    """Return `l2`, or `l2 trace(Kb) / m` with the Gram matrix written out."""
    if scale == "absolute":
        return l2
    seen = seen_features(features, intercept)
    return l2 * float(np.trace(seen @ seen.T)) / len(features)


def penalty_rows(d: int, lam: float, intercept: str) -> np.ndarray:
    """Return `(q, d + 1)` rows whose squares are the penalty of `[W; b]`."""
    rows = np.sqrt(lam) * np.eye(d + 1)
    return rows if intercept == "penalised" else rows[:d]


def design(features: np.ndarray, intercept: str) -> np.ndarray:
    """Return `[Z 1]`, with zeros in place of ones where there is no intercept."""
    ones = np.full((len(features), 1), 0.0 if intercept == "none" else 1.0)
    return np.hstack([features, ones])


def augmented_ridge(
    features: np.ndarray, labels: np.ndarray, lam: float, intercept: str
) -> np.ndarray:
    """Return `[W; b] (d + 1, C)` by least squares on the data with the penalty as extra rows."""
    d = features.shape[1]
    extra = penalty_rows(d, lam, intercept)
    rows = np.vstack([design(features, intercept), extra])
    right = np.vstack([labels, np.zeros((len(extra), labels.shape[1]))])
    return np.linalg.lstsq(rows, right, rcond=None)[0]


def coded_target(problem: LabelProblem, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and coded labels of one extractor's target."""
    target = problem.targets[index]
    assert not isinstance(target, TargetStatistics), "the plain routes want features"
    coded = problem.loss.code(target[1], num_classes=problem.num_classes)
    return target[0].double().numpy(), coded.numpy()


def target_penalty(problem: LabelProblem, features: np.ndarray) -> float:
    """Return the absolute penalty of the full-data ridge head inside the label objective."""
    head = problem.head
    l2 = float(head.l2) if problem.target_l2 is None else problem.target_l2
    return absolute_l2(features, l2, head.l2_scale, head.intercept)


def label_objective(problem: LabelProblem, labels: Tensor) -> float:
    """Return the label objective of a ridge head at any labels, written out on the whole target."""
    labels = labels.double()
    total = 0.0
    for index, base in enumerate(problem.base_features):
        fit = problem.head.fit(base.double(), labels)
        features, coded = coded_target(problem, index)
        loss = problem.loss.value(fit(torch.from_numpy(features)), torch.from_numpy(coded))
        stacked = torch.cat([fit.weights, fit.intercept[None]]).numpy()
        rows = penalty_rows(
            features.shape[1], target_penalty(problem, features), problem.head.intercept
        )
        total += float(loss) + float(((rows @ stacked) ** 2).sum()) / len(features)
    total /= len(problem.base_features)
    if problem.prior is not None:
        total += problem.prior_weight * float((labels - problem.prior).square().sum())
    return total


def full_objective(problem: LabelProblem) -> float:
    """Return the label objective without the prior at the full-data ridge heads."""
    total = 0.0
    for index in range(len(problem.base_features)):
        features, coded = coded_target(problem, index)
        lam, intercept = target_penalty(problem, features), problem.head.intercept
        stacked = augmented_ridge(features, coded, lam, intercept)
        errors = design(features, intercept) @ stacked - coded
        penalty = penalty_rows(features.shape[1], lam, intercept) @ stacked
        total += ((errors**2).sum() + (penalty**2).sum()) / len(features)
    return float(total) / len(problem.base_features)


def label_system(problem: LabelProblem) -> tuple[np.ndarray, np.ndarray]:
    """Return `K`, `G` of the label problem `|K Y - G|^2` with one row for each target example."""
    head, m = problem.head, problem.num_examples
    blocks, right = [], []
    for index, base in enumerate(problem.base_features):
        base = base.double().numpy()
        # A single centred example has no trace; any penalty then gives the same head.
        lam = absolute_l2(base, float(head.l2), head.l2_scale, head.intercept) or 1.0
        mapped = augmented_ridge(base, np.eye(m), lam, head.intercept)
        features, coded = coded_target(problem, index)
        extra = penalty_rows(features.shape[1], target_penalty(problem, features), head.intercept)
        weight = (len(problem.base_features) * len(features)) ** -0.5
        blocks.append(weight * np.vstack([design(features, head.intercept), extra]) @ mapped)
        right.append(weight * np.vstack([coded, np.zeros((len(extra), coded.shape[1]))]))
    return np.vstack(blocks), np.vstack(right)


def least_squares_labels(problem: LabelProblem) -> Tensor:
    """Return the label problem's solution of least norm by NumPy's least squares."""
    matrix, right = label_system(problem)
    return torch.from_numpy(np.linalg.lstsq(matrix, right, rcond=1e-12)[0])


def prior_labels(problem: LabelProblem) -> Tensor:
    """Return the solution with a prior by its dense normal equations."""
    matrix, right = label_system(problem)
    weight, prior = problem.prior_weight, problem.prior.numpy()
    normal = matrix.T @ matrix + weight * np.eye(matrix.shape[1])
    return torch.from_numpy(np.linalg.solve(normal, matrix.T @ right + weight * prior))


@dataclasses.dataclass(frozen=True)
class KnownRidge:
    """Features built from their singular vectors, and the ridge fit that follows on paper."""

    features: Tensor
    labels: Tensor
    weights: Tensor
    intercept: Tensor


def ridge_from_svd(m: int, d: int, classes: int, *, lam: float, seed: int = 0) -> KnownRidge:
    """Build `Z = U S V' + 1 mu'` with `U` orthogonal to ones: `W = V s / (s^2 + lam) U'Y`."""
    rng = np.random.default_rng(seed)
    rank = min(m - 1, d)
    ones_first = np.hstack([np.ones((m, 1)), rng.normal(size=(m, rank))])
    u = np.linalg.qr(ones_first)[0][:, 1:]
    v = np.linalg.qr(rng.normal(size=(d, rank)))[0]
    s = np.geomspace(3.0, 0.3, rank)
    mean = rng.normal(size=(1, d))
    labels = rng.normal(size=(m, classes))
    weights = (v * (s / (s**2 + lam))) @ (u.T @ labels)
    intercept = labels.mean(0) - (mean @ weights)[0]
    return KnownRidge(*map(torch.from_numpy, ((u * s) @ v.T + mean, labels, weights, intercept)))
