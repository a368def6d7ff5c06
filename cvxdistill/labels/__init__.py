"""Losses, constraints and initial labels by name."""

from cvxdistill.labels.base import LabelConstraint, LabelLoss, RowLimits
from cvxdistill.labels.box import Box
from cvxdistill.labels.clamp import ClampRenormalise
from cvxdistill.labels.constraints import Free
from cvxdistill.labels.cross_entropy import CrossEntropyLoss
from cvxdistill.labels.hinge import HingeLoss
from cvxdistill.labels.inits import INITS, one_hot, smoothed, uniform
from cvxdistill.labels.losses import SquaredLoss
from cvxdistill.labels.simplex import Simplex
from cvxdistill.labels.topk import TopK

LOSSES: dict[str, type[LabelLoss]] = {
    "squared": SquaredLoss,
    "cross_entropy": CrossEntropyLoss,
    "hinge": HingeLoss,
}

CONSTRAINTS: dict[str, type[LabelConstraint]] = {
    "free": Free,
    "simplex": Simplex,
    "box": Box,
    "top-k": TopK,
    "clamp": ClampRenormalise,
}

__all__ = [
    "CONSTRAINTS",
    "INITS",
    "LOSSES",
    "Box",
    "ClampRenormalise",
    "CrossEntropyLoss",
    "Free",
    "HingeLoss",
    "LabelConstraint",
    "LabelLoss",
    "RowLimits",
    "Simplex",
    "SquaredLoss",
    "TopK",
    "make_loss",
    "one_hot",
    "smoothed",
    "uniform",
]


def make_loss(name: str, *, temperature: float = 1.0) -> LabelLoss:
    """Return the loss of a name in `LOSSES`; only the cross-entropy has a temperature.

    Example:
        >>> make_loss("cross_entropy", temperature=2.0).temperature, make_loss("hinge")
        (2.0, HingeLoss())
    """
    kind = LOSSES[name]
    return kind(temperature=temperature) if kind is CrossEntropyLoss else kind()
