"""Methods: published systems and baselines that turn base examples and a target into labels."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features import Extractor, Network, Preprocessing, StatisticsCache
from cvxdistill.heads import Head
from cvxdistill.methods.journal import Journal
from cvxdistill.problem import Certificate, Status
from cvxdistill.progress import Progress, silent
from cvxdistill.students import Recipe, default_student


@dataclasses.dataclass(frozen=True, eq=False)
class DistillTask:
    """Everything a method may look at. It holds no test data, so that none can leak.

    Attributes:
        base: the examples to be labelled.
        target: the training examples that labels are learned from.
        validation: what choices are made on; `None` where a method makes none.
        extractors: the pool that labels are solved for.
        preprocessing: of images, before extractors and students.
        head: fitted to base features and labels.
        target_l2: penalty of the full-data head in the label objective; `None` is the head's own.
        student: the network that methods train from scratch; `default_student` when not given.
        seed: of every draw the method makes.
        device: where networks run.
        progress: told how far the method is.
        cache: of moments of the target.
        journal: where methods that take steps leave their state, and how long they may work.
    """

    base: ImageSet
    target: ImageSet
    extractors: tuple[Extractor, ...]
    preprocessing: Preprocessing
    head: Head
    validation: ImageSet | None = None
    target_l2: float | None = None
    student: Network | None = None
    seed: int = 0
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = silent
    cache: StatisticsCache = dataclasses.field(default_factory=StatisticsCache)
    journal: Journal = dataclasses.field(default_factory=Journal)

    @property
    def has_validation(self) -> bool:
        """Whether there are examples that choices can be made on."""
        return self.validation is not None and len(self.validation) > 0

    @property
    def network(self) -> Network:
        """The network that methods train from scratch."""
        return default_student(self.target.shape) if self.student is None else self.student

    def true_classes(self) -> Tensor:
        """Return the base examples' classes `(m,)` as classes of the target.

        Raises:
            InputError: base and target have different classes.
        """
        if self.base.class_names != self.target.class_names:
            raise InputError(
                f"true labels do not exist across data sets: `{self.base.name}` and "
                f"`{self.target.name}` have different classes. Use a method that learns labels."
            )
        return self.base.labels


@dataclasses.dataclass(frozen=True, eq=False)
class MethodResult:
    """What a method gives back.

    Attributes:
        labels: `(m, C)` float64.
        label_kind: `distribution` or `scores`.
        status: how it ended.
        certificate: of the solve, where there was one.
        target_passes: how often each target example went through a network, summed over networks.
        stats: further numbers.
        recipe: how students are to be trained on the labels, where the method chose it.
        examples: learned base images, float32 in [0, 1] or beyond, before preprocessing; `None`
            where the base stays as it is.
        head: that the labels are for, where it is not the task's.
    """

    labels: Tensor
    label_kind: str
    status: Status = Status.SOLVED
    certificate: Certificate | None = None
    target_passes: float = 0.0
    stats: Mapping[str, float] = dataclasses.field(default_factory=dict)
    recipe: Recipe | None = None
    examples: Tensor | None = None
    head: Head | None = None


@dataclasses.dataclass(frozen=True)
class Method(ABC):
    """One system. To add one: a subclass in its own file, one line in `METHODS`.

    Published systems carry their paper in the file name, and say at the top what the paper does
    and where this differs. The contract, checked for every registered method: labels are finite
    and of the kind they claim, the inputs are not changed, equal seeds give equal bits on a CPU.

    Attributes:
        name: its name in `METHODS` and for `--method`.
    """

    name: ClassVar[str]

    @abstractmethod
    def run(self, task: DistillTask) -> MethodResult:
        """Return labels for the task's base examples.

        Raises:
            InputError: the task lacks something that this method needs.
        """
