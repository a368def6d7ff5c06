r"""The label problem, what solves it, and what a solution says of itself. Read this page first.

`m` base examples have features `Zb`, the target has features `Zt` and coded labels `T`. A head
fitted to the base features and labels `Y` gives weights `W(Y)`. The label problem is

    min over Y in a convex set of   mean over extractors of
        (1/n) (loss(Zt W(Y), T) + lam |W(Y)|^2)   +   prior_weight |Y - prior|^2

where `lam` is the penalty of the *full-data head*, the same head fitted to the whole target. With a
head that is linear in the labels the problem is convex; with a squared loss and no constraint it is
linear least squares, and the full-data head bounds it from below.
"""

import dataclasses
import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.certificate import Certificate
from cvxdistill.checks import check_matrix, check_positive
from cvxdistill.errors import IncompatibleError, InputError, SolveError
from cvxdistill.heads import (
    Head,
    KernelMap,
    LabelLinearHead,
    LabelRoot,
    LabelTransfer,
    Target,
)
from cvxdistill.labels import LabelConstraint, LabelLoss
from cvxdistill.linalg import matrix_rank
from cvxdistill.statistics import TargetStatistics

__all__ = [
    "Certificate",
    "LabelProblem",
    "LabelSolution",
    "LabelSolver",
    "Status",
    "TargetKind",
]


class Status(enum.Enum):
    """How a solve ended; the value says what to do."""

    SOLVED = "the labels are optimal to the tolerance of the certificate"
    STOPPED_EARLY = "the step limit came first: raise it, or accept the certificate as it stands"
    FAILED = "the numbers cannot be trusted: raise `l2`, or rescale the features"


@dataclasses.dataclass(frozen=True)
class TargetKind:
    """What is known of the targets, for solvers to match.

    Attributes:
        examples: features and labels of every target are at hand, not moments alone.
    """

    examples: bool

    def __repr__(self) -> str:
        return "(features, labels)" if self.examples else "a set of moments (TargetStatistics)"


