"""Closed-form label distillation: synthetic soft labels for a few real examples."""

from typing import TYPE_CHECKING, Any

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.codecs import CODECS
from cvxdistill.compare import Comparison, SharedProblem, Yardstick, compare
from cvxdistill.compress import choose_codec, label_metric
from cvxdistill.data import DATASETS, ImageSet, Splits, fit_images, load_splits
from cvxdistill.distill import distill, distill_moments
from cvxdistill.embeddings import open_embeddings
from cvxdistill.errors import CvxDistillError, IncompatibleError, InputError, SolveError
from cvxdistill.evaluate import EvalRow, evaluate
from cvxdistill.export import (
    EXPORTERS,
    IMPORTERS,
    DistilledDataset,
    export_distilled,
    import_distilled,
)
from cvxdistill.features import (
    BACKBONES,
    FEATURES,
    Extractor,
    ImageEncoder,
    Network,
    Preprocessing,
    draw_extractor,
    draw_pool,
    embed,
    embed_batches,
    embed_statistics,
    embed_to_shards,
    load_extractor,
    parse_network,
    save_extractor,
    train_extractor,
    wrap_module,
)
from cvxdistill.heads import (
    HEADS,
    CvxpyHead,
    KernelRidgeHead,
    LogisticHead,
    RidgeHead,
    SVMHead,
    conditioning,
    full_data_path,
    ridge_path,
)
from cvxdistill.labels import CONSTRAINTS, LOSSES, CrossEntropyLoss, HingeLoss, SquaredLoss
from cvxdistill.methods import METHODS
from cvxdistill.problem import Certificate, LabelProblem, LabelSolution, Status
from cvxdistill.solvers import SOLVERS, choose_prior_weight, choose_temperature, solve_labels
from cvxdistill.statistics import TargetStatistics
from cvxdistill.streaming import stream_statistics
from cvxdistill.students import OPTIMISERS, Recipe

if TYPE_CHECKING:
    from cvxdistill.sklearn import LabelDistiller, LabelDistillerRegressor

__version__ = "0.1.0"

__all__ = [
    "BACKBONES",
    "CODECS",
    "CONSTRAINTS",
    "DATASETS",
    "EXPORTERS",
    "FEATURES",
    "HEADS",
    "IMPORTERS",
    "LOSSES",
    "METHODS",
    "OPTIMISERS",
    "SOLVERS",
    "Certificate",
    "Comparison",
    "CrossEntropyLoss",
    "CvxDistillError",
    "CvxpyHead",
    "Distilled",
    "DistilledDataset",
    "EvalRow",
    "Extractor",
    "HingeLoss",
    "ImageEncoder",
    "ImageSet",
    "IncompatibleError",
    "InputError",
    "KernelRidgeHead",
    "LabelDistiller",
    "LabelDistillerRegressor",
    "LabelProblem",
    "LabelSolution",
    "LogisticHead",
    "Network",
    "Preprocessing",
    "Recipe",
    "RidgeHead",
    "SVMHead",
    "SharedProblem",
    "SolveError",
    "Splits",
    "SquaredLoss",
    "Status",
    "TargetStatistics",
    "Yardstick",
    "choose_base",
    "choose_codec",
    "choose_prior_weight",
    "choose_temperature",
    "compare",
    "conditioning",
    "distill",
    "distill_moments",
    "draw_extractor",
    "draw_pool",
    "embed",
    "embed_batches",
    "embed_statistics",
    "embed_to_shards",
    "evaluate",
    "export_distilled",
    "fit_images",
    "full_data_path",
    "import_distilled",
    "label_metric",
    "load_extractor",
    "load_splits",
    "open_embeddings",
    "parse_network",
    "ridge_path",
    "save_extractor",
    "solve_labels",
    "stream_statistics",
    "train_extractor",
    "wrap_module",
]


def __getattr__(name: str) -> Any:
    """Import the estimators when they are first asked for, and scikit-learn with them."""
    if name in ("LabelDistiller", "LabelDistillerRegressor"):
        import cvxdistill.sklearn as estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
