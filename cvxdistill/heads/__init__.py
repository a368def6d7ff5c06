"""Heads by name."""

from cvxdistill.heads.base import Head, LabelLinearHead
from cvxdistill.heads.conditioning import Conditioning, conditioning
from cvxdistill.heads.cvxpy_head import CvxpyHead
from cvxdistill.heads.fit import HeadFit, LabelMap, LabelTransfer, LinearFit
from cvxdistill.heads.kernel_ridge import KernelFit, KernelMap, KernelRidgeHead
from cvxdistill.heads.label_root import LabelRoot
from cvxdistill.heads.logistic import LogisticHead
from cvxdistill.heads.paths import RidgePath, full_data_path, ridge_path
from cvxdistill.heads.ridge import RidgeHead
from cvxdistill.heads.svm import SVMHead
from cvxdistill.heads.target import Target, TargetRoot, stack
from cvxdistill.specs import parse_spec

HEADS: dict[str, type[Head]] = {
    "cvxpy": CvxpyHead,
    "kernel-ridge": KernelRidgeHead,
    "logistic": LogisticHead,
    "ridge": RidgeHead,
    "svm": SVMHead,
}

__all__ = [
    "HEADS",
    "Conditioning",
    "CvxpyHead",
    "Head",
    "HeadFit",
    "KernelFit",
    "KernelMap",
    "KernelRidgeHead",
    "LabelLinearHead",
    "LabelMap",
    "LabelRoot",
    "LabelTransfer",
    "LinearFit",
    "LogisticHead",
    "RidgeHead",
    "RidgePath",
    "SVMHead",
    "Target",
    "TargetRoot",
    "conditioning",
    "full_data_path",
    "parse_head",
    "ridge_path",
    "stack",
]


def parse_head(spec: str) -> Head:
    """Read a head as a user types it: `ridge`, or `kernel-ridge:kernel=ntk,depth=2`.

    A `CvxpyHead` has a function as an option, which has no spelling: it is used from Python.

    Raises:
        InputError: an unknown name or option, or a value of the wrong type or out of range.

    Example:
        >>> parse_head("logistic:l2=0.1").l2
        0.1
    """
    typed = {name: kind for name, kind in HEADS.items() if kind is not CvxpyHead}
    return parse_spec(spec, typed, what="head")
