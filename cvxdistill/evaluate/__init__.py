"""Evaluation: settings, metrics and rows."""

from cvxdistill.evaluate.metrics import METRICS, Interval, accuracy, interval
from cvxdistill.evaluate.protocol import evaluate
from cvxdistill.evaluate.rows import EvalRow, nested

__all__ = [
    "METRICS",
    "EvalRow",
    "Interval",
    "accuracy",
    "evaluate",
    "interval",
    "nested",
]
