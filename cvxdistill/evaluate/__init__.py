"""Evaluation: settings, metrics and rows."""

from cvxdistill.evaluate.metrics import METRICS, Interval, accuracy, interval
from cvxdistill.evaluate.protocol import LABEL_SETS, evaluate
from cvxdistill.evaluate.rows import EvalRow, nested

__all__ = [
    "LABEL_SETS",
    "METRICS",
    "EvalRow",
    "Interval",
    "accuracy",
    "evaluate",
    "interval",
    "nested",
]
