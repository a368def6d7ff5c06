"""Methods by name."""

from cvxdistill.methods.base import DistillTask, Method, MethodResult
from cvxdistill.methods.exact import Exact
from cvxdistill.methods.hard import Hard
from cvxdistill.methods.smoothed import Smoothed

METHODS: dict[str, type[Method]] = {
    "exact": Exact,
    "hard": Hard,
    "smoothed": Smoothed,
}

__all__ = ["METHODS", "DistillTask", "Exact", "Hard", "Method", "MethodResult", "Smoothed"]
