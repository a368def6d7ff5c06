"""Choices on validation: which labels students learn from best, and for how many steps.

Published systems choose an epoch, a temperature or a scale by how well *students* do that are
trained on the labels. All of them ask here: candidates and students train side by side, from the
same initial weights and on the same mini-batches, so that candidates differ in their labels alone.
"""

import dataclasses
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError
from cvxdistill.methods.base import DistillTask
from cvxdistill.seeding import derive_seed, generator
from cvxdistill.students import Recipe, Students, students_at_once

Key = TypeVar("Key")

# Examples that choices are made on; 2,000 tell accuracies apart to about 1 point.
CHOICE_EXAMPLES = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen(Generic[Key]):
    """What validation prefers, and all that it was shown.

    Attributes:
        key: of the best candidate.
        recipe: the recipe that was tried, its checkpoints the best number of steps alone.
        accuracy: mean validation accuracy of the students there.
        table: mean validation accuracy by candidate and number of steps.
    """

    key: Key
    recipe: Recipe
    accuracy: float
    table: Mapping[Key, Mapping[int, float]]

    @property
    def steps(self) -> int:
        """The best number of steps."""
        return self.recipe.checkpoints[-1]


def choose_labels(
    task: DistillTask,
    candidates: Mapping[Key, Tensor],
    label_kind: str,
    *,
    recipe: Recipe,
    students: int = 3,
    stream: str = "choice",
    max_validation: int = CHOICE_EXAMPLES,
    examples: Tensor | None = None,
) -> Chosen[Key]:
    """Train students on each candidate's labels and take what does best on validation.

    Of equals the first candidate and the fewest steps win. Everything follows from the task's
    seed and `stream`; nothing is changed.

    Args:
        task: gives network, base examples, validation, preprocessing and seed.
        candidates: labels `(m, C)` by whatever names them.
        label_kind: `distribution` or `scores`, of all of them.
        recipe: how students are trained; validation is asked at its checkpoints.
        students: trained on each candidate.
        stream: name of the draws of initial weights.
        max_validation: validation examples used at most, a draw.
        examples: base examples before preprocessing, in the place of the task's own.

    Raises:
        InputError: no validation examples, no candidates, or no students.
    """
    if not candidates or students < 1 or max_validation < 1:
        raise InputError(
            f"a choice needs candidates, students and validation examples; got {len(candidates)}, "
            f"{students} and {max_validation}."
        )
    base = task.base.images if examples is None else examples
    base = task.preprocessing(base.to(task.device))
    query, truth = validation_draw(task, max_validation)
    seeds = [derive_seed(task.seed, stream, index) for index in range(students)]
    fit = students_at_once(task.network, task.base.shape, recipe.batch_size, task.device)
    group = max(1, fit // students)
    keys = list(candidates)
    table: dict[Key, dict[int, float]] = {key: {} for key in keys}
    total = recipe.checkpoints[-1]
    for first in range(0, len(keys), group):
        part = keys[first : first + group]
        stack = Students(
            task.network,
            task.base.shape,
            task.target.num_classes,
            seeds=seeds * len(part),
            device=task.device,
        )
        wanted = torch.stack([candidates[key].to(base) for key in part])
        for steps in stack.fit(
            base,
            wanted.repeat_interleave(students, dim=0),
            label_kind,
            recipe=recipe,
            seed=derive_seed(task.seed, stream),
        ):
            done = first * total + len(part) * steps
            task.progress("choice", done, len(keys) * total)
            for key, value in zip(part, accuracies(stack, query, truth, students), strict=True):
                table[key][steps] = value
    best = max(
        ((key, steps) for key in keys for steps in table[key]), key=lambda at: _at(table, at)
    )
    return Chosen(
        key=best[0],
        recipe=dataclasses.replace(recipe, checkpoints=(best[1],)),
        accuracy=_at(table, best),
        table=table,
    )


def _at(table: Mapping[Key, Mapping[int, float]], place: tuple[Key, int]) -> float:
    return table[place[0]][place[1]]


def accuracies(stack: Students, query: Tensor, truth: Tensor, students: int) -> list[float]:
    """Return the mean accuracy of each candidate's students, from one transfer to the CPU.

    A student that diverged, with logits that are no numbers, is right about nothing.

    Args:
        stack: candidate after candidate, `students` of each.
        query: `(n, *shape)` preprocessed.
        truth: `(n,)` classes.
        students: trained on each candidate.
    """
    logits = stack.predict(query)
    right = (logits.argmax(-1) == truth) & ~logits.isnan().any(-1)
    means: list[float] = right.double().mean(-1).unflatten(0, (-1, students)).mean(-1).tolist()
    return means


def validation_draw(
    task: DistillTask, max_examples: int = CHOICE_EXAMPLES
) -> tuple[Tensor, Tensor]:
    """Return preprocessed validation examples and their classes on the task's device.

    A draw where there are more than `max_examples`, since a part may lie in the order of classes.

    Raises:
        InputError: the task has no validation examples.
    """
    if task.validation is None or not task.has_validation:
        raise InputError(
            "this choice needs validation examples; got none. Set some aside, or give the method "
            "what it would choose."
        )
    stream = generator(task.seed, "choice examples")
    drawn = torch.randperm(len(task.validation), generator=stream)[:max_examples]
    part = task.validation.subset(drawn)
    return task.preprocessing(part.images.to(task.device)), part.labels.to(task.device)


def ensemble_logits(students: Students, examples: Tensor) -> Tensor:
    """Return what a stack of networks thinks of examples: `(n, C)` float64 logits.

    Each network's logits are centred over the classes, which its softmax does not see, and then
    averaged: the geometric mean of the networks' distributions, up to normalisation.

    Args:
        students: the ensemble.
        examples: `(n, *shape)` preprocessed, on the students' device.
    """
    logits = students.predict(examples).double()
    return (logits - logits.mean(-1, keepdim=True)).mean(0)


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Return the distribution `softmax(logits / temperature)` of each row.

    Raises:
        InputError: a temperature that is not above zero.

    Example:
        >>> tempered(torch.tensor([[0.0, 4.0]]), 2.0)
        tensor([[0.1192, 0.8808]])
    """
    return (logits / check_positive("temperature", temperature)).softmax(-1)
