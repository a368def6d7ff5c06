"""Label problems in a modelling language, for cone and QP solvers, and data that try solvers."""

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor


def conditions(name: str, labels: cp.Variable) -> list:
    """Return the constraint called `name` on `labels`."""
    if name == "simplex":
        return [labels >= 0, cp.sum(labels, axis=1) == 1]
    if name == "box":
        return [labels >= 0, labels <= 1]
    return []


def squared_by(
    solver: str, matrix: np.ndarray, rhs: np.ndarray, constraint: str, **options: object
) -> np.ndarray:
    """Return labels that minimise `|matrix Y - rhs|^2`."""
    labels = cp.Variable((matrix.shape[1], rhs.shape[1]))
    objective = cp.Minimize(cp.sum_squares(matrix @ labels - rhs))
    cp.Problem(objective, conditions(constraint, labels)).solve(solver=solver, **options)
    return labels.value


def ill_conditioned(
    m: int, n: int, d: int, classes: int, condition: float, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return base features, target features and classes that depend on all directions alike.

    The singular values of the features fall from 1 to `1 / condition`.
    """
    draws = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=draws, dtype=torch.float64)

    scale = torch.logspace(0, -float(np.log10(condition)), d, dtype=torch.float64)
    rotation = torch.linalg.qr(normal(d, d)).Q
    white = normal(m + n, d)
    labels = (white @ normal(d, classes) + 2 * normal(m + n, classes)).argmax(1)
    features = (white * scale) @ rotation
    return features[:m], features[m:], labels[m:]
