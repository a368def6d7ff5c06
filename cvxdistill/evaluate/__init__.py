"""Evaluation: settings, metrics and rows.

**Students from scratch** are measured as a matrix: networks by optimisers by numbers of steps.

- *The main cell* of a network and label set is always measured; it alone stands in tables and in
  the `accuracy` of the command line. Distilled labels that came with a recipe are trained by it as
  it stands: its steps, optimiser and step sizes, without a choice of scale. All others are trained
  by the given recipe, with the number of steps, the scale or the smoothing chosen on validation;
  where the artefact has a recipe, its numbers of steps are among those that the others may choose.
  To tune distilled labels like the others, evaluate `dataclasses.replace(distilled, recipe=None)`.
- *Further optimisers* start from the main cell's recipe. Those other than Adam have their learning
  rate chosen on validation among a third of their default, the default, and its triple.
- *Further numbers of steps* are multiples of the chosen one, everything else as chosen for it.
"""

from cvxdistill.evaluate.labels import LABEL_SETS
from cvxdistill.evaluate.metrics import METRICS, Interval, accuracies, accuracy, interval
from cvxdistill.evaluate.protocol import evaluate, extractors_by_setting
from cvxdistill.evaluate.rows import EvalRow, nested
from cvxdistill.evaluate.students import evaluate_students

__all__ = [
    "LABEL_SETS",
    "METRICS",
    "EvalRow",
    "Interval",
    "accuracies",
    "accuracy",
    "evaluate",
    "evaluate_students",
    "extractors_by_setting",
    "interval",
    "nested",
]
