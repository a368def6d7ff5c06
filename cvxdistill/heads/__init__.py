"""Heads by name."""

from cvxdistill.heads.base import Head, LabelLinearHead
from cvxdistill.heads.fit import LabelMap, LinearFit
from cvxdistill.heads.ridge import RidgeHead
from cvxdistill.heads.target import Target, TargetRoot, stack

HEADS: dict[str, type[Head]] = {
    "ridge": RidgeHead,
}

__all__ = [
    "HEADS",
    "Head",
    "LabelLinearHead",
    "LabelMap",
    "LinearFit",
    "RidgeHead",
    "Target",
    "TargetRoot",
    "stack",
]
