"""`LabelDistillerRegressor`: real targets, one or several."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import Tags

from cvxdistill.choose import Chooser
from cvxdistill.heads import LinearFit
from cvxdistill.sklearn.base import BaseLabelDistiller
from cvxdistill.sklearn.samples import Samples, read_weights


class LabelDistillerRegressor(RegressorMixin, BaseLabelDistiller):  # type: ignore[misc]
    r"""Ridge regression from a few samples with solved targets.

    A few rows of `X` get synthetic targets such that the ridge regression fitted to them alone is
    the best possible on all samples: with `n_features + 1` independent rows it *is* the ridge
    regression of all samples, `sklearn.linear_model.Ridge(alpha=l2)` for `l2_scale="absolute"`, and
    below that `certificate_` says what is missing.

    Args:
        n_examples: number of base rows; all samples where there are fewer. `None` is as many as
            lossless targets can need, `n_features + 1`, or `n_features` without intercept.
        choose: how base rows are chosen: a name in `cvxdistill.choose.CHOOSERS`, with options as in
            `name:option=value`, or a chooser. All samples count as one class.
        l2: strength of the ridge penalty.
        l2_scale: `trace` (relative to the mean squared norm of the centred rows) or `absolute`
            (scikit-learn's `alpha`).
        intercept: `free` (not penalised), `penalised` or `none`.
        n_candidates: how many samples of a stream `partial_fit` keeps to choose base rows from.
        random_state: seed of the choice; `None` draws one from NumPy's global generator, as
            everywhere in scikit-learn.
        device: where moments and solves are computed, such as `cuda`.

    Attributes:
        labels_: `(n_examples_,)` or `(n_examples_, n_outputs)` float64 targets of the base rows.
        base_indices_: `(n_examples_,)` their places among all samples.
        base_features_: `(n_examples_, n_features)` the rows themselves.
        n_examples_: how many there are.
        coef_: `(n_features,)` or `(n_outputs, n_features)`.
        intercept_: a number, or `(n_outputs,)`.
        certificate_: how far the fit is from the ridge regression of all samples.
        status_: how the solve ended, `solved` or `stopped_early`.
        statistics_: moments of all samples, a `TargetStatistics`.
        n_samples_seen_: number of samples.
        n_features_in_: number of features.
        feature_names_in_: their names, where `X` has strings for them.

    Raises:
        InputError: parameters or targets that do not fit.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> X = np.random.default_rng(0).normal(size=(200, 5))
        >>> y = X @ np.arange(5.0) + 1
        >>> model = LabelDistillerRegressor(6, l2=1.0, l2_scale="absolute", random_state=0)
        >>> bool(np.allclose(model.fit(X, y).coef_, Ridge(alpha=1.0).fit(X, y).coef_))
        True
    """

    def __init__(
        self,
        n_examples: int | None = 100,
        *,
        choose: str | Chooser = "random",
        l2: float = 1e-3,
        l2_scale: str = "trace",
        intercept: str = "free",
        n_candidates: int = 10_000,
        random_state: Any = None,
        device: str = "cpu",
    ) -> None:
        self.n_examples = n_examples
        self.choose = choose
        self.l2 = l2
        self.l2_scale = l2_scale
        self.intercept = intercept
        self.n_candidates = n_candidates
        self.random_state = random_state
        self.device = device

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Take in a chunk of samples, and solve for all that have come.

        Moments add up, so targets are solved against every sample seen. Base rows are chosen from
        `n_candidates` of them, drawn as they come. As long as no more have come, the result is that
        of `fit` on all chunks; later the base rows are others, and the objective is still exact.
        After `fit` the first candidates are its base rows.

        Args:
            X: `(n_samples, n_features)` features.
            y: `(n_samples,)` or `(n_samples, n_outputs)` targets.
            sample_weight: as in `fit`.

        Returns:
            The estimator, fitted to all chunks.

        Raises:
            InputError: samples that do not fit the earlier ones.
            SolveError: a singular problem, which only `l2=0` can give.
        """
        first = self._begins()
        return self._take_in(self._samples(X, y, sample_weight, first=first))

    def predict(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return predictions, of the shape that targets had.

        Args:
            X: `(n_samples, n_features)` features.
        """
        return self._scores(X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, first: bool
    ) -> Samples:
        features, values = self._arrays(X, y, first=first, y_numeric=True)
        targets = values.astype(np.float64)
        single = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        if first:
            self._one_output = single
            self._columns = tuple(f"y{column}" for column in range(targets.shape[1]))
        weights = read_weights(sample_weight, features)
        return Samples(features, targets, targets.shape[1], weights)

    def _publish(self, labels: NDArray[np.float64], fit: LinearFit) -> None:
        dtype = self.base_features_.dtype
        coefficients = fit.weights.mT.cpu().numpy().astype(dtype)
        offsets = fit.intercept.cpu().numpy().astype(dtype)
        single = self._one_output
        self.labels_ = labels[:, 0] if single else labels
        self.coef_ = coefficients[0] if single else coefficients
        self.intercept_ = offsets[0] if single else offsets