@dataclasses.dataclass(frozen=True, eq=False)
class LabelSolution:
    """What every solver returns.

    Attributes:
        labels: `(m, C)`, in the dtype and on the device of the base features.
        label_kind: `scores` or `distribution`.
        status: how the solve ended.
        objective: the label objective at the labels, the prior's term included.
        certificate: how good the labels are.
        stats: numbers about the solve, such as the condition number.
    """

    labels: Tensor
    label_kind: str
    status: Status
    objective: float
    certificate: Certificate
    stats: Mapping[str, float]

    def raise_if_failed(self) -> "LabelSolution":
        """Return the solution if its numbers can be trusted.

        Raises:
            SolveError: the status is `FAILED`.
        """
        if self.status is Status.FAILED:
            raise SolveError(f"{self.status.name.lower()}: {self.status.value}.")
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class LabelProblem:
    """One label problem: base features, target, and the terms of the formula.

    Attributes:
        base_features: one `(m, d_e)` an extractor.
        targets: one an extractor, moments or `(features (n, d_e), labels)`.
        head: fitted to base features and labels.
        loss: on the target.
        constraint: on the labels.
        target_l2: penalty in the label objective, in the head's own scale; `None` is the head's.
        prior: `(m, C)` labels to stay near, or `None`.
        prior_weight: strength of the pull towards `prior`, zero or more.
        classes: number of classes, where integer labels may lack the last ones; else read off.

    Raises:
        InputError: sizes that do not fit one another, or a prior without weight.
    """

    base_features: tuple[Tensor, ...]
    targets: tuple[Target, ...]
    head: Head
    loss: LabelLoss
    constraint: LabelConstraint
    target_l2: float | None = None
    prior: Tensor | None = None
    prior_weight: float = 0.0
    classes: int | None = None

    def __post_init__(self) -> None:
        if not self.base_features or len(self.base_features) != len(self.targets):
            raise InputError(
                "give one target for each extractor's base features; got "
                f"{len(self.base_features)} base feature matrices and {len(self.targets)} targets."
            )
        m = len(self.base_features[0])
        for base, target in zip(self.base_features, self.targets, strict=True):
            check_matrix("base_features", base, rows=m)
            width = (
                target.num_features
                if isinstance(target, TargetStatistics)
                else check_matrix("target features", target[0]).shape[1]
            )
            if base.ndim != 2 or base.shape[1] != width:
                raise InputError(
                    f"base and target features must agree; got {tuple(base.shape)} and {width} "
                    "target features. Embed both with the same extractor."
                )
        check_positive("prior_weight", self.prior_weight, zero=True)
        if self.target_l2 is not None:
            check_positive("target_l2", self.target_l2, zero=True)
        if (self.prior is None) != (self.prior_weight == 0):
            raise InputError(
                "`prior` and a positive `prior_weight` go together; got "
                f"{'no prior' if self.prior is None else 'a prior'} and weight {self.prior_weight}."
            )
        classes = self.num_classes
        if self.prior is not None:
            check_matrix("prior", self.prior, rows=m, columns=classes)

    @property
    def num_examples(self) -> int:
        """Number of base examples `m`."""
        return len(self.base_features[0])

    @cached_property
    def num_classes(self) -> int:
        """Number of label columns `C`."""
        seen, fixed = [], []
        for target in self.targets:
            if isinstance(target, TargetStatistics):
                fixed.append(target.num_classes)
            elif target[1].ndim == 2:
                fixed.append(target[1].shape[1])
            else:
                seen.append(int(target[1].max()) + 1)
        if len(set(fixed)) > 1:
            raise InputError(f"targets must agree in the number of classes; got {fixed}.")
        if fixed:
            return fixed[0]
        if self.classes is not None:
            return self.classes
        # A part of the data may lack the last classes, of which a prior knows.
        return max(seen) if self.prior is None else max(*seen, self.prior.shape[1])

    @property
    def target(self) -> TargetKind:
        """What is known of the targets."""
        return TargetKind(not any(isinstance(t, TargetStatistics) for t in self.targets))

    @cached_property
    def label_maps(self) -> tuple[LabelTransfer, ...]:
        """The linear maps from labels to predictions, one an extractor."""
        head = self._linear_head()
        return tuple(head.factor(base.detach().to(torch.float64)) for base in self.base_features)

    @cached_property
    def label_roots(self) -> tuple[LabelRoot, ...]:
        """The squared errors on the target as functions of the labels, one an extractor."""
        head = self._linear_head()
        return tuple(
            head.label_root(mapped, self._coded(target), target_l2=self.target_l2)
            for mapped, target in zip(self.label_maps, self.targets, strict=True)
        )

    def _linear_head(self) -> LabelLinearHead:
        assert isinstance(self.head, LabelLinearHead), "checked by LabelSolver.solve"
        return self.head

    def _coded(self, target: Target) -> Target:
        if isinstance(target, TargetStatistics):
            return self.loss.code_statistics(target)
        features, labels = target
        return features, self.loss.code(labels, num_classes=self.num_classes)

    @cached_property
    def base_rank(self) -> tuple[int, int | None]:
        """Rank of all extractors' base features side by side, and the rank that is enough.

        A kernel's features are counted by its Gram matrix; no finite rank is enough for them.
        """
        has_intercept = getattr(self.head, "intercept", "none") != "none"
        ones = self.base_features[0].new_ones(self.num_examples, 1, dtype=torch.float64)
        if not self.head.finite_weights:
            gram = sum(
                (mapped.gram for mapped in self.label_maps if isinstance(mapped, KernelMap)),
                start=ones @ ones.mT * float(has_intercept),
            )
            return matrix_rank(gram), None
        columns = [base.detach().to(torch.float64) for base in self.base_features]
        stacked = torch.cat([*columns, ones] if has_intercept else columns, dim=1)
        intercepts = len(self.base_features) if has_intercept else 0
        return matrix_rank(stacked), sum(column.shape[1] for column in columns) + intercepts


class LabelSolver(ABC):
    """Solves label problems. To add one: a subclass in its own file, one line in `SOLVERS`.

    The contract, checked for every registered solver: the objective is not above that of zero
    labels, the constraint holds, the certificate's `optimality` is below the solver's tolerance
    when the status is `SOLVED`, and equal inputs give equal bits on a CPU.

    Attributes:
        name: its name in `SOLVERS`.
        requires: for each part of the problem, the traits without which the solver cannot work.
        remedy: what to use where they are missing.
    """

    name: ClassVar[str]
    requires: ClassVar[Mapping[str, tuple[str, ...]]]
    remedy: ClassVar[str]

    def missing(self, problem: LabelProblem) -> list[str]:
        """Return one sentence for each trait that the problem's parts lack."""
        return [
            f"a {part} that is `{trait}`, which {getattr(problem, part)!r} is not"
            for part, traits in self.requires.items()
            for trait in traits
            if not getattr(getattr(problem, part), trait, False)
        ]

    def solve(self, problem: LabelProblem) -> LabelSolution:
        """Solve the problem.

        Raises:
            IncompatibleError: the problem lacks a trait that this solver requires.
        """
        missing = self.missing(problem)
        if missing:
            raise IncompatibleError(
                f"{type(self).__name__} needs {'; and '.join(missing)}. {self.remedy}"
            )
        return self._solve(problem)

    @abstractmethod
    def _solve(self, problem: LabelProblem) -> LabelSolution:
        """Solve a problem that has all required traits."""
