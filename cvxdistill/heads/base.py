"""Heads: convex fits of a last layer to labelled features.

`fit(features, labels)` is differentiable. A head that is *linear in the labels* can say more: its
weights are a fixed linear map of the labels, which makes the label problem convex and, under a
squared loss, linear least squares.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from cvxdistill.heads.fit import LabelMap, LinearFit
from cvxdistill.heads.target import Target, TargetRoot



class Head(ABC):
    """A convex fit of a last layer. To add one: a subclass in its own file, one line in `HEADS`.

    The contract, checked for every registered head: permuting base examples together with their
    labels changes nothing; permuting classes permutes the columns; the input's dtype and device
    come back; gradients agree with finite differences, second ones too where `double_backward`.

    Attributes:
        label_linear: the fit is linear in the labels (`factor` exists).
        double_backward: the fit can be differentiated twice.
    """

    label_linear: ClassVar[bool] = False
    double_backward: ClassVar[bool] = False

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor) -> LinearFit:
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
    def factor(self, features: Tensor) -> LabelMap:
        """Return the map from labels to weights for base `features (..., m, d)`."""

    @abstractmethod
    def target_root(self, target: Target, *, target_l2: float | None = None) -> TargetRoot:
        """Return the head's own penalised squared error on the whole target."""
