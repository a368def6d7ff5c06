"""What the estimators share: choose base rows, solve their labels, refit the head on them."""

import numbers
import warnings
from abc import ABCMeta, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice
from cvxdistill.choose import Chooser
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features import Pixels, draw_extractor
from cvxdistill.heads import LinearFit, RidgeHead, Target
from cvxdistill.labels import CONSTRAINTS, LOSSES, LabelConstraint, LabelLoss
from cvxdistill.problem import Status
from cvxdistill.sklearn.rows import choose_rows, read_chooser, strata_of
from cvxdistill.sklearn.samples import Candidates, Samples
from cvxdistill.solvers import solve_labels
from cvxdistill.statistics import TargetStatistics

# The types that come back as they are, as from scikit-learn's linear models; others become the
# first.
DTYPES = (np.float64, np.float32)


class BaseLabelDistiller(BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]
    """Base of the estimators: all but what targets mean.

    A subclass has the parameters below in its constructor, `loss` and `constraint` if it wants. It
    checks targets in `_samples`, where it names the label columns in `_columns`, sets what they
    determine in `_publish`, and tells the classes of base rows in `_base_classes`.
    """

    n_examples: int | None
    choose: str | Chooser
    l2: float
    l2_scale: str
    intercept: str
    loss: str | LabelLoss = "squared"
    constraint: str | LabelConstraint = "free"
    n_candidates: int
    random_state: Any
    device: str

    _columns: tuple[str, ...]

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose base rows, solve their labels against all samples, and fit the head to them.

        Args:
            X: `(n_samples, n_features)` features.
            y: targets.
            sample_weight: `(n_samples,)` how often each sample counts: 2 is the sample twice, 0 is
                none. Rows of weight 0 never become base rows; otherwise weights do not enter the
                choice. Where moments are not enough (losses other than `squared`, constraints
                `top-k` and `clamp`), whole numbers alone.

        Returns:
            The fitted estimator.

        Raises:
            InputError: parameters or targets that do not fit.
            SolveError: a singular problem, which only `l2=0` can give.
        """
        self._check_parameters()
        samples = self._samples(X, y, sample_weight, first=True)
        target: Target
        if self._by_moments():
            target = self._moments(samples)
        else:
            features, targets = samples.repeated()
            target = features.to(self.device), targets.to(self.device)
        rows = samples.counted
        places = np.arange(len(samples))[rows]
        self._solve(samples.take(rows), places, target, seed=self._draw_seed())
        # What an earlier fit left, and this one may not have.
        for name in ("statistics_", "_stream"):
            self.__dict__.pop(name, None)
        if isinstance(target, TargetStatistics):
            self.statistics_ = target
        self.n_samples_seen_ = len(samples)
        return self

    def to_distilled(self) -> Distilled:
        """Return base rows and labels as an artefact, to be saved, evaluated or exported.

        Raises:
            NotFittedError: before `fit` or `partial_fit`.
        """
        check_is_fitted(self)
        names, classes = self._base_classes()
        base = ImageSet(
            torch.from_numpy(self.base_features_.copy()),
            classes,
            names,
            name="samples",
            split="base",
            indices=torch.from_numpy(self.base_indices_.copy()),
        )
        certificate = self.certificate_
        return Distilled(
            base=base,
            labels=torch.from_numpy(self.labels_.reshape(len(base), -1).copy()),
            label_kind=self._constraint().label_kind,
            class_names=self._columns,
            head=self._head(),
            extractors=(draw_extractor(Pixels(), base.shape, seed=0),),
            provenance={
                "method": {"name": type(self).__name__, "options": repr(self)},
                "target": {"name": "samples", "split": "all", "examples": self.n_samples_seen_},
                "feature_names": [str(name) for name in getattr(self, "feature_names_in_", ())],
                "status": self.status_,
                "certificate": certificate.record(),
                "certificate_text": str(certificate),
            },
        )

    @abstractmethod
    def _samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, first: bool
    ) -> Samples:
        """Check samples; `first` sets what they must agree with from then on."""

    @abstractmethod
    def _publish(self, labels: NDArray[np.float64], fit: LinearFit) -> None:
        """Set `labels_`, `coef_` and `intercept_`."""

    def _base_classes(self) -> tuple[tuple[str, ...], Tensor]:
        """Return names of classes, and the class of each base row; one for all that have none."""
        return ("sample",), torch.zeros(self.n_examples_, dtype=torch.int64)

    def _arrays(
        self, X: ArrayLike, y: ArrayLike, *, first: bool, **options: bool
    ) -> tuple[NDArray[np.floating], NDArray[Any]]:
        """Check samples as scikit-learn does."""
        checked: tuple[NDArray[np.floating], NDArray[Any]] = validate_data(
            self, X, y, dtype=DTYPES, multi_output=True, reset=first, **options
        )
        return checked

    def _scores(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return `X coef_' + intercept_`, in the type of `X`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=DTYPES, reset=False)
        scores: NDArray[np.floating] = X @ self.coef_.T + self.intercept_
        return scores

    def _begins(self) -> bool:
        """Return whether a `partial_fit` is the first, with nothing to add to."""
        self._check_parameters()
        return not hasattr(self, "statistics_")

    def _take_in(self, samples: Samples) -> Self:
        """Take in one chunk of a stream, and solve for all that has come."""
        wanted = self._examples(samples)
        if wanted > self.n_candidates:
            raise InputError(
                f"`n_candidates` must be at least the {wanted} base rows that are chosen from "
                f"them; got {self.n_candidates}."
            )
        chooser = read_chooser(self.choose)
        statistics = self._moments(samples)
        stream = getattr(self, "_stream", None)
        if hasattr(self, "statistics_"):
            statistics = self.statistics_ + statistics
            if stream is None:
                # Of `fit` nothing is left but its base rows.
                base = Samples(self.base_features_, self._base_targets, samples.columns)
                stream = Candidates.begun(
                    base,
                    self.base_indices_,
                    strata_of(base, chooser),
                    seen=self.n_samples_seen_,
                    seed=self._draw_seed(),
                )
        if stream is None:
            stream = Candidates.empty(samples, seed=self._draw_seed())
        stream = stream.joined(samples, strata_of(samples, chooser), capacity=self.n_candidates)
        self._solve(stream.samples, stream.positions, statistics, seed=stream.seed)
        # Only now, so that a chunk for which there is no solution is not half taken in.
        self.statistics_, self._stream = statistics, stream
        self.n_samples_seen_ = stream.seen
        return self

    def _solve(
        self,
        candidates: Samples,
        positions: NDArray[np.int64],
        target: Target,
        *,
        seed: int,
    ) -> None:
        """Choose base rows among candidates, which stand at `positions`, and label them."""
        head = self._head()
        chosen = choose_rows(
            candidates,
            self._examples(candidates),
            read_chooser(self.choose),
            target=target,
            head=head,
            seed=seed,
        )
        base = candidates.take(chosen)
        features = torch.from_numpy(base.features.astype(np.float64)).to(self.device)
        solution = solve_labels(
            features,
            target,
            head=head,
            loss=self._loss(),
            constraint=self._constraint(),
            num_classes=candidates.columns,
        ).raise_if_failed()
        if solution.status is Status.STOPPED_EARLY:
            warnings.warn(f"labels: {solution.status.value}.", ConvergenceWarning, stacklevel=3)
        self.n_examples_ = len(chosen)
        self.base_indices_ = positions[chosen]
        self.base_features_ = base.features
        self._base_targets = base.targets
        self.certificate_ = solution.certificate
        self.status_ = solution.status.name.lower()
        self._publish(solution.labels.cpu().numpy(), head.fit(features, solution.labels))

    def _moments(self, samples: Samples) -> TargetStatistics:
        """Return the moments, computed on `device` and kept on the CPU, where any machine reads."""
        sizes = samples.features.shape[1], samples.columns
        moments = TargetStatistics(*sizes, device=self.device, target_names=self._columns)
        for features, targets, weights in samples.blocks():
            moments.update(features, targets, weights)
        return moments.to("cpu")

    def _examples(self, samples: Samples) -> int:
        """Return how many base rows are asked for."""
        if self.n_examples is not None:
            return int(self.n_examples)
        return int(samples.features.shape[1]) + (self.intercept != "none")

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _head(self) -> RidgeHead:
        return RidgeHead(l2=self.l2, l2_scale=self.l2_scale, intercept=self.intercept)

    def _loss(self) -> LabelLoss:
        loss = self.loss
        return LOSSES[check_choice("loss", loss, LOSSES)]() if isinstance(loss, str) else loss

    def _constraint(self) -> LabelConstraint:
        given = self.constraint
        if isinstance(given, str):
            return CONSTRAINTS[check_choice("constraint", given, CONSTRAINTS)]()
        return given

    def _by_moments(self) -> bool:
        """Whether labels are solved from moments: a squared loss and a set to project onto."""
        constraint = self._constraint()
        return self._loss().quadratic and constraint.convex and constraint.exact_projection

    def _check_parameters(self) -> None:
        if self.n_examples is not None:
            _check_count("n_examples", self.n_examples)
        _check_count("n_candidates", self.n_candidates)
        read_chooser(self.choose)
        self._head()
        self._loss()
        self._constraint()


def _check_count(name: str, value: Any) -> None:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise InputError(f"`{name}` must be a whole number of 1 or more; got {value!r}.")
