"""Methods by name."""

from cvxdistill.methods.alternating import Alternating
from cvxdistill.methods.base import DistillTask, Method, MethodResult
from cvxdistill.methods.bohdal2020_ridge import OnlineRidge
from cvxdistill.methods.bohdal2020_second_order import SecondOrder
from cvxdistill.methods.exact import Exact
from cvxdistill.methods.first_order import FirstOrder
from cvxdistill.methods.hard import Hard
from cvxdistill.methods.iterative import IterativeMethod, Learner
from cvxdistill.methods.journal import Journal
from cvxdistill.methods.qin2024_teacher import Teacher
from cvxdistill.methods.smoothed import Smoothed
from cvxdistill.methods.sucholutsky2019_images_labels import ImagesLabels
from cvxdistill.methods.wang2018_images import Images
from cvxdistill.specs import parse_spec

METHODS: dict[str, type[Method]] = {
    "alternating": Alternating,
    "exact": Exact,
    "first-order": FirstOrder,
    "hard": Hard,
    "images": Images,
    "images-labels": ImagesLabels,
    "online-ridge": OnlineRidge,
    "second-order": SecondOrder,
    "smoothed": Smoothed,
    "teacher": Teacher,
}

__all__ = [
    "METHODS",
    "Alternating",
    "DistillTask",
    "Exact",
    "FirstOrder",
    "Hard",
    "Images",
    "ImagesLabels",
    "IterativeMethod",
    "Journal",
    "Learner",
    "Method",
    "MethodResult",
    "OnlineRidge",
    "SecondOrder",
    "Smoothed",
    "Teacher",
    "parse_method",
]


def parse_method(spec: str) -> Method:
    """Read a method as a user types it: `exact`, or `smoothed:smoothing=0.3`.

    Raises:
        InputError: an unknown name or option, or a value of the wrong type or out of range.

    Example:
        >>> parse_method("smoothed:smoothing=0.3")
        Smoothed(smoothing=0.3)
    """
    return parse_spec(spec, METHODS, what="method")
