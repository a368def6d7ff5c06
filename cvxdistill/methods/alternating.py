r"""Labels for networks that do not exist yet: train, linearise, solve, repeat.

The package's own method. Networks that train from scratch learn their features, so the labels that
suit them are no convex problem. Between two small changes of the labels they are: to first order a
trained network's answers on the target move by `H (Y' - Y)`, where `H` is the ridge regression in
its tangent kernel (Jacot et al. 2018). So

1. teachers, stopped early, give their opinions of the base images, the mean of their centred
   logits; validation chooses when to ask (Qin, Deng and Alvarez-Melis 2024);
2. a few students are trained from scratch on the current labels, by a squared error;
3. their answers `f_e` on target examples and their transfers `H_e` make a convex problem,

       min over D of  mean_e mean_i CE(f_ei + h_ei D, t_i)  +  pull |D|^2 / |Y|^2,

   whose solution is added to the labels: a Gauss-Newton step with a cross-entropy outside;
4. again from 2 with fresh students, and the labels whose students did best on validation are kept.

No inner loop is unrolled: a round costs the training of its students and a solve of seconds. What
was tried and what each part is worth is in `docs/benchmarks/paper.md`.
"""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_positive
from cvxdistill.errors import InputError
from cvxdistill.methods.base import DistillTask, MethodResult
from cvxdistill.methods.choosing import accuracies, choose_labels, validation_draw
from cvxdistill.methods.iterative import IterativeMethod, Learner
from cvxdistill.methods.journal import State
from cvxdistill.methods.teachers import Teachers, geometric_steps
from cvxdistill.seeding import derive_seed, generator
from cvxdistill.solvers.displacement import solve_displacement
from cvxdistill.students import (
    AUGMENTATIONS,
    Recipe,
    Students,
    check_tangent,
    predict,
    tangent_transfers,
)

# Batches of the teachers between two chances to save a checkpoint.
BLOCK = 25
# Pulls that validation chooses among where none is given.
PULLS = (0.04, 0.4, 4.0)
PULL = 0.4


@dataclasses.dataclass(frozen=True)
class Alternating(IterativeMethod):
    """Labels by Gauss-Newton steps through the tangent kernels of trained students.

    Choose it where networks will be trained from scratch on the labels, and seconds to minutes may
    be spent on them. It begins with teachers' opinions and is never below them on validation.
    Labels are `scores`: students read them by a squared error.

    Args:
        teachers: networks in the ensemble that the first labels come from.
        teacher_steps: mini-batches of 256 that each of them trains for at most; validation chooses
            among six numbers of steps down to a sixteenth.
        scale: root mean square of the first labels. Students fit larger ones later.
        rounds: Gauss-Newton steps.
        students: networks trained in a round.
        student_steps: of each of them; half of it is tried on validation too.
        examples: target examples that each student is linearised on.
        l2: ridge of the tangent kernel, relative to the mean of its diagonal.
        pull: what a step as long as the labels themselves costs, in nats; `None` takes the best of
            three in each round, for three times the students, and 0.4 where there is no validation.
        combinations: of outputs that the tangent kernel is averaged over.
        augment: what students see of the base images, a name in `AUGMENTATIONS`; `flip-shift` for
            natural images, where it gains as much as learning the labels does.

    Raises:
        InputError: a number out of range, or an unknown augmentation.

    Example:
        >>> Alternating(rounds=3).pull
        0.4
    """

    teachers: int = 4
    teacher_steps: int = 1000
    scale: float = 2.0
    rounds: int = 6
    students: int = 4
    student_steps: int = 600
    examples: int = 2000
    l2: float = 0.1
    pull: float | None = PULL
    combinations: int = 1
    augment: str = "none"

    name: ClassVar[str] = "alternating"

    def __post_init__(self) -> None:
        sizes = (
            "teachers",
            "teacher_steps",
            "students",
            "student_steps",
            "examples",
            "combinations",
        )
        for key in sizes:
            if getattr(self, key) < 1:
                raise InputError(f"`{key}` must be 1 or more; got {getattr(self, key)}.")
        if self.rounds < 0:
            raise InputError(f"`rounds` must be 0 or more; got {self.rounds}.")
        check_positive("scale", self.scale)
        check_positive("l2", self.l2)
        if self.pull is not None:
            check_positive("pull", self.pull)
        check_choice("augment", self.augment, AUGMENTATIONS)

    def learner(self, task: DistillTask) -> "AlternatingLearner":
        """Return teachers before their first batch.

        Raises:
            InputError: a student with BatchNorm, which has no tangent kernel; examples that cannot
                be augmented.
        """
        return AlternatingLearner(self, task)


