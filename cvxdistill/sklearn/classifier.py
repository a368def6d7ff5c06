"""`LabelDistiller`: classes, or several labels a sample."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from torch import Tensor

from cvxdistill.choose import Chooser
from cvxdistill.errors import InputError
from cvxdistill.heads import LinearFit
from cvxdistill.labels import CrossEntropyLoss, LabelConstraint, LabelLoss
from cvxdistill.sklearn.base import BaseLabelDistiller
from cvxdistill.sklearn.coding import INDICATORS, TargetCoding
from cvxdistill.sklearn.samples import Samples, read_weights


def _has_probabilities(estimator: "LabelDistiller") -> bool:
    return estimator._holds(lambda: estimator._loss().cross_entropy)


def _has_moments(estimator: "LabelDistiller") -> bool:
    return estimator._holds(estimator._by_moments)


class LabelDistiller(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    ClassifierMixin,  # type: ignore[misc]
    BaseLabelDistiller,
):
    r"""Classifier from a few samples with solved soft labels.

    A few rows of `X` get synthetic labels such that the ridge head fitted to them alone is the best
    possible on all samples: with `n_features + 1` independent rows it *is* the ridge head of all
    samples, as in `sklearn.linear_model.RidgeClassifier(alpha=l2)` for `l2_scale="absolute"`, and
    below that `certificate_` says what is missing. As a transformer it gives the scores of the
    classes.

    With 0/1 indicator columns in `y` it is a classifier of several labels a sample.

    Args:
        n_examples: number of base rows; all samples where there are fewer. `None` is as many as
            lossless labels can need, `n_features + 1`, or `n_features` without intercept.
        choose: how base rows are chosen: a name in `cvxdistill.choose.CHOOSERS`, with options as in
            `name:option=value`, or a chooser. A class with less than an equal share gives all of
            its samples.
        l2: strength of the ridge penalty.
        l2_scale: `trace` (relative to the mean squared norm of the centred rows) or `absolute`
            (scikit-learn's `alpha`).
        intercept: `free` (not penalised), `penalised` or `none`.
        loss: a name in `cvxdistill.labels.LOSSES`, or a loss. `squared` is exact and needs moments
            alone; `cross_entropy` takes longer, is often more accurate below full rank, and gives
            `predict_proba`.
        constraint: where labels may lie, a name in `cvxdistill.labels.CONSTRAINTS` or a constraint;
            only `free` labels can be lossless.
        n_candidates: how many samples of a stream `partial_fit` keeps to choose base rows from.
        random_state: seed of the choice; `None` draws one from NumPy's global generator, as
            everywhere in scikit-learn.
        device: where moments and solves are computed, such as `cuda`.

    Attributes:
        classes_: `(n_classes,)` the classes, or the numbers of the labels.
        labels_: `(n_examples_, n_classes)` float64 labels of the base rows.
        base_indices_: `(n_examples_,)` their places among all samples.
        base_features_: `(n_examples_, n_features)` the rows themselves.
        n_examples_: how many there are.
        coef_: `(n_classes, n_features)`, or `(1, n_features)` for two classes.
        intercept_: `(n_classes,)` or `(1,)`.
        certificate_: how far the head is from that of all samples.
        status_: how the solve ended, `solved` or `stopped_early`.
        statistics_: moments of all samples, a `TargetStatistics`, under the loss `squared`.
        n_samples_seen_: number of samples.
        n_features_in_: number of features.
        feature_names_in_: their names, where `X` has strings for them.

    Raises:
        InputError: parameters or targets that do not fit.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = LabelDistiller(20, random_state=0).fit(X[:1000], y[:1000])
        >>> model.labels_.shape, model.score(X[1000:], y[1000:]) > 0.85
        ((20, 10), True)
    """

    def __init__(
        self,
        n_examples: int | None = 100,
        *,
        choose: str | Chooser = "balanced",
        l2: float = 1e-3,
        l2_scale: str = "trace",
        intercept: str = "free",
        loss: str | LabelLoss = "squared",
        constraint: str | LabelConstraint = "free",
        n_candidates: int = 10_000,
        random_state: Any = None,
        device: str = "cpu",
    ) -> None:
        self.n_examples = n_examples
        self.choose = choose
        self.l2 = l2
        self.l2_scale = l2_scale
        self.intercept = intercept
        self.loss = loss
        self.constraint = constraint
        self.n_candidates = n_candidates
        self.random_state = random_state
        self.device = device

    @available_if(_has_moments)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Take in a chunk of samples, and solve for all that have come.

        There for loss `squared` alone, and not for the constraints `top-k` and `clamp`.

        Moments add up, so labels are solved against every sample seen. Base rows are chosen from
        `n_candidates` of them, drawn as they come: as equally as classes allow where `choose` goes
        by class, else uniformly. As long as no more have come, the result is that of `fit` on all
        chunks; later the base rows are others, and the objective is still exact. After `fit` the
        first candidates are its base rows.

        Args:
            X: `(n_samples, n_features)` features.
            y: `(n_samples,)` classes, or `(n_samples, n_labels)` indicators.
            classes: all classes that will come; needed in the first call, but for indicators.
            sample_weight: as in `fit`.

        Returns:
            The estimator, fitted to all chunks.

        Raises:
            InputError: samples that do not fit the earlier ones.
            SolveError: a singular problem, which only `l2=0` can give.
        """
        first = self._begins()
        if first and classes is None and type_of_target(y) != INDICATORS:
            raise InputError(
                "the first `partial_fit` needs `classes`, all that will come; got none. Give "
                "np.unique of them."
            )
        samples = self._samples(X, y, sample_weight, first=first, classes=classes)
        return self._take_in(samples)

    def decision_function(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return scores `(n_samples, n_classes)`, or `(n_samples,)` for two classes.

        They are the head's predictions of the labels; for two classes the second less the first, as
        in `RidgeClassifier`; for several labels a sample less 1/2. The loss `cross_entropy` makes
        them logits.

        Args:
            X: `(n_samples, n_features)` features.
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class of each sample, or indicators of its labels.

        Args:
            X: `(n_samples, n_features)` features.
        """
        scores = self.decision_function(X)
        if self._coding.several:
            return (scores > 0).astype(int)
        codes = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        classes: NDArray[Any] = self.classes_[codes]
        return classes

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return probabilities `(n_samples, n_classes)`: the softmax that the loss is about.

        For loss `cross_entropy` alone; other losses do not speak of probabilities.

        Args:
            X: `(n_samples, n_features)` features.
        """
        loss = self._loss()
        assert isinstance(loss, CrossEntropyLoss), "checked by available_if"
        logits = self.decision_function(X) * loss.scale
        if logits.ndim == 1:
            second = expit(logits)
            return np.stack([1 - second, second], axis=1)
        shares: NDArray[np.floating] = softmax(logits, axis=1)
        return shares

    def transform(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return scores as features, `(n_samples, n_classes)`, or `(n_samples, 1)` for two classes.

        Args:
            X: `(n_samples, n_features)` features.
        """
        return self._scores(X)

    @property
    def _n_features_out(self) -> int:
        return len(self.intercept_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self._holds(lambda: self._loss().quadratic)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _holds(self, trait: Callable[[], bool]) -> bool:
        try:
            return trait()
        except InputError:  # an unknown name, which `fit` will tell
            return False

    def _samples(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        *,
        first: bool,
        classes: ArrayLike | None = None,
    ) -> Samples:
        features, given = self._arrays(X, y, first=first)
        if first:
            self._coding = TargetCoding.of(given, classes)
            self.classes_, self._columns = self._coding.classes, self._coding.names
        self._coding.check(classes)
        targets = self._coding.code(given)
        weights = read_weights(sample_weight, features)
        samples = Samples(features, targets, len(self.classes_), weights)
        self._check_loss(samples)
        return samples

    def _check_loss(self, samples: Samples) -> None:
        loss, constraint = self._loss(), self._constraint()
        if self._coding.several and (not loss.quadratic or constraint.label_kind == "distribution"):
            raise InputError(
                "several labels a sample need loss `squared` and a constraint on single entries, "
                f"`free` or `box`; got {self.loss!r} and {self.constraint!r}."
            )
        if not loss.quadratic and len(np.unique(samples.targets[samples.counted])) < 2:
            raise InputError(
                f"loss {self.loss!r} needs samples of 2 classes or more with a weight above zero; "
                "got 1 class."
            )

    def _publish(self, labels: NDArray[np.float64], fit: LinearFit) -> None:
        weights, offsets = fit.weights.mT.cpu().numpy(), fit.intercept.cpu().numpy()
        if self._has_free_level():
            labels, offsets = labels - offsets.mean(), offsets - offsets.mean()
        if self._coding.several:
            offsets = offsets - 0.5
        elif len(self.classes_) == 2:
            weights, offsets = weights[1:] - weights[:1], offsets[1:] - offsets[:1]
        dtype = self.base_features_.dtype
        self.labels_ = labels
        self.coef_, self.intercept_ = weights.astype(dtype), offsets.astype(dtype)

    def _has_free_level(self) -> bool:
        """Whether a number added to all labels changes nothing; intercepts then have mean zero."""
        unbounded = self.intercept == "free" and self._constraint().trivial
        return self._loss().cross_entropy and unbounded

    def _base_classes(self) -> tuple[tuple[str, ...], Tensor]:
        if self._coding.several:
            return super()._base_classes()
        return self._columns, torch.from_numpy(self._base_targets.copy())
