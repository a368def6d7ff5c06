"""Ridge regression as a differentiable layer: forward and backward, by every route we know of."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.heads.timing import time_in_turns
from cvxdistill.heads import CvxpyHead, RidgeHead
from cvxdistill.heads.cvxpy_problems import ridge
from cvxdistill.seeding import generator

L2 = 1e-2
Layer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One ridge problem: float64 features, labels, and the absolute penalty."""

    features: Tensor
    labels: Tensor
    penalty: float

    @classmethod
    def draw(cls, m: int, d: int, classes: int) -> "Problem":
        """Return standard normal features and soft labels."""
        source = generator(0, "benchmarks", "ridge", m, d, classes)
        features = torch.randn(m, d, generator=source, dtype=torch.float64)
        labels = torch.randn(m, classes, generator=source, dtype=torch.float64).softmax(-1)
        centred = features - features.mean(0)
        return cls(features, labels, L2 * float(centred.square().sum()) / m)


def hand_written(features: Tensor, labels: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Return weights and intercept as a user of `torch.linalg` would write them, unchecked."""
    z_mean, y_mean = features.mean(0), labels.mean(0)
    z = features - z_mean
    gram = z.T @ z + penalty * torch.eye(z.shape[1], dtype=z.dtype)
    weights = torch.cholesky_solve(z.T @ (labels - y_mean), torch.linalg.cholesky(gram))
    return weights, y_mean - z_mean @ weights


def cvxpy_layer(problem: Problem, *, constant: bool, **solver_args: Any) -> Layer:
    """Return cvxpylayers' own layer, with its defaults unless `solver_args` say otherwise."""
    import cvxpy as cp
    import numpy as np
    from cvxpylayers.torch import CvxpyLayer

    (m, d), classes = problem.features.shape, problem.labels.shape[1]
    features = problem.features.numpy() if constant else cp.Parameter((m, d))
    labels, weights = cp.Parameter((m, classes)), cp.Variable((d, classes))
    intercept = cp.Variable((1, classes))
    residual = features @ weights + np.ones((m, 1)) @ intercept - labels
    objective = cp.sum_squares(residual) + problem.penalty * cp.sum_squares(weights)
    layer = CvxpyLayer(
        cp.Problem(cp.Minimize(objective)),
        [labels] if constant else [features, labels],
        [weights, intercept],
        solver_args=solver_args,
    )

    def solve(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Solved/Inaccurate\.")
            w, b = layer(y) if constant else layer(z, y)
        return w, b.squeeze(0)

    return solve


def qpth_layer(problem: Problem) -> Layer:
    """Return qpth's layer: one quadratic programme a class, with an empty inequality.

    Raises:
        ImportError: qpth is not installed.
    """
    from qpth.qp import QPFunction  # type: ignore[import-not-found]

    d, classes = problem.features.shape[1], problem.labels.shape[1]
    eye = torch.eye(d, dtype=torch.float64)
    slack, none = torch.zeros(1, d, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    bound = torch.ones(1, dtype=torch.float64)
    solver = QPFunction(verbose=-1, check_Q_spd=False)

    def solve(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        z_mean, y_mean = features.mean(0), labels.mean(0)
        z = features - z_mean
        hessian = (z.T @ z + problem.penalty * eye).expand(classes, d, d)
        weights = solver(hessian, -(labels - y_mean).T @ z, slack, bound, none, none).T
        return weights, y_mean - z_mean @ weights

    return solve


def routes(problem: Problem) -> dict[str, tuple[Callable[[], Layer], bool]]:
    """Return what is measured: a builder, and whether the features carry a gradient, by name."""
    own = RidgeHead(l2=problem.penalty, l2_scale="absolute")
    generic = CvxpyHead(ridge, l2=problem.penalty, l2_scale="absolute")

    def head(one: RidgeHead | CvxpyHead) -> Layer:
        def solve(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            fit = one.fit(z, y)
            return fit.weights, fit.intercept

        return solve

    def by_hand() -> Layer:
        return lambda z, y: hand_written(z, y, problem.penalty)

    return {
        "RidgeHead, gradient in labels": (lambda: head(own), False),
        "hand-written torch.linalg, gradient in labels": (by_hand, False),
        "CvxpyHead, constant features": (lambda: head(generic), False),
        "cvxpylayers, constant features": (lambda: cvxpy_layer(problem, constant=True), False),
        "cvxpylayers, CLARABEL and lsmr, constant features": (
            lambda: cvxpy_layer(problem, constant=True, solve_method="CLARABEL", mode="lsmr"),
            False,
        ),
        "qpth, gradient in labels": (lambda: qpth_layer(problem), False),
        "RidgeHead, gradient in features and labels": (lambda: head(own), True),
        "hand-written torch.linalg, gradient in features and labels": (by_hand, True),
        "CvxpyHead, features as parameter": (lambda: head(generic), True),
        "cvxpylayers, features as parameter": (
            lambda: cvxpy_layer(problem, constant=False),
            True,
        ),
        "qpth, gradient in features and labels": (lambda: qpth_layer(problem), True),
    }


def measure(*, m: int, d: int, classes: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each route: seconds, errors against the hand-written one, ratios."""
    problem = Problem.draw(m, d, classes)
    probe = torch.randn(
        d, classes, generator=generator(1, "benchmarks", "ridge"), dtype=torch.float64
    )
    runs: dict[str, Callable[[], tuple[Tensor, ...]]] = {}
    rows: list[dict[str, Any]] = []
    for name, (build, varies) in routes(problem).items():
        try:
            layer = build()
        except ImportError:
            rows.append({"name": name, "status": "not installed"})
            continue
        runs[name] = _run(problem, layer, probe, varies)
    runs_scikit = {**runs, "scikit-learn Ridge, fit only": _scikit_learn(problem)}
    timings = time_in_turns(runs_scikit, rounds=rounds, seconds=seconds)
    exact = {
        varies: _run(problem, lambda z, y: hand_written(z, y, problem.penalty), probe, varies)()
        for varies in (False, True)
    }
    for name, timing in timings.items():
        row: dict[str, Any] = {"name": name, "status": "ok", **dataclasses.asdict(timing)}
        if name in runs:
            found = runs[name]()
            pairs = zip(found, exact[len(found) == 3], strict=True)
            row["relative_error"] = dict(
                zip(
                    ("weights", "labels_gradient", "features_gradient"),
                    _errors(pairs),
                    strict=False,
                )
            )
        rows.append(row)
    _add_ratios(rows)
    return rows


def _run(
    problem: Problem, layer: Layer, probe: Tensor, varies: bool
) -> Callable[[], tuple[Tensor, ...]]:
    def run() -> tuple[Tensor, ...]:
        z = problem.features.detach().requires_grad_(varies)
        y = problem.labels.detach().clone().requires_grad_()
        weights, intercept = layer(z, y)
        loss = (weights * probe).sum() + intercept.sum()
        inputs = (y, z) if varies else (y,)
        return (weights.detach(), *torch.autograd.grad(loss, inputs))

    return run


def _scikit_learn(problem: Problem) -> Callable[[], object]:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=problem.penalty)
    features, labels = problem.features.numpy(), problem.labels.numpy()
    return lambda: model.fit(features, labels)


def _errors(pairs: Any) -> list[float]:
    return [float((found - exact).norm() / exact.norm()) for found, exact in pairs]


def _add_ratios(rows: list[dict[str, Any]]) -> None:
    """Add each row's time as a multiple of RidgeHead's with the same gradients."""
    median = {row["name"]: row["median"] for row in rows if row["status"] == "ok"}
    for row in rows:
        if row["status"] == "ok":
            both = "features and labels" in row["name"] or "as parameter" in row["name"]
            kind = "features and labels" if both else "labels"
            row["times_ridge_head"] = row["median"] / median[f"RidgeHead, gradient in {kind}"]
