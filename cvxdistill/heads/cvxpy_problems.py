"""Convex fits for [CvxpyHead][cvxdistill.heads.CvxpyHead]: worked examples to use or to copy.

A *factory* takes features, labels and the penalty as cvxpy expressions and returns a
[ConvexFit][cvxdistill.heads.cvxpy_problems.ConvexFit]. The same code serves constant features and
features that need a gradient. What it must keep to:

- build a new problem at every call, and no `cvxpy.Parameter` of its own;
- be convex and DPP: the labels multiply variables only, never another parameter. Where two
  parameters would meet, give the product a variable of its own, as `logistic` does;
- be strongly convex in what it returns, else the solution, or its gradient, is arbitrary.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias


@dataclasses.dataclass(frozen=True, eq=False)
class ConvexFit:
    """A parametrised convex problem that fits a last layer.

    Attributes:
        problem: `cvxpy.Problem`, DPP in the parameters that the factory was given.
        weights: `cvxpy.Variable` of shape `(d, C)`.
        intercept: `cvxpy.Variable` of shape `(C,)`, or `None`.
    """

    problem: Any
    weights: Any
    intercept: Any = None


Factory: TypeAlias = Callable[[Any, Any, Any], ConvexFit]
"""`(features (m, d), labels (m, C), l2 scalar) -> ConvexFit`, all three cvxpy expressions."""


def ridge(features: Any, labels: Any, l2: Any) -> ConvexFit:
    """Ridge regression with a free intercept: `|Z W + 1 b' - Y|^2 + l2 |W|^2`.

    For cross-checks only: [RidgeHead][cvxdistill.heads.RidgeHead] is the same, hundreds of times
    faster and differentiable twice.

    Example:
        >>> import torch
        >>> from cvxdistill.heads import CvxpyHead
        >>> Z, Y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [2.0]])
        >>> fit = CvxpyHead(ridge, l2=2.0, l2_scale="absolute").fit(Z, Y)
        >>> round(fit.weights.item(), 5), round(fit.intercept.item(), 5)
        (0.5, 1.0)
    """
    import cvxpy as cp

    weights, intercept, residual = _linear_model(features, labels)
    objective = cp.sum_squares(residual) + l2 * cp.sum_squares(weights)
    return ConvexFit(cp.Problem(cp.Minimize(objective)), weights, intercept)


def elastic_net(features: Any, labels: Any, l2: Any, *, l1_ratio: float = 0.1) -> ConvexFit:
    """Elastic net: `|Z W + 1 b' - Y|^2 + l2 ((1 - r) |W|^2 + r |W|_1)`, with a free intercept.

    When many features are useless and exact zeros are wanted. `r` is `l1_ratio`, in [0, 1); set it
    with `functools.partial(elastic_net, l1_ratio=0.5)`. The fit has kinks where a weight enters
    or leaves; between them the gradient is exact.

    References:
        Zou and Hastie 2005, "Regularization and variable selection via the elastic net",
        https://doi.org/10.1111/j.1467-9868.2005.00503.x
    """
    import cvxpy as cp

    weights, intercept, residual = _linear_model(features, labels)
    penalty = (1 - l1_ratio) * cp.sum_squares(weights) + l1_ratio * cp.norm1(weights)
    objective = cp.sum_squares(residual) + l2 * penalty
    return ConvexFit(cp.Problem(cp.Minimize(objective)), weights, intercept)


def huber(features: Any, labels: Any, l2: Any, *, threshold: float = 1.0) -> ConvexFit:
    """Huber regression: squared error up to `threshold`, linear beyond; plus `l2 |W|^2`.

    When some labels or base examples are outliers: no one example can pull without bound.

    References:
        Huber 1964, "Robust estimation of a location parameter",
        https://doi.org/10.1214/aoms/1177703732
    """
    import cvxpy as cp

    weights, intercept, residual = _linear_model(features, labels)
    objective = cp.sum(cp.huber(residual, threshold)) + l2 * cp.sum_squares(weights)
    return ConvexFit(cp.Problem(cp.Minimize(objective)), weights, intercept)


def simplex_weights(features: Any, labels: Any, l2: Any) -> ConvexFit:
    """Least squares with each class's weights on the simplex: an average of the features.

    When the features are themselves predictions, such as the outputs of an ensemble. It minimises
    `|Z W - Y|^2 + l2 |W|^2` subject to `W >= 0` and columns that sum to one; no intercept.

    References:
        Breiman 1996, "Stacked regressions", https://doi.org/10.1007/BF00117832
    """
    import cvxpy as cp

    weights = cp.Variable((features.shape[1], labels.shape[1]))
    objective = cp.sum_squares(features @ weights - labels) + l2 * cp.sum_squares(weights)
    constraints = [weights >= 0, cp.sum(weights, axis=0) == 1]
    return ConvexFit(cp.Problem(cp.Minimize(objective), constraints), weights)


def logistic(features: Any, labels: Any, l2: Any) -> ConvexFit:
    """Multinomial logistic regression with soft labels: cross-entropies plus `l2/2 |W|^2`.

    An example of the split that makes a product of two parameters DPP: the scores `S = Z W + 1 b'`
    are variables, tied by a constraint, so that labels meet variables only. The intercepts sum to
    zero, since a common shift changes no probability. Rows of labels are meant to sum to one: a
    row's weight times its log-sum-exp would be a product that is not DPP.
    [LogisticHead][cvxdistill.heads.LogisticHead] is faster, more exact and differentiable twice.

    References:
        Agrawal et al. 2019, "Differentiable convex optimization layers",
        https://arxiv.org/abs/1910.12430
    """
    import cvxpy as cp

    weights = cp.Variable((features.shape[1], labels.shape[1]))
    intercept = cp.Variable(labels.shape[1])
    scores = cp.Variable(labels.shape)
    losses = cp.sum(cp.log_sum_exp(scores, axis=1)) - cp.sum(cp.multiply(labels, scores))
    objective = losses + l2 / 2 * cp.sum_squares(weights)
    constraints = [scores == features @ weights + intercept, cp.sum(intercept) == 0]
    return ConvexFit(cp.Problem(cp.Minimize(objective), constraints), weights, intercept)


def _linear_model(features: Any, labels: Any) -> tuple[Any, Any, Any]:
    """Return weights, a free intercept and `Z W + 1 b' - Y`."""
    import cvxpy as cp

    weights = cp.Variable((features.shape[1], labels.shape[1]))
    intercept = cp.Variable(labels.shape[1])
    return weights, intercept, features @ weights + intercept - labels
