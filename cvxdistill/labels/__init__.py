"""Losses, constraints and initial labels by name."""

from cvxdistill.labels.base import LabelConstraint, LabelLoss
from cvxdistill.labels.constraints import Free
from cvxdistill.labels.inits import INITS, one_hot, smoothed, uniform
from cvxdistill.labels.losses import SquaredLoss

LOSSES: dict[str, type[LabelLoss]] = {
    "squared": SquaredLoss,
}

CONSTRAINTS: dict[str, type[LabelConstraint]] = {
    "free": Free,
}

__all__ = [
    "CONSTRAINTS",
    "INITS",
    "LOSSES",
    "Free",
    "LabelConstraint",
    "LabelLoss",
    "SquaredLoss",
    "one_hot",
    "smoothed",
    "uniform",
]
