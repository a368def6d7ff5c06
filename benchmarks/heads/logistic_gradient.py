"""How wrong the label gradient of a multinomial logistic fit is, against central differences."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cvxdistill.errors import CvxDistillError
from cvxdistill.heads import CvxpyHead
from cvxdistill.heads.cvxpy_problems import ConvexFit
from cvxdistill.seeding import generator

SHAPES = ((40, 15, 4), (100, 84, 10))
PENALTIES = (1.0, 1e-2, 1e-4)
DIRECTIONS = 12

# Fourth-order differences: weights at distance, as multiples of the step.
STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))
STEP = 2e-4


def draw(m: int, d: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, soft labels, and the projection of the weights that is differentiated."""
    source = generator(0, "benchmarks", "logistic", m, d, classes)
    features = torch.randn(m, d, generator=source, dtype=torch.float64)
    labels = torch.randn(m, classes, generator=source, dtype=torch.float64).softmax(-1)
    return features, labels, torch.randn(d, classes, generator=source, dtype=torch.float64)


def newton(
    features: Tensor,
    labels: Tensor,
    l2: float,
    start: Tensor | None = None,
    *,
    weighted: bool = False,
) -> Tensor:
    """Return the weights `(d, C)` that minimise cross-entropies plus `l2/2 |W|^2`, to rounding.

    Written out here so that the reference owes nothing to what is measured. Between the steps of a
    difference a row of labels need not sum to one: `weighted` counts it as often as its sum says
    (LogisticHead), else once (the cone form, where weights by labels would not be DPP).
    """
    counts = labels.sum(-1) if weighted else torch.ones(len(labels), dtype=torch.float64)
    d, classes = features.shape[1], labels.shape[1]
    weights = torch.zeros(d, classes, dtype=torch.float64) if start is None else start.clone()

    def value(w: Tensor) -> Tensor:
        scores = features @ w
        fit = (counts * scores.logsumexp(-1)).sum() - (labels * scores).sum()
        return fit + l2 / 2 * w.square().sum()

    smallest = float("inf")
    for _ in range(100):
        shares = (features @ weights).softmax(-1)
        slope = features.T @ (counts[:, None] * shares - labels) + l2 * weights
        size = float(slope.norm())
        if size >= smallest and size < 1e-9:
            break
        smallest = min(smallest, size)
        step = _newton_step(features, shares, counts, l2, slope)
        length = 1.0
        decrease = float((slope * step).sum())
        # Below rounding of the objective the full step is right.
        while decrease > 1e-9 and value(weights - length * step) > value(weights) - (
            1e-4 * length * decrease
        ):
            length /= 2
        weights = weights - length * step
    return weights


def _newton_step(
    features: Tensor, shares: Tensor, counts: Tensor, l2: float, slope: Tensor
) -> Tensor:
    d, classes = slope.shape
    blocks = torch.zeros(d, classes, d, classes, dtype=torch.float64)
    for a in range(classes):
        for b in range(a + 1):
            weight = counts * shares[:, a] * (float(a == b) - shares[:, b])
            block = features.T @ (weight[:, None] * features)
            blocks[:, a, :, b] = block
            blocks[:, b, :, a] = block
    hessian = blocks.reshape(d * classes, d * classes)
    hessian.diagonal().add_(l2)
    factor = torch.linalg.cholesky(hessian)
    return torch.cholesky_solve(slope.reshape(-1, 1), factor).view(d, classes)


def without_intercept(features: Any, labels: Any, l2: Any) -> ConvexFit:
    """Multinomial logistic regression in the split form that is DPP."""
    import cvxpy as cp

    weights = cp.Variable((features.shape[1], labels.shape[1]))
    scores = cp.Variable(labels.shape)
    losses = cp.sum(cp.log_sum_exp(scores, axis=1)) - cp.sum(cp.multiply(labels, scores))
    objective = cp.Minimize(losses + l2 / 2 * cp.sum_squares(weights))
    return ConvexFit(cp.Problem(objective, [scores == features @ weights]), weights)


