"""What heads without a closed form share: checks, centring, episodes, the intercept."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError
from cvxdistill.heads.base import Head
from cvxdistill.heads.design import (
    absolute_penalty,
    check_options,
    check_pair,
    seen_by_penalty,
    seen_trace,
    split_intercept,
)
from cvxdistill.heads.fit import LinearFit, each_episode


@dataclasses.dataclass(frozen=True)
class IterativeHead(Head):
    """A convex head solved by iteration, with soft labels as weights of the classes.

    A subclass gives the solve for one matrix of features as the penalty sees them.

    Attributes:
        l2: strength of the penalty, above zero.
        l2_scale: `absolute` or `trace`.
        intercept: `free`, `penalised` or `none`.
        tol: what counts as solved.
        max_steps: limit of steps.

    Raises:
        InputError: unknown option, or numbers out of range.
    """

    l2: float | Tensor = 1e-2
    l2_scale: str = "absolute"
    intercept: str = "free"
    tol: float = 1e-10
    max_steps: int = 100

    double_backward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self.l2, self.l2_scale, self.intercept, zero=False)
        check_positive("tol", self.tol)
        check_positive("max_steps", self.max_steps)

    def fit(self, features: Tensor, labels: Tensor) -> LinearFit:
        """Fit to `features (..., m, d)` and `labels (..., m, C)`; one fit a leading index.

        Raises:
            InputError: shapes that do not fit, entries that are not finite, a row with a negative
                sum, or a class without weight under a free intercept.
            SolveError: the solve did not reach its tolerance.
        """
        check_pair(features, labels)
        if features.ndim > 2:
            return each_episode(self.fit, features, labels)
        free = self.intercept == "free"
        check_weights(labels, free=free)
        z, mean = seen_by_penalty(features, self.intercept)
        lam = absolute_penalty(self.l2, self.l2_scale, seen_trace(z), len(z))
        weights, offset = self._solve(z, labels.to(torch.float64), lam, free=free)
        if free:
            # Back from centred features to the features as they came.
            offset = offset - (mean @ weights).squeeze(0)
        else:
            weights, offset = split_intercept(weights, self.intercept, dim=0)
        return LinearFit(weights.to(features.dtype), offset.to(features.dtype))

    @abstractmethod
    def _solve(self, z: Tensor, y: Tensor, lam: Tensor, *, free: bool) -> tuple[Tensor, Tensor]:
        """Return weights `(q, C)` and, where it is free, the intercept `(C)` of `z (m, q)`."""


def check_weights(labels: Tensor, *, free: bool) -> None:
    """Check that labels are weights for which a convex classifier has a minimiser.

    Raises:
        InputError: a row with a negative sum; under a free intercept, a class without weight.
    """
    values = labels.detach().to(torch.float64)
    sums = values.sum(-1)
    if bool((sums < 0).any()):
        row = int((sums < 0).nonzero()[0, -1])
        raise InputError(
            "each row of `labels` must have a sum of zero or more, since rows are weights; got "
            f"{float(sums.min()):.3g} at worst, the first in row {row}. Project the labels, or use "
            "RidgeHead, which takes any scores."
        )
    if free:
        weight = values.sum(-2)
        if bool((weight <= 0).any()):
            column = int((weight <= 0).nonzero()[0, -1])
            raise InputError(
                f"every class must have weight for a free intercept; class {column} has "
                f"{float(weight[column]):.3g}, and its intercept would be minus infinity. Add an "
                "example of it, smooth the labels, or use intercept=`penalised` or `none`."
            )
