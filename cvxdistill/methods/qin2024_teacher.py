"""Labels from teachers that stopped early: Qin, Deng and Alvarez-Melis (2024).

"A Label is Worth a Thousand Images in Dataset Distillation", <https://arxiv.org/abs/2406.10485>.
The paper takes real images at random and gives them the softmax of a network that was trained on
the whole target. What makes this strong is *when* that network is asked: the fewer the images, the
earlier, since early opinions are softer and say more about which classes are alike. The epoch is
chosen by how well students do that are trained on the labels; the teacher's own accuracy is no
guide. A grid over epoch and temperature and the mean logits of an ensemble are among its
ablations.

Where this differs: an ensemble and a choice of the temperature are the default; teachers train by
Adam, not by SGD with momentum, weight decay and augmentation; the opinions are kept at steps in
geometric progression rather than at each epoch; the choice is made on validation examples, and on a
CPU it looks at a few promising places of the grid instead of all; base images may come from another
data set; and labels can be handed out as scores. `teacher:teachers=1,temperature=1` is the nearest
to the paper's main tables.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_positive
from cvxdistill.errors import InputError
from cvxdistill.methods.base import DistillTask, MethodResult
from cvxdistill.methods.choosing import Chosen, choose_labels, tempered
from cvxdistill.methods.iterative import IterativeMethod, Learner
from cvxdistill.methods.journal import State
from cvxdistill.methods.teachers import Teachers, geometric_steps
from cvxdistill.students import AUGMENTATIONS, Recipe

TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
# Where nothing can be chosen. On MNIST with 100 base examples it serves ensembles of LeNets well.
DEFAULT_TEMPERATURE = 4.0
SEARCHES = ("auto", "grid", "halving")
READINGS = ("distribution", "scores")
# Places of the grid that `halving` looks at closely.
FINALISTS = 2
# Batches between two chances to save a checkpoint.
BLOCK = 25

# A number of teacher's batches, and a temperature.
Place = tuple[int, float]


@dataclasses.dataclass(frozen=True)
class Teacher(IterativeMethod):
    """Train networks on the target, stop early, and ask them about the base images.

    Choose it as the cheap and strong rival of every other way to learn labels for students that
    are trained from scratch, and where base and target have different classes. With validation
    examples the number of batches, the temperature and the students' steps are chosen on them;
    without, the labels are those after the last batch at temperature 4, or the one given.

    Labels are `softmax(z / temperature)`, `z (m, C)` the mean of the teachers' logits, each
    centred over the classes. Cost: `teachers * steps` training steps on the target, then students.

    Args:
        teachers: networks in the ensemble.
        steps: mini-batches that each of them trains for.
        batch_size: target examples a mini-batch.
        checkpoints: how often they are asked, from `steps / 16` to `steps`.
        temperature: of the labels; `None` is chosen.
        reading: `distribution` is the paper's softmax, which students read by a cross-entropy;
            `scores` hands out the logits over the temperature, which they read by a squared error.
        choose: ask validation, where there is any.
        search: `grid` trains students at every checkpoint and temperature. `halving` judges by
            one student at half of the steps: temperatures at the last checkpoint, checkpoints at
            the best temperature, the temperatures beside it at the best checkpoint; only the two
            best of all these by all students and steps. `auto` is `grid` on a GPU, where all of
            it trains side by side, and `halving` on a CPU.
        students: trained on each of the last candidates.
        student_steps: that students train for at most; a quarter and a half of it are tried too.
        augment: what students see of the base images, a name in `AUGMENTATIONS`; the opinions are
            means over it.

    Raises:
        InputError: a number or a name out of range.

    Example:
        >>> Teacher(teachers=1, temperature=1.0).temperature
        1.0

    References:
        https://arxiv.org/abs/2406.10485
    """

    teachers: int = 3
    steps: int = 600
    batch_size: int = 256
    checkpoints: int = 6
    temperature: float | None = None
    choose: bool = True
    search: str = "auto"
    reading: str = "distribution"
    students: int = 3
    student_steps: int = 600
    augment: str = "none"

    name: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        sizes = ("teachers", "steps", "batch_size", "checkpoints", "students", "student_steps")
        for key in sizes:
            if getattr(self, key) < 1:
                raise InputError(f"`{key}` must be 1 or more; got {getattr(self, key)}.")
        check_choice("search", self.search, SEARCHES)
        check_choice("reading", self.reading, READINGS)
        check_choice("augment", self.augment, AUGMENTATIONS)
        if self.temperature is not None:
            check_positive("temperature", self.temperature)

    def labels(self, logits: Tensor, temperature: float) -> Tensor:
        """Return labels `(m, C)` of an ensemble's logits, as students are to read them."""
        if self.reading == "scores":
            return logits / temperature
        return tempered(logits, temperature)

    def learner(self, task: DistillTask) -> "TeacherLearner":
        """Return teachers before their first batch."""
        return TeacherLearner(self, task)


