"""Choosing a temperature or a prior's weight on validation data and held-out extractors."""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cvxdistill.checks import check_class_labels, check_matrix, check_positive
from cvxdistill.errors import InputError
from cvxdistill.heads import Head, Target
from cvxdistill.labels import CrossEntropyLoss, LabelConstraint, LabelLoss
from cvxdistill.problem import LabelProblem, LabelSolution, LabelSolver
from cvxdistill.solvers.build import build_problem, first_fitting
from cvxdistill.solvers.cross_entropy import CrossEntropySolver
from cvxdistill.solvers.exact import ExactSolver, stacked_system
from cvxdistill.solvers.gradient import GradientSolver
from cvxdistill.solvers.projected import ProjectedSolver

LOG = logging.getLogger(__name__)
TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
WEIGHTS = tuple(10.0**power for power in range(-6, 3))


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Data on which labels are scored: base and validation features of one extractor.

    Attributes:
        base_features: `(m, d)`, of the same base examples in the same order.
        features: validation features `(n, d)`; never those of a test set.
        classes: their true classes `(n,)`.

    Raises:
        InputError: sizes that do not fit one another.
    """

    base_features: Tensor
    features: Tensor
    classes: Tensor

    def __post_init__(self) -> None:
        check_matrix("held-out base features", self.base_features)
        check_matrix("validation features", self.features, columns=self.base_features.shape[1])
        if len(self.classes) != len(self.features) or self.classes.ndim != 1:
            raise InputError(
                f"validation `classes` must be ({len(self.features)},), one an example; got shape "
                f"{tuple(self.classes.shape)}."
            )

    def accuracy(self, head: Head, labels: Tensor) -> float:
        """Return the validation accuracy of `head` fitted to `labels (m, C)`."""
        classes = check_class_labels("classes", self.classes, num_classes=labels.shape[1])
        with torch.no_grad():
            fit = head.fit(self.base_features.to(torch.float64), labels.to(torch.float64))
            blocks = self.features.split(4096)
            guesses = torch.cat([fit(rows.to(torch.float64)).argmax(1) for rows in blocks])
        return float((guesses == classes.to(guesses.device)).double().mean())


@dataclasses.dataclass(frozen=True)
class Choice:
    """A value that was chosen, and what it was chosen by.

    Attributes:
        value: the best of `values`; of equals, the first.
        values: what was tried.
        accuracies: mean validation accuracy for each value, over the held-out data.
    """

    value: float
    values: tuple[float, ...]
    accuracies: tuple[float, ...]


def choose_temperature(
    base_features: Tensor | Sequence[Tensor],
    target: Target | Sequence[Target],
    *,
    held_out: Sequence[HeldOut],
    temperatures: Sequence[float] = TEMPERATURES,
    head: Head | None = None,
    constraint: str | LabelConstraint = "free",
    target_l2: float | None = None,
    prior: Tensor | None = None,
    prior_weight: float = 0.0,
    solver: LabelSolver | None = None,
) -> Choice:
    """Choose the temperature of the cross-entropy by validation accuracy.

    Labels are solved once a temperature, and scored by the same head fitted to them.

    Args:
        base_features: of the pool, as in [solve_labels][cvxdistill.solvers.solve_labels].
        target: of the pool, as there.
        held_out: what labels are scored on; extractors of the pool with validation data, or, where
            labels are to serve unseen extractors, extractors outside of it.
        temperatures: what to try.
        head: as in `solve_labels`.
        constraint: as in `solve_labels`.
        target_l2: as in `solve_labels`.
        prior: as in `solve_labels`.
        prior_weight: as in `solve_labels`.
        solver: `CrossEntropySolver()` when not given.

    Raises:
        InputError: nothing to try or to score on, or what the solver refuses.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> features = torch.randn(60, 3, generator=g, dtype=torch.float64)
        >>> classes = (features[:, 0] > 0).long()
        >>> held_out = [HeldOut(features[:4], features[40:], classes[40:])]
        >>> target = features[4:40], classes[4:40]
        >>> choice = choose_temperature(
        ...     features[:4], target, held_out=held_out, temperatures=(0.1, 1.0)
        ... )
        >>> choice.value in choice.values
        True
    """
    for temperature in temperatures:
        check_positive("temperature", temperature)
    problem = build_problem(
        base_features,
        target,
        head=head,
        loss="cross_entropy",
        constraint=constraint,
        target_l2=target_l2,
        prior=prior,
        prior_weight=prior_weight,
    )
    chosen = CrossEntropySolver() if solver is None else solver

    def labels(temperature: float) -> Tensor:
        at = dataclasses.replace(problem, loss=CrossEntropyLoss(temperature))
        return _labels(chosen.solve(at), "temperature", temperature)

    return _best("temperatures", temperatures, labels, problem, held_out)


def choose_prior_weight(
    base_features: Tensor | Sequence[Tensor],
    target: Target | Sequence[Target],
    *,
    prior: Tensor,
    held_out: Sequence[HeldOut],
    weights: Sequence[float] = WEIGHTS,
    head: Head | None = None,
    loss: str | LabelLoss = "squared",
    constraint: str | LabelConstraint = "free",
    target_l2: float | None = None,
    solver: LabelSolver | None = None,
) -> Choice:
    """Choose the weight of a prior on extractors held out of the pool.

    On the pool itself no prior is ever needed: it is there for the extractors that the solve does
    not see, so the choice is made on such. With a squared loss and free labels one decomposition
    serves all weights.

    Args:
        base_features: of the pool, as in [solve_labels][cvxdistill.solvers.solve_labels].
        target: of the pool, as there.
        prior: `(m, C)` labels to stay near.
        held_out: extractors outside of the pool, with validation data.
        weights: what to try, each zero or more; zero is no prior.
        head: as in `solve_labels`.
        loss: as in `solve_labels`.
        constraint: as in `solve_labels`.
        target_l2: as in `solve_labels`.
        solver: the first that fits when not given.

    Raises:
        InputError: nothing to try or to score on, or sizes that do not fit.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> features = torch.randn(60, 3, generator=g, dtype=torch.float64)
        >>> classes = (features[:, 0] > 0).long()
        >>> held_out = [HeldOut(features[:4, :2], features[40:, :2], classes[40:])]
        >>> choice = choose_prior_weight(
        ...     features[:4],
        ...     (features[4:40], classes[4:40]),
        ...     prior=torch.eye(2)[classes[:4]],
        ...     held_out=held_out,
        ...     weights=(0.0, 1.0),
        ... )
        >>> len(choice.accuracies)
        2
    """
    for weight in weights:
        check_positive("prior weight", weight, zero=True)
    problem = build_problem(
        base_features,
        target,
        head=head,
        loss=loss,
        constraint=constraint,
        target_l2=target_l2,
        # Any weight: the problem is only a form for those that are tried.
        prior=prior,
        prior_weight=1.0,
    )
    kinds = (ExactSolver, ProjectedSolver, CrossEntropySolver, GradientSolver)
    chosen = first_fitting(problem, kinds) if solver is None else solver
    if isinstance(chosen, ExactSolver) and not chosen.missing(problem):
        return _best("weights", weights, _path(problem, prior), problem, held_out)

    def labels(weight: float) -> Tensor:
        kept = {"prior": prior, "prior_weight": weight}
        terms = kept if weight > 0 else {"prior": None, "prior_weight": 0.0}
        solution = chosen.solve(dataclasses.replace(problem, **terms))
        return _labels(solution, "prior_weight", weight)

    return _best("weights", weights, labels, problem, held_out)


def _path(problem: LabelProblem, prior: Tensor) -> Callable[[float], Tensor]:
    """Return free labels of the squared loss as a function of the prior's weight."""
    matrix, rhs = stacked_system(problem)
    start = prior.to(matrix)
    triangle = torch.linalg.qr(torch.cat([matrix, rhs], dim=1), mode="r").R
    m = matrix.shape[1]
    factor, right = triangle[:m, :m], triangle[:m, m:]
    left, values, basis = torch.linalg.svd(factor, full_matrices=False)
    kept = values > values[0] * max(matrix.shape) * torch.finfo(values.dtype).eps
    left, values, basis = left[:, kept], values[kept], basis[kept]
    along = left.mT @ (right - factor @ start)

    def labels(weight: float) -> Tensor:
        origin = start if weight > 0 else torch.zeros_like(start)
        gain = along if weight > 0 else left.mT @ right
        moved: Tensor = basis.mT @ ((values / (values.square() + weight))[:, None] * gain)
        return origin + moved

    return labels


def _labels(solution: LabelSolution, name: str, value: float) -> Tensor:
    solution.raise_if_failed()
    if solution.status.name != "SOLVED":
        LOG.warning("%s=%g: %s (%s)", name, value, solution.status.value, solution.certificate)
    return solution.labels


def _best(
    name: str,
    values: Sequence[float],
    labels: Callable[[float], Tensor],
    problem: LabelProblem,
    held_out: Sequence[HeldOut],
) -> Choice:
    if not values or not held_out:
        raise InputError(
            f"`{name}` and `held_out` must have one entry or more; got {len(values)} and "
            f"{len(held_out)}."
        )
    for one in held_out:
        check_matrix("held-out base features", one.base_features, rows=problem.num_examples)
    accuracies = []
    for value in values:
        solved = labels(value)
        scores = [one.accuracy(problem.head, solved) for one in held_out]
        accuracies.append(sum(scores) / len(scores))
    best = max(range(len(values)), key=lambda index: accuracies[index])
    return Choice(float(values[best]), tuple(map(float, values)), tuple(accuracies))
