"""Students of one network on one label set: trained side by side, chosen on validation, tested."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from cvxdistill.evaluate.metrics import accuracies
from cvxdistill.features import Network
from cvxdistill.progress import Progress, silent
from cvxdistill.students import Recipe, Students, students_at_once

Examples = tuple[Tensor, Tensor]
"""Preprocessed examples `(n, *shape)` and their classes `(n,)`, on the students' device."""


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """What validation prefers, and the students that were trained so.

    Attributes:
        score: mean validation accuracy of the students.
        candidate: name of the labels.
        recipe: that they were trained by.
        steps: one of the recipe's checkpoints.
        weights: of all seeds' students after these steps, in groups that were trained together.
        students: a stack that predicts with such weights.
    """

    score: float
    candidate: float
    recipe: Recipe
    steps: int
    weights: tuple[Mapping[str, Tensor], ...]
    students: Students


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """Trains a network on labelled examples, once for each seed.

    Attributes:
        network: of the students.
        examples: `(m, *shape)` preprocessed, on the device.
        num_classes: `C`.
        label_kind: of the labels, `distribution` or `scores`.
        seeds: of initial weights; the same for every candidate, so that these differ in their
            labels alone.
        seed: of the order of mini-batches.
        progress: told the steps done.
    """

    network: Network
    examples: Tensor
    num_classes: int
    label_kind: str
    seeds: tuple[int, ...]
    seed: int
    progress: Progress = silent

    def choose(
        self,
        candidates: Mapping[float, Tensor],
        recipes: Sequence[Recipe],
        validation: Examples | None,
    ) -> Choice:
        """Train on every candidate by every recipe, and return what does best on validation.

        Of equals the first recipe, the first candidate and the fewest steps are taken. Without
        validation nothing is tried: the first of each, and the last checkpoint.

        Args:
            candidates: labels `(m, C)` by name.
            recipes: ways to train.
            validation: what the choice is made on.

        Raises:
            InputError: a network that cannot be trained on these examples.
        """
        if validation is None:
            recipes = [dataclasses.replace(recipes[0], checkpoints=recipes[0].checkpoints[-1:])]
            candidates = dict(list(candidates.items())[:1])
        best: Choice | None = None
        for number, recipe in enumerate(recipes):
            for choice in self._trained(candidates, recipe, validation, number, len(recipes)):
                if best is None or choice.score > best.score:
                    best = choice
        assert best is not None, "there is a candidate, and a recipe has a checkpoint"
        return best

    def test(self, choice: Choice, test: Examples) -> tuple[float, ...]:
        """Return the test accuracy of the chosen students, one a seed."""
        examples, truth = test
        return tuple(
            value
            for weights in choice.weights
            for value in accuracies(choice.students.predict(examples, weights=weights), truth)
        )

    def follow(
        self,
        choice: Choice,
        candidates: Mapping[float, Tensor],
        steps: Sequence[int],
        test: Examples,
    ) -> dict[int, tuple[float, ...]]:
        """Return test accuracies after other numbers of steps, everything else as chosen."""
        checkpoints = tuple(sorted(set(steps)))
        recipe = dataclasses.replace(choice.recipe, checkpoints=checkpoints)
        found: dict[int, list[float]] = defaultdict(list)
        for done, stack in self._stacks([candidates[choice.candidate]], recipe, 0, 1):
            found[done] += accuracies(stack.predict(test[0]), test[1])
        return {done: tuple(values) for done, values in found.items()}

    def _trained(
        self,
        candidates: Mapping[float, Tensor],
        recipe: Recipe,
        validation: Examples | None,
        number: int,
        count: int,
    ) -> Iterator[Choice]:
        """Yield every candidate at every checkpoint of one recipe, the fewest steps first."""
        scores: dict[int, list[float]] = defaultdict(list)
        groups: dict[int, list[dict[str, Tensor]]] = defaultdict(list)
        for steps, stack in self._stacks(list(candidates.values()), recipe, number, count):
            groups[steps].append(stack.weights())
            scores[steps] += (
                [0.0] * len(stack.seeds)
                if validation is None
                else accuracies(stack.predict(validation[0]), validation[1])
            )
        size = len(self.seeds)
        for index, candidate in enumerate(candidates):
            first, last = index * size, (index + 1) * size
            for steps in recipe.checkpoints:
                score = sum(scores[steps][first:last]) / size
                weights = tuple(_rows(groups[steps], first, last))
                yield Choice(score, candidate, recipe, steps, weights, stack)

    def _stacks(
        self, labels: Sequence[Tensor], recipe: Recipe, number: int, count: int
    ) -> Iterator[tuple[int, Students]]:
        """Yield steps and students at each checkpoint, group after group.

        All seeds of the first labels, then all of the second: as many side by side as the device
        takes well.
        """
        wanted = [(label_set, seed) for label_set in labels for seed in self.seeds]
        shape = tuple(self.examples.shape[1:])
        batch = min(recipe.batch_size, len(self.examples))
        size = students_at_once(self.network, shape, batch, self.examples.device)
        total = recipe.checkpoints[-1]
        for first in range(0, len(wanted), size):
            part = wanted[first : first + size]
            before = (number * len(wanted) + first) * total
            report = _counted(self.progress, before, len(part), count * len(wanted) * total)
            stack = Students(
                self.network,
                shape,
                self.num_classes,
                seeds=[seed for _, seed in part],
                device=self.examples.device,
            )
            own = labels[0] if len(labels) == 1 else torch.stack([one for one, _ in part])
            for steps in stack.fit(
                self.examples,
                own.to(self.examples),
                self.label_kind,
                recipe=recipe,
                seed=self.seed,
                progress=report,
            ):
                yield steps, stack


def _counted(progress: Progress, before: int, now: int, whole: int) -> Progress:
    """Return a callback for `now` students at work that counts the steps of all, done and to do."""
    return lambda stage, done, _: progress(stage, before + now * done, whole)


def _rows(
    groups: Sequence[Mapping[str, Tensor]], first: int, last: int
) -> Iterator[dict[str, Tensor]]:
    """Yield the students from `first` up to `last` of consecutive groups."""
    start = 0
    for group in groups:
        size = len(next(iter(group.values())))
        low, high = max(first - start, 0), min(last - start, size)
        if low < high:
            yield {key: value[low:high] for key, value in group.items()}
        start += size
