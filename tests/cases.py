"""What the contract tests run on: shapes, tolerances, and small instances of every entry.

To register a head, loss, constraint or solver is to be tested: add its name to the table here that
says how a small valid instance is made. A registered name without an entry fails its contract test.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from truths import label_objective

from cvxdistill.heads import (
    CvxpyHead,
    Head,
    KernelRidgeHead,
    LogisticHead,
    RidgeHead,
    SVMHead,
)
from cvxdistill.heads.cvxpy_problems import logistic
from cvxdistill.labels import (
    Box,
    ClampRenormalise,
    CrossEntropyLoss,
    Free,
    HingeLoss,
    LabelConstraint,
    LabelLoss,
    Simplex,
    SquaredLoss,
    TopK,
)
from cvxdistill.problem import LabelProblem
from cvxdistill.statistics import TargetStatistics

# Tolerances, relative to the size of what is compared. ------------------------------------------

CLOSED_FORM = 1e-10
"""Closed forms in float64, on well-conditioned data."""

ITERATIVE = 1e-6
"""Fits that stop at a tolerance of their own."""

FLOAT32 = 1e-6
"""Values in float32 whose inner work is in float64: a few roundings of the result."""

MERGE = 1e-12
"""Moments of shards against moments of the whole: sums in another order."""

MOMENTS = 1e-8
"""Labels from moments against labels from features: moments square the condition number."""

OPTIMAL_VALUE = 1e-9
"""Objectives at optima found by two routes: first-order errors in the labels cancel there."""

# Data. ------------------------------------------------------------------------------------------

SHAPES = {"long": (14, 5), "square": (8, 8), "wide": (6, 11), "one-example": (1, 4)}
"""`(m, d)`: more base examples than features, as many, fewer, and a single one."""

INTERCEPTS = ("free", "penalised", "none")


def draw(*size: int, seed: int = 0) -> Tensor:
    """Return standard normal float64 entries."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_labels(m: int, classes: int, *, seed: int = 0) -> Tensor:
    """Return labels that are distributions, which every head accepts."""
    return draw(m, classes, seed=seed + 1000).softmax(-1)


