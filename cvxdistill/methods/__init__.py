"""Methods by name."""

from cvxdistill.methods.base import DistillTask, Method, MethodResult
from cvxdistill.methods.exact import Exact
from cvxdistill.methods.hard import Hard
from cvxdistill.methods.iterative import IterativeMethod, Learner
from cvxdistill.methods.journal import Journal
from cvxdistill.methods.qin2024_teacher import Teacher
from cvxdistill.methods.smoothed import Smoothed
from cvxdistill.specs import parse_spec

METHODS: dict[str, type[Method]] = {
    "exact": Exact,
    "hard": Hard,
    "smoothed": Smoothed,
    "teacher": Teacher,
}

__all__ = [
    "METHODS",
    "DistillTask",
    "Exact",
    "Hard",
    "IterativeMethod",
    "Journal",
    "Learner",
    "Method",
    "MethodResult",
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
