"""Evaluation: settings, students, metrics and rows."""

from cvxdistill.evaluate.metrics import METRICS, Interval, accuracy, interval
from cvxdistill.evaluate.protocol import evaluate
from cvxdistill.evaluate.rows import EvalRow, nested
from cvxdistill.evaluate.students import Recipe, Students, default_student, draw_student, predict

__all__ = [
    "METRICS",
    "EvalRow",
    "Interval",
    "Recipe",
    "Students",
    "accuracy",
    "default_student",
    "draw_student",
    "evaluate",
    "interval",
    "nested",
    "predict",
]