def draw_target(n: int, d: int, classes: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features with a mean and integer classes that they partly explain; all occur."""
    features = draw(n, d, seed=seed) + 0.5
    scores = features @ draw(d, classes, seed=seed + 1) + 0.5 * draw(n, classes, seed=seed + 2)
    labels = scores.argmax(1)
    labels[:classes] = torch.arange(classes)
    return features, labels


def moments(features: Tensor, labels: Tensor, classes: int) -> TargetStatistics:
    """Return the moments of a target."""
    return TargetStatistics(features.shape[1], classes).update(features, labels)


# Entries of the registries. ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class HeadCase:
    """A small head.

    Attributes:
        head: an instance that fits any small data.
        tolerance: relative, of its predictions.
        gradient_tolerance: of its gradients against finite differences.
    """

    head: Head
    tolerance: float = ITERATIVE
    gradient_tolerance: float = 1e-5


HEAD_CASES: dict[str, tuple[HeadCase, ...]] = {
    "ridge": tuple(
        HeadCase(RidgeHead(l2=0.3, l2_scale=scale, intercept=intercept), CLOSED_FORM)
        for scale in ("trace", "absolute")
        for intercept in INTERCEPTS
    ),
    "kernel-ridge": tuple(
        HeadCase(KernelRidgeHead(kernel="rbf", l2=0.3, intercept=intercept), CLOSED_FORM)
        for intercept in INTERCEPTS
    ),
    "logistic": tuple(
        HeadCase(LogisticHead(l2=0.3, intercept=intercept)) for intercept in INTERCEPTS
    ),
    "svm": tuple(HeadCase(SVMHead(l2=0.3, intercept=intercept)) for intercept in INTERCEPTS),
    # A cone solver knows its objective to 1e-8, the solution and its derivative to half the digits.
    "cvxpy": (HeadCase(CvxpyHead(logistic, l2=0.3), tolerance=1e-3, gradient_tolerance=1e-2),),
}

LOSS_CASES: dict[str, tuple[LabelLoss, ...]] = {
    "squared": (SquaredLoss(), SquaredLoss(coding="centred")),
    "cross_entropy": (CrossEntropyLoss(), CrossEntropyLoss(temperature=0.2)),
    "hinge": (HingeLoss(),),
}

CONSTRAINT_CASES: dict[str, tuple[LabelConstraint, ...]] = {
    "free": (Free(),),
    "simplex": (Simplex(),),
    "box": (Box(), Box(low=-0.5, high=float("inf"))),
    "top-k": (TopK(k=1), TopK(k=2)),
    "clamp": (ClampRenormalise(),),
}


@dataclasses.dataclass(frozen=True)
class SolverCase:
    """A problem that the solver must solve.

    Attributes:
        problem: a small valid instance.
        optimality: bound on the certificate's relative gradient, or gap under a constraint.
        objective: the label objective by a route that is not the solver's.
        solves: the solver must end with `SOLVED`; others need only improve on their start.
    """

    problem: LabelProblem
    optimality: float = ITERATIVE
    objective: Callable[[LabelProblem, Tensor], float] = label_objective
    solves: bool = True


def small_problem(
    *,
    m: int = 6,
    widths: tuple[int, ...] = (5,),
    n: int = 40,
    classes: int = 3,
    seed: int = 0,
    **terms: object,
) -> LabelProblem:
    """Return a problem on features, one extractor a width; the base are the first examples."""
    pool = [draw_target(n, d, classes, seed=seed + 10 * i) for i, d in enumerate(widths)]
    labels = pool[0][1]
    return LabelProblem(
        base_features=tuple(features[:m] for features, _ in pool),
        targets=tuple((features, labels) for features, _ in pool),
        **{"head": RidgeHead(), "loss": SquaredLoss(), "constraint": Free(), **terms},
    )


SOLVER_CASES: dict[str, Callable[[], tuple[SolverCase, ...]]] = {
    "exact": lambda: tuple(
        SolverCase(small_problem(**given), optimality=1e-10)
        for given in (
            {},
            {"m": 3, "widths": (7,)},
            {"widths": (4, 7, 5)},
            {"target_l2": 0.0},
            {"head": RidgeHead(l2=0.1, l2_scale="absolute", intercept="penalised")},
            {"head": RidgeHead(intercept="none"), "loss": SquaredLoss(coding="centred")},
            {"prior": draw(6, 3), "prior_weight": 0.2},
        )
    ),
    "projected": lambda: tuple(
        SolverCase(small_problem(**given))
        for given in (
            {"constraint": Simplex()},
            {"m": 3, "widths": (4, 7), "constraint": Box(low=0.1, high=0.6)},
            {"constraint": Box(), "prior": draw(6, 3), "prior_weight": 0.2},
            {"constraint": Box(low=-50.0, high=50.0)},
        )
    ),
    "cross-entropy": lambda: tuple(
        SolverCase(small_problem(loss=CrossEntropyLoss(), **given), optimality=1e-2)
        for given in (
            {},
            {"m": 3, "widths": (4, 7), "constraint": Simplex()},
            {"constraint": Box(low=-1.0, high=2.0)},
            {"prior": draw(6, 3), "prior_weight": 0.2},
        )
    ),
    "gradient": lambda: tuple(
        SolverCase(small_problem(**given), optimality=1e-3, solves=False)
        for given in (
            {"m": 3},
            {"widths": (4, 5), "loss": HingeLoss()},
            {"m": 3, "constraint": TopK(k=2), "loss": CrossEntropyLoss()},
        )
    ),
}


def flat(cases: dict[str, tuple]) -> list:
    """Return all cases of a table, for `pytest.mark.parametrize`."""
    return [case for of_name in cases.values() for case in of_name]
