"""Estimators for scikit-learn: label distillation of feature matrices, in pipelines and searches.

They are importable from `cvxdistill` itself; scikit-learn is imported when they first are.
"""

from cvxdistill.sklearn.classifier import LabelDistiller
from cvxdistill.sklearn.regressor import LabelDistillerRegressor

__all__ = ["LabelDistiller", "LabelDistillerRegressor"]
