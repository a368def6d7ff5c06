"""Heads: convex fits of a last layer to labelled features.

`fit(features, labels)` is differentiable. A head that is *linear in the labels* can say more: its
predictions are a fixed linear map of the labels, which makes the label problem convex and, under a
squared loss, linear least squares.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from cvxdistill.errors import IncompatibleError
from cvxdistill.heads.fit import HeadFit, LabelTransfer
from cvxdistill.heads.label_root import LabelRoot
from cvxdistill.heads.target import Target, TargetRoot


class Head(ABC):
    """A convex fit of a last layer. To add one: a subclass in its own file, one line in `HEADS`.

    The contract, checked for every registered head: permuting base examples together with their
    labels changes nothing; permuting classes permutes the columns; the input's dtype and device
    come back; gradients agree with finite differences, second ones too where `double_backward`.

    Attributes:
        label_linear: the fit is linear in the labels (`factor` exists).
        finite_weights: a fit is `d` weights a class and an intercept, so moments of the target
            say how good it is; a kernel head has one weight a base example and a query's features.
        double_backward: the fit can be differentiated twice.
    """

    label_linear: ClassVar[bool] = False
    finite_weights: ClassVar[bool] = True
    double_backward: ClassVar[bool] = False

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor) -> HeadFit:
        """Fit to `features (..., m, d)` and soft `labels (..., m, C)`.

        Raises:
            InputError: shapes that do not fit, or entries that are not finite.
            SolveError: no trustworthy solution.
        """


class LabelLinearHead(Head):
    """A head linear in the labels: `fit(Z, Y)(Q) == factor(Z).transfer(Q) @ Y`.

    A squared error with a quadratic penalty makes it so.
    """

    label_linear: ClassVar[bool] = True

    @abstractmethod
    def factor(self, features: Tensor) -> LabelTransfer:
        """Return the map from labels to predictions for base `features (..., m, d)`."""

    def target_root(
        self,
        target: Target,  # noqa: ARG002
        *,
        target_l2: float | None = None,  # noqa: ARG002
    ) -> TargetRoot:
        """Return the head's own penalised squared error on the whole target, in its weights.

        Raises:
            IncompatibleError: the head has no finite weights.
        """
        raise IncompatibleError(
            f"{type(self).__name__} has no finite weights, and so no error as a function of "
            "them. Use `label_root`, a function of the labels, or RidgeHead."
        )

    @abstractmethod
    def label_root(
        self, mapped: Any, target: Target, *, target_l2: float | None = None
    ) -> LabelRoot:
        """Return the head's own penalised squared error on the whole target, in the labels.

        Args:
            mapped: what `factor` gave for the base features, `(m, d)`.
            target: moments, or `(features (n, d), coded labels (n, C))`.
            target_l2: strength of the penalty in the head's own scale; `None` for the head's own,
                0 for the plain squared error.

        Raises:
            InputError: no examples, or sizes that do not fit.
        """
