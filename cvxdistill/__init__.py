"""Closed-form label distillation: synthetic soft labels for a few real examples."""

from cvxdistill.artifact import Distilled
from cvxdistill.data import DATASETS, ImageSet, Splits, choose_base, load_splits
from cvxdistill.distill import distill
from cvxdistill.errors import CvxDistillError, IncompatibleError, InputError, SolveError
from cvxdistill.evaluate import EvalRow, Recipe, evaluate
from cvxdistill.features import (
    FEATURES,
    Extractor,
    Network,
    Preprocessing,
    draw_extractor,
    draw_pool,
    embed,
    embed_batches,
    embed_statistics,
    load_extractor,
    parse_network,
    save_extractor,
    train_extractor,
    wrap_module,
)
from cvxdistill.heads import HEADS, RidgeHead
from cvxdistill.labels import CONSTRAINTS, LOSSES
from cvxdistill.methods import METHODS
from cvxdistill.problem import Certificate, LabelProblem, LabelSolution, Status
from cvxdistill.solvers import SOLVERS, solve_labels
from cvxdistill.statistics import TargetStatistics

__version__ = "0.1.0"

__all__ = [
    "CONSTRAINTS",
    "DATASETS",
    "FEATURES",
    "HEADS",
    "LOSSES",
    "METHODS",
    "SOLVERS",
    "Certificate",
    "CvxDistillError",
    "Distilled",
    "EvalRow",
    "Extractor",
    "ImageSet",
    "IncompatibleError",
    "InputError",
    "LabelProblem",
    "LabelSolution",
    "Network",
    "Preprocessing",
    "Recipe",
    "RidgeHead",
    "SolveError",
    "Splits",
    "Status",
    "TargetStatistics",
    "choose_base",
    "distill",
    "draw_extractor",
    "draw_pool",
    "embed",
    "embed_batches",
    "embed_statistics",
    "evaluate",
    "load_extractor",
    "load_splits",
    "parse_network",
    "save_extractor",
    "solve_labels",
    "train_extractor",
    "wrap_module",
]
