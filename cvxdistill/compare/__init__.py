"""Comparison of methods: one problem, one budget, one yardstick."""

from cvxdistill.compare.comparison import Comparison
from cvxdistill.compare.problem import SharedProblem, Yardstick
from cvxdistill.compare.rows import CurvePoint, MethodRow
from cvxdistill.compare.run import compare
from cvxdistill.compare.times import Reached
from cvxdistill.compare.trace import TracePoint, read_trace

__all__ = [
    "Comparison",
    "CurvePoint",
    "MethodRow",
    "Reached",
    "SharedProblem",
    "TracePoint",
    "Yardstick",
    "compare",
    "read_trace",
]