class TeacherLearner(Learner):
    """Teachers, and what they thought of the base images at the checkpoints passed."""

    def __init__(self, method: Teacher, task: DistillTask) -> None:
        self.method, self.task = method, task
        self.teachers = Teachers(
            task, method.teachers, batch_size=method.batch_size, augment=method.augment
        )
        self.marks = geometric_steps(method.steps, method.checkpoints)
        self.kept: list[Tensor] = []

    @property
    def total(self) -> int:
        """Number of blocks of `BLOCK` batches."""
        return -(-self.method.steps // BLOCK)

    def step(self, index: int) -> None:
        """Train on the next block of batches; keep the opinions at its checkpoints."""
        for batch in range(index * BLOCK, min((index + 1) * BLOCK, self.method.steps)):
            self.teachers.step()
            if batch + 1 in self.marks:
                self.kept.append(self._opinion())

    def state(self) -> dict[str, Tensor]:
        """Return the teachers and the opinions kept."""
        none = torch.zeros(0, len(self.task.base), self.task.target.num_classes)
        kept = torch.stack(self.kept) if self.kept else none.double()
        return {**self.teachers.state(), "kept": kept}

    def restore(self, state: State) -> None:
        """Go back to a state."""
        self.teachers.restore(state)
        self.kept = list(state["kept"])

    def result(self) -> MethodResult:
        """Return the labels at the checkpoint and temperature that students prefer."""
        opinions = dict(zip(self.marks, self.kept, strict=False))
        asked = self.teachers.students.steps
        if asked not in opinions:
            # Stopped between two checkpoints: the last word counts too.
            opinions[asked] = self._opinion()
        if not (self.method.choose and self.task.has_validation):
            # How long students train is then open, but not what they see.
            augment = self.method.augment
            recipe = None if augment == "none" else Recipe(augment=augment)
            place = (asked, self.method.temperature or DEFAULT_TEMPERATURE)
            return self._result(opinions, place, recipe=recipe)
        chosen = choose_reading(self.task, opinions, self.method)
        stats = {"validation_accuracy": chosen.accuracy, "student_steps": float(chosen.steps)}
        return self._result(opinions, chosen.key, stats, chosen.recipe)

    def _opinion(self) -> Tensor:
        return self.teachers.logits(self.task.base.images)

    def _result(
        self,
        opinions: Mapping[int, Tensor],
        place: Place,
        stats: Mapping[str, float] | None = None,
        recipe: Recipe | None = None,
    ) -> MethodResult:
        steps, temperature = place
        size, count = self.teachers.batch_size, len(self.task.target)
        return MethodResult(
            labels=self.method.labels(opinions[steps], temperature).cpu(),
            label_kind=self.method.reading,
            target_passes=self.teachers.target_passes,
            stats={
                "teacher_steps": float(steps),
                "teacher_epochs": steps * size / count,
                "temperature": temperature,
                **(stats or {}),
            },
            recipe=recipe,
        )


def choose_reading(
    task: DistillTask, opinions: Mapping[int, Tensor], method: Teacher
) -> Chosen[Place]:
    """Choose checkpoint, temperature and students' steps on validation.

    Args:
        task: gives validation, base and network.
        opinions: logits `(m, C)` by the number of teachers' steps, in rising order.
        method: says how widely to search.

    Raises:
        InputError: the task has no validation examples.
    """
    temperatures = TEMPERATURES if method.temperature is None else (method.temperature,)

    def judge(places: Iterable[Place], students: int, steps: int) -> Chosen[Place]:
        return choose_labels(
            task,
            {place: method.labels(opinions[place[0]], place[1]) for place in places},
            method.reading,
            recipe=Recipe(
                checkpoints=tuple(sorted({-(-steps // 4), -(-steps // 2), steps})),
                augment=method.augment,
            ),
            students=students,
        )

    grid = [(mark, temperature) for mark in opinions for temperature in temperatures]
    search = method.search
    if search == "auto":
        search = "grid" if task.device.type == "cuda" else "halving"
    if search == "grid" or len(grid) <= FINALISTS:
        return judge(grid, method.students, method.student_steps)
    # All heats are run by the same student for as long, so that their accuracies compare.
    scores: dict[Place, float] = {}

    def heat(places: Iterable[Place]) -> Place:
        new = [place for place in places if place not in scores]
        if new:
            table = judge(new, 1, -(-method.student_steps // 2)).table
            scores.update({place: max(table[place].values()) for place in new})
        return max(scores, key=lambda place: scores[place])

    last = max(opinions)
    warm = heat((last, temperature) for temperature in temperatures)[1]
    early = heat((mark, warm) for mark in opinions)[0]
    place = temperatures.index(warm)
    heat((early, temperature) for temperature in temperatures[max(0, place - 1) : place + 2])
    finalists = sorted(scores, key=lambda place: -scores[place])[:FINALISTS]
    return judge(finalists, method.students, method.student_steps)