class AlternatingLearner(Learner):
    """First the teachers' blocks, then the choice of their labels, then the rounds."""

    def __init__(self, method: Alternating, task: DistillTask) -> None:
        self.method, self.task = method, task
        self.teachers = Teachers(task, method.teachers, augment=method.augment)
        if method.rounds:
            check_tangent(self.teachers.students)
        self.marks = geometric_steps(method.teacher_steps, 6)
        self.blocks = -(-method.teacher_steps // BLOCK)
        shape = (len(task.base), task.target.num_classes)
        empty = torch.zeros(0, *shape, dtype=torch.float64, device=task.device)
        # What the teachers thought at the marks passed; the labels to be tried in the next round;
        # the best labels so far, with their accuracy and their students' steps.
        self.opinions, self.candidates, self.best = empty, empty, empty[:0]
        self.score, self.steps, self.passes = -1.0, method.student_steps, 0.0

    @property
    def total(self) -> int:
        """Number of teachers' blocks, one choice, the rounds, and a last trial of their labels."""
        return self.blocks + 1 + self.method.rounds + 1

    def step(self, index: int) -> None:
        """Train teachers, choose among their opinions, or go one round."""
        if index < self.blocks:
            self._teach(range(index * BLOCK, min((index + 1) * BLOCK, self.method.teacher_steps)))
        elif index == self.blocks:
            self.candidates = self._first(self.opinions)[None]
        else:
            self._round(index - self.blocks - 1)

    def state(self) -> dict[str, Tensor]:
        """Return the teachers, labels and scores; of the teachers nothing is needed later."""
        numbers = torch.tensor([self.score, self.steps, self.passes], dtype=torch.float64)
        teaching = {} if len(self.candidates) else self.teachers.state()
        tensors = {"opinions": self.opinions, "candidates": self.candidates, "best": self.best}
        return {**teaching, **tensors, "numbers": numbers}

    def restore(self, state: State) -> None:
        """Go back to a state."""
        self.opinions, self.candidates = state["opinions"], state["candidates"]
        self.best = state["best"]
        self.score, steps, self.passes = state["numbers"].tolist()
        self.steps = int(steps)
        if not len(self.candidates):
            self.teachers.restore(state)

    def result(self) -> MethodResult:
        """Return the best labels so far, or the last where there is no validation."""
        found = self.best if len(self.best) else self.candidates
        labels = found[-1] if len(found) else self._first(self._asked())
        stats = {"validation_accuracy": self.score} if self.score >= 0 else {}
        return MethodResult(
            labels=labels.cpu(),
            label_kind="scores",
            target_passes=self.passes,
            stats=stats,
            recipe=self._recipe(self.steps),
        )

    def _recipe(self, *checkpoints: int) -> Recipe:
        return Recipe(checkpoints=checkpoints, augment=self.method.augment)

    def _teach(self, batches: range) -> None:
        for batch in batches:
            self.teachers.step()
            if batch + 1 in self.marks:
                self.opinions = torch.cat([self.opinions, self._scaled_opinion()[None]])
        self.passes = self.teachers.target_passes

    def _scaled_opinion(self) -> Tensor:
        """Return the teachers' centred logits of the base, at the scale of labels."""
        logits = self.teachers.logits(self.task.base.images)
        return self.method.scale * logits / logits.square().mean().sqrt().clamp_min(1e-12)

    def _asked(self) -> Tensor:
        """Return the opinions so far, that of now included, as if the teachers ended here."""
        if self.teachers.students.steps in self.marks:
            return self.opinions
        return torch.cat([self.opinions, self._scaled_opinion()[None]])

    def _first(self, opinions: Tensor) -> Tensor:
        """Return the teachers' opinion that students prefer; without validation the last."""
        if not self.task.has_validation or len(opinions) == 1:
            return opinions[-1]
        chosen = choose_labels(
            self.task,
            dict(enumerate(opinions)),
            "scores",
            recipe=self._recipe(-(-self.method.student_steps // 2)),
            students=2 if self.task.device.type == "cuda" else 1,
            stream="teachers' opinions",
        )
        return opinions[chosen.key]

    def _round(self, index: int) -> None:
        """Train students on the candidates; go on from the best of them by one solve."""
        seed = derive_seed(self.task.seed, "alternating", index)
        method, count = self.method, len(self.candidates)
        base = self.task.preprocessing(self.task.base.images.to(self.task.device))
        students = self._students(seed, count)
        half = -(-method.student_steps // 2)
        recipe = self._recipe(*sorted({half, method.student_steps}))
        wanted = self.candidates.repeat_interleave(method.students, dim=0)
        scores = torch.zeros(count, dtype=torch.float64)
        for steps in students.fit(base, wanted, "scores", recipe=recipe, seed=seed):
            if self.task.has_validation:
                query, truth = validation_draw(self.task)
                found = accuracies(students, query, truth, method.students)
                scores = torch.tensor(found, dtype=torch.float64)
                self._keep(scores, steps)
        chosen = int(scores.argmax())
        if not self.task.has_validation:
            self.best = self.candidates[chosen][None]
        if index < method.rounds:
            self.candidates = self._moved(self.candidates[chosen], students, chosen, base, seed)

    def _students(self, seed: int, count: int) -> Students:
        seeds = [derive_seed(seed, "student", i) for i in range(self.method.students)]
        return Students(
            self.task.network,
            self.task.base.shape,
            self.task.target.num_classes,
            seeds=seeds * count,
            device=self.task.device,
        )

    def _keep(self, scores: Tensor, steps: int) -> None:
        top = float(scores.max())
        if top > self.score:
            self.score, self.steps = top, steps
            self.best = self.candidates[int(scores.argmax())][None]

    def _moved(
        self, labels: Tensor, students: Students, chosen: int, base: Tensor, seed: int
    ) -> Tensor:
        """Return the labels after a Gauss-Newton step, one an allowed pull."""
        method, target = self.method, self.task.target
        mine = range(chosen * method.students, (chosen + 1) * method.students)
        stack = students.part(mine)
        count = min(method.examples, len(target))
        stream = generator(seed, "target examples")
        rows = torch.stack([torch.randperm(len(target), generator=stream)[:count] for _ in mine])
        images = target.images[rows.to(target.images.device).flatten()].to(self.task.device)
        queries = self.task.preprocessing(images).unflatten(0, rows.shape)
        classes = target.labels[rows.to(target.labels.device)].to(self.task.device)
        transfers = tangent_transfers(
            stack,
            base,
            queries,
            l2=method.l2,
            seed=seed,
            augment=method.augment,
            combinations=method.combinations,
        )
        answers = [predict(one, query) for one, query in zip(stack.modules(), queries, strict=True)]
        self.passes += rows.numel() / len(target)
        length = float(labels.square().sum())
        moves = [
            solve_displacement(answers, list(transfers), list(classes), weight=pull / length)
            for pull in self._pulls()
        ]
        return torch.stack([labels + move for move in moves])

    def _pulls(self) -> tuple[float, ...]:
        """Return the pulls that are tried in a round."""
        if self.method.pull is not None:
            return (self.method.pull,)
        return PULLS if self.task.has_validation else (PULL,)