def _through_cvxpylayers(features: Tensor, labels: Tensor, l2: float) -> Tensor:
    import cvxpy as cp
    from cvxpylayers.torch import CvxpyLayer

    parameter = cp.Parameter(labels.shape)
    fit = without_intercept(cp.Constant(features.numpy()), parameter, l2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Solved/Inaccurate\.|.*SCIPY backend")
        weights: Tensor
    (weights,) = CvxpyLayer(fit.problem, [parameter], [fit.weights])(labels)
    return weights


def _through_head(features: Tensor, labels: Tensor, l2: float) -> Tensor:
    import cvxdistill.heads

    head = cvxdistill.heads.LogisticHead(l2=l2, l2_scale="absolute", intercept="none")
    return head.fit(features, labels).weights


def _through_cvxpy_head(features: Tensor, labels: Tensor, l2: float) -> Tensor:
    head = CvxpyHead(without_intercept, l2=l2, l2_scale="absolute")
    return head.fit(features, labels).weights


@dataclasses.dataclass(frozen=True)
class Route:
    """A way to the gradient: the fit, which objective it has, and whether it takes minutes."""

    fit: Callable[[Tensor, Tensor, float], Tensor]
    weighted: bool
    slow: bool = False


ROUTES = {
    "LogisticHead": Route(_through_head, weighted=True),
    "cvxpylayers, default": Route(_through_cvxpylayers, weighted=False),
    "CvxpyHead": Route(_through_cvxpy_head, weighted=False, slow=True),
}


def measure(*, quick: bool = False, slow: bool = False) -> list[dict[str, Any]]:
    """Return one row a shape, penalty and route: relative errors, or why there are none."""
    rows = []
    for shape in SHAPES[: 1 if quick else None]:
        features, labels, probe = draw(*shape)
        source = generator(1, "benchmarks", "logistic", *shape)
        directions = torch.randn(DIRECTIONS, *labels.shape, generator=source, dtype=torch.float64)
        for l2 in PENALTIES:
            weights = newton(features, labels, l2)
            measured = {
                weighted: torch.stack(
                    [
                        _difference(features, labels, l2, probe, one, weights, weighted)
                        for one in directions
                    ]
                )
                for weighted in (True, False)
            }
            for name, route in ROUTES.items():
                row: dict[str, Any] = {"shape": shape, "l2": l2, "name": name, "seconds": 0.0}
                rows.append(row)
                if route.slow and shape != SHAPES[0] and not slow:
                    row["status"] = "not run: minutes"
                    continue
                start = time.perf_counter()
                found = _gradient(route, features, labels, l2, probe)
                row["seconds"] = time.perf_counter() - start
                if isinstance(found, str):
                    row["status"] = found
                    continue
                claimed = (directions * found[1]).sum((1, 2))
                truth = measured[route.weighted]
                row["status"] = "ok"
                row["solution_error"] = float((found[0] - weights).norm() / weights.norm())
                row["gradient_error"] = float((claimed - truth).norm() / truth.norm())
    return rows


def _gradient(
    route: Route, features: Tensor, labels: Tensor, l2: float, probe: Tensor
) -> tuple[Tensor, Tensor] | str:
    """Return the weights and the gradient, or why there are none."""
    y = labels.clone().requires_grad_()
    try:
        found = route.fit(features, y, l2)
        (gradient,) = torch.autograd.grad((found * probe).sum(), y)
    except AttributeError:
        return "not available"
    except CvxDistillError as error:
        return f"refused: {error}"
    return found.detach(), gradient


def _difference(
    features: Tensor,
    labels: Tensor,
    l2: float,
    probe: Tensor,
    direction: Tensor,
    start: Tensor,
    weighted: bool,
) -> Tensor:
    values = []
    for k, share in STENCIL:
        moved = labels + k * STEP * direction
        found = newton(features, moved, l2, start, weighted=weighted)
        values.append(share * (found * probe).sum())
    return torch.stack(values).sum() / STEP
