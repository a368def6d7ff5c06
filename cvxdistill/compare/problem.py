"""What every method of a comparison gets, and what its labels are measured with."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet
from cvxdistill.distill import EXTRACTOR, POOL, distill
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow, evaluate, evaluate_students
from cvxdistill.features import (
    Extractor,
    Network,
    Preprocessing,
    StatisticsCache,
    draw_pool,
    parse_network,
)
from cvxdistill.heads import Head, RidgeHead
from cvxdistill.methods import Journal, Method
from cvxdistill.progress import Progress, silent
from cvxdistill.students import Recipe, default_student


@dataclasses.dataclass(frozen=True, eq=False)
class SharedProblem:
    """The problem that all methods of a comparison are given: the arguments of `distill`.

    Attributes:
        base: the examples to be labelled.
        target: training examples with their classes.
        validation: what methods make choices on, and what curves are read on; no curves without.
        extractors: a network to draw a pool of, or extractors.
        pool: number of extractors drawn.
        head: the head that labels are solved for.
        target_l2: penalty of the full-data head inside the label objective; `None` is its own.
        preprocessing: of images; fitted to the target when not given.
        student: the network that methods train from scratch; `default_student` when not given.
        seed: of extractors and of every other draw.
        device: where networks run.
        provenance: what else each artefact is to record, such as the splits.
    """

    base: ImageSet
    target: ImageSet
    validation: ImageSet | None = None
    extractors: str | Network | Sequence[Extractor] = EXTRACTOR
    pool: int = POOL
    head: Head = dataclasses.field(default_factory=RidgeHead)
    target_l2: float | None = None
    preprocessing: Preprocessing | None = None
    student: str | Network | None = None
    seed: int = 0
    device: torch.device | str = "cpu"
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def network(self) -> Network:
        """The network that methods train from scratch."""
        if isinstance(self.student, str):
            return parse_network(self.student)
        return default_student(self.target.shape) if self.student is None else self.student

    def check(self) -> None:
        """Find out before the work what no method could do anything with.

        Raises:
            InputError: base and target of different shapes, or extractors that cannot take them.
        """
        if self.base.shape != self.target.shape:
            raise InputError(
                f"base and target examples must have one shape; got {self.base.shape} "
                f"(`{self.base.name}`) and {self.target.shape} (`{self.target.name}`). Make the "
                "base fit by fit_images (--base-fit resize)."
            )
        network = self.extractors
        if isinstance(network, str | Network) and len(self.target.shape) > 1:
            chosen = parse_network(network) if isinstance(network, str) else network
            draw_pool(chosen, self.target.shape, size=min(self.pool, 1), seed=self.seed)

    def ready(self) -> "SharedProblem":
        """Return the same problem with its preprocessing fitted, so that no method spends on it."""
        if self.preprocessing is not None:
            return self
        return dataclasses.replace(self, preprocessing=Preprocessing.fit(self.target))

    def distill(self, method: Method, journal: Journal, progress: Progress = silent) -> Distilled:
        """Run one method.

        Raises:
            CvxDistillError: whatever the method has to say.
        """
        names = [field.name for field in dataclasses.fields(self)]
        options = {name: getattr(self, name) for name in names if name not in ("base", "target")}
        return distill(
            self.base, self.target, method=method, journal=journal, progress=progress, **options
        )

    def record(self) -> dict[str, Any]:
        """Return the problem as JSON-able values."""
        return {
            "target": self.target.name,
            "target_examples": len(self.target),
            "validation_examples": 0 if self.validation is None else len(self.validation),
            "base": self.base.name,
            "examples": len(self.base),
            "shape": list(self.base.shape),
            "classes": self.target.num_classes,
            "extractors": _described(self.extractors, self.pool),
            "head": repr(self.head),
            "target_l2": self.target_l2,
            "student": str(self.network),
            "seed": self.seed,
            "device": str(self.device),
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """SHA-256 over all that the labels of a method depend on, besides the method."""
        preprocessing = self.ready().preprocessing
        assert preprocessing is not None
        return hash_of(
            self.base.fingerprint(),
            self.target.fingerprint(),
            "" if self.validation is None else self.validation.fingerprint(),
            preprocessing.fingerprint(),
            _described(self.extractors, self.pool),
            repr((self.head, self.target_l2, str(self.network), self.seed, str(self.device))),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Yardstick:
    """How the labels of every method are measured: the arguments of `evaluate`.

    Attributes:
        test: the test examples.
        students: networks to train from scratch; the problem's own when not given.
        seeds: repetitions: unseen extractors drawn and students trained.
        unseen: network of the unseen extractors; that of the problem's own when not given.
        recipe: how students are trained.
        curve_seeds: students trained on each label set that was kept along the way.
        full: whether to measure the full data too, once.
        seed: of every draw.

    Raises:
        InputError: fewer than one seed.
    """

    test: ImageSet
    students: tuple[str | Network, ...] | None = None
    seeds: int = 5
    unseen: str | Network | None = None
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    curve_seeds: int = 5
    full: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seeds", "curve_seeds"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be 1 or more; got {getattr(self, name)}.")

    def ready(self, problem: SharedProblem) -> "Yardstick":
        """Return the same yardstick with its students named."""
        if self.students is not None:
            return self
        return dataclasses.replace(self, students=(problem.network,))

    def check(self, problem: SharedProblem) -> None:
        """Find out before the work whether it can be measured.

        Raises:
            InputError: test examples of another shape or with other classes than the target's.
        """
        test, target = self.test, problem.target
        if test.shape != target.shape or test.class_names != target.class_names:
            raise InputError(
                f"the test part must be like the target `{target.name}`: {target.shape} and "
                f"{target.num_classes} classes; got {test.shape} and {test.num_classes}."
            )

    def measure(
        self,
        distilled: Distilled,
        problem: SharedProblem,
        *,
        label_sets: tuple[str, ...] = ("distilled",),
        progress: Progress = silent,
        cache: StatisticsCache | None = None,
    ) -> list[EvalRow]:
        """Return what `evaluate` says of label sets of one artefact, on the test part."""
        return evaluate(
            distilled,
            self.test,
            train=problem.target,
            validation=problem.validation,
            label_sets=label_sets,
            seeds=self.seeds,
            unseen=self.unseen,
            progress=progress,
            cache=cache,
            **self._students(problem),
        )

    def measure_validation(
        self, distilled: Distilled, problem: SharedProblem, *, progress: Progress = silent
    ) -> list[EvalRow]:
        """Return validation accuracies of the distilled labels: of students, or else of heads.

        Students choose their steps on the same examples, which flatters all methods alike.
        """
        assert problem.validation is not None
        part, students = problem.validation, self._students(problem)
        few: dict[str, Any] = {
            "label_sets": ("distilled",),
            "seeds": self.curve_seeds,
            "progress": progress,
        }
        if self.students:
            return evaluate_students(distilled, part, validation=part, **few, **students)
        rows = evaluate(distilled, part, unseen=self.unseen, **few, **students)
        return [row for row in rows if row.setting == "unseen_extractor"]

    def _students(self, problem: SharedProblem) -> dict[str, Any]:
        return {
            "students": self.students,
            "recipe": self.recipe,
            "seed": self.seed,
            "device": problem.device,
        }

    def record(self) -> dict[str, Any]:
        """Return the yardstick as JSON-able values."""
        return {
            "test_examples": len(self.test),
            "students": [str(student) for student in self.students or ()],
            "seeds": self.seeds,
            "curve_seeds": self.curve_seeds,
            "unseen": None if self.unseen is None else str(self.unseen),
            "recipe": _lists(dataclasses.asdict(self.recipe)),
            "full": self.full,
            "seed": self.seed,
            "fingerprint": self.test.fingerprint(),
        }


def _lists(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with lists in the place of tuples, as it comes back from JSON."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in record.items()}


def hash_of(*parts: str) -> str:
    """SHA-256 over some texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _described(extractors: str | Network | Sequence[Extractor], pool: int) -> str:
    if isinstance(extractors, str | Network):
        return f"{pool} x {extractors}"
    given: Iterable[Extractor] = extractors
    return "; ".join(f"{one.network} {one.fingerprint()[:16]}" for one in given)
