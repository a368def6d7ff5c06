"""Students from scratch: every label set, by network, optimiser and number of steps."""

import dataclasses
import time
from collections.abc import Collection, Sequence
from functools import cached_property

import torch
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice, check_positive
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.evaluate.labels import LABEL_SETS, LabelSet, make_label_sets
from cvxdistill.evaluate.rows import EvalRow
from cvxdistill.evaluate.trainer import Choice, Examples, Trainer
from cvxdistill.features import Network, parse_network
from cvxdistill.progress import Progress, silent
from cvxdistill.seeding import derive_seed, generator
from cvxdistill.students import OPTIMISERS, Recipe, default_student

# Learning rates of optimisers other than Adam, as multiples of their own, the likeliest first.
RATES = (1.0, 1 / 3, 3.0)
# Examples that choices are made on; 2,000 tell accuracies apart to about 1 point.
CHOICE_EXAMPLES = 2000


def evaluate_students(
    distilled: Distilled,
    test: ImageSet,
    *,
    train: ImageSet | None = None,
    validation: ImageSet | None = None,
    students: Sequence[str | Network] | None = None,
    optimisers: Collection[str] = (),
    step_factors: Collection[float] = (),
    seeds: int = 5,
    label_sets: Collection[str] = LABEL_SETS,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> list[EvalRow]:
    """Train students on each label set and test them: networks by optimisers by steps.

    What is measured, and what is chosen how, stands at the top of `cvxdistill.evaluate`.

    Args:
        distilled: the artefact.
        test: the test examples, in the target's classes; used for nothing but the final numbers.
        train: the training examples, for the rows of the full data.
        validation: for all choices; the last checkpoint and the first candidate without it.
        students: networks; when not given the one that the artefact's labels were learned with,
            or `default_student`.
        optimisers: names in `OPTIMISERS` to measure beside the recipe's own.
        step_factors: multiples of the chosen number of steps to measure beside it.
        seeds: students trained, each from its own initial weights.
        label_sets: those of `LABEL_SETS` to measure; rows do not depend on one another.
        recipe: how students are trained where labels came without a recipe; `Recipe()` when not
            given.
        seed: of every draw here.
        device: where networks run.
        progress: told how far the work is.

    Returns:
        One row a network, optimiser, label set and number of steps; a student that cannot be
        trained is a row that says why.

    Raises:
        InputError: other classes or shapes than the artefact's, fewer than one seed, or an
            unknown label set, optimiser, network or factor.

    Example:
        >>> from cvxdistill.choose import choose_base
        >>> from cvxdistill.data import load_splits
        >>> from cvxdistill.labels import one_hot
        >>> data = load_splits("digits")
        >>> base = choose_base(data.train, 10)
        >>> made = Distilled(base, one_hot(base.labels, 10), "distribution", base.class_names)
        >>> few = {"label_sets": ["distilled"], "recipe": Recipe(checkpoints=(4,)), "seeds": 2}
        >>> more = {"students": ["mlp:width=8"], "optimisers": ["sgd"], "step_factors": [0.5]}
        >>> rows = evaluate_students(made, data.test(), **few, **more)
        >>> [(row.optimiser, row.steps, row.main) for row in rows]
        [('adam', 4, True), ('adam', 2, False), ('sgd', 4, False), ('sgd', 2, False)]
    """
    check_request(distilled, test, seeds, label_sets, optimisers, step_factors)
    judge = _Judge(
        distilled,
        test,
        validation,
        optimisers=tuple(dict.fromkeys(optimisers)),
        step_factors=tuple(factor for factor in dict.fromkeys(step_factors) if factor != 1),
        seeds=tuple(derive_seed(seed, index) for index in range(seeds)),
        seed=seed,
        device=torch.device(device),
        progress=progress,
    )
    chosen = [_own_student(distilled)] if students is None else students
    networks = [parse_network(one) if isinstance(one, str) else one for one in chosen]
    if not networks:
        return []
    given = recipe or Recipe()
    sets = make_label_sets(distilled, label_sets, train, recipe=given, preprocess=judge.ready)
    return [row for one in networks for labels in sets for row in judge.rows(one, labels)]


def check_request(
    distilled: Distilled,
    test: ImageSet,
    seeds: int,
    label_sets: Collection[str],
    optimisers: Collection[str],
    step_factors: Collection[float],
) -> None:
    """Refuse a test set that is not of the artefact's target, and unknown names.

    Raises:
        InputError: other classes or shapes than the artefact's, fewer than one seed, or an
            unknown label set, optimiser or factor.
    """
    if seeds < 1:
        raise InputError(f"`seeds` must be 1 or more; got {seeds}.")
    for name in label_sets:
        check_choice("label_sets", name, LABEL_SETS)
    for name in optimisers:
        check_choice("optimisers", name, OPTIMISERS)
    for factor in step_factors:
        check_positive("step_factors", factor)
    if test.shape != distilled.base.shape or test.class_names != distilled.class_names:
        raise InputError(
            f"the distilled set holds examples of shape {distilled.base.shape} labelled with "
            f"{len(distilled.class_names)} classes; the test set `{test.name}` has {test.shape} "
            f"and {test.num_classes} classes (or other names). Evaluate it on its own target."
        )


def _own_student(distilled: Distilled) -> Network:
    try:
        return parse_network(str(distilled.provenance["student"]))
    except (KeyError, InputError):
        # No command made this artefact, or its network is not registered here.
        return default_student(distilled.base.shape)


@dataclasses.dataclass(eq=False)
class _Judge:
    """Trains students on label sets and tests the ones that validation chose."""

    distilled: Distilled
    test: ImageSet
    validation: ImageSet | None
    optimisers: tuple[str, ...]
    step_factors: tuple[float, ...]
    seeds: tuple[int, ...]
    seed: int
    device: torch.device
    progress: Progress

    def ready(self, images: Tensor) -> Tensor:
        """Return images preprocessed as the artefact says, on the device."""
        return self.distilled.preprocessing.to(self.device)(images.to(self.device))

    def rows(self, network: Network, labels: LabelSet) -> list[EvalRow]:
        """Return the rows of every optimiser and number of steps, the main cell first."""
        own = labels.recipe
        main = (own,) if labels.settled else self._rates(own, labels.label_kind)
        rows = self._cell(network, labels, main, main=True)
        for name in self.optimisers:
            if name != own.optimiser:
                other = dataclasses.replace(own, optimiser=name, lr=None, step_sizes=())
                recipes = self._rates(other, labels.label_kind)
                rows += self._cell(network, labels, recipes, main=False)
        return rows

    def _rates(self, recipe: Recipe, label_kind: str) -> tuple[Recipe, ...]:
        """Return the recipe with every learning rate that validation is to choose among."""
        if recipe.lr is not None or recipe.step_sizes or recipe.optimiser == "adam":
            return (recipe,)
        usual = OPTIMISERS[recipe.optimiser].usual_rate(label_kind)
        rates = RATES[:1] if self.validation is None else RATES
        return tuple(dataclasses.replace(recipe, lr=rate * usual) for rate in rates)

    def _cell(
        self, network: Network, labels: LabelSet, recipes: tuple[Recipe, ...], *, main: bool
    ) -> list[EvalRow]:
        """Train, choose on validation, test; then the same for other numbers of steps."""
        started = time.perf_counter()
        optimiser = recipes[0].optimiser
        row = EvalRow("students", str(network), labels.name, (), optimiser=optimiser, main=main)
        stage = f"{network.name} by {optimiser} on {labels.name}"
        trainer = Trainer(
            network,
            labels.examples,
            len(self.distilled.class_names),
            labels.label_kind,
            self.seeds,
            self.seed,
            lambda _, done, total: self.progress(stage, done, total),
        )
        try:
            chosen = trainer.choose(labels.candidates, recipes, self.choice_examples)
        except InputError as error:
            every = (1.0, *self.step_factors)
            return [
                dataclasses.replace(row, status=str(error), step_factor=f, main=main and f == 1)
                for f in every
            ]
        values = trainer.test(chosen, self.test_examples)
        row = dataclasses.replace(
            row,
            values=values,
            steps=chosen.steps,
            choices=self._choices(labels, recipes, chosen),
            seconds=round(time.perf_counter() - started, 4),
        )
        return [row, *self._other_steps(row, trainer, labels, chosen)]

    def _choices(
        self, labels: LabelSet, recipes: tuple[Recipe, ...], chosen: Choice
    ) -> dict[str, float]:
        """Return what was chosen here, and nothing that a recipe had settled."""
        choices: dict[str, float] = {}
        if not labels.settled or len(recipes[0].checkpoints) > 1:
            choices["steps"] = chosen.steps
        if labels.option:
            choices[labels.option] = chosen.candidate
        if len(recipes) > 1:
            choices["lr"] = chosen.recipe.rate(0)
        return choices

    def _other_steps(
        self, row: EvalRow, trainer: Trainer, labels: LabelSet, chosen: Choice
    ) -> list[EvalRow]:
        steps = {factor: max(1, round(factor * chosen.steps)) for factor in self.step_factors}
        if not steps:
            return []
        started = time.perf_counter()
        found = trainer.follow(chosen, labels.candidates, list(steps.values()), self.test_examples)
        seconds = round(time.perf_counter() - started, 4)
        return [
            dataclasses.replace(
                row,
                values=found[count],
                steps=count,
                step_factor=factor,
                seconds=seconds,
                main=False,
            )
            for factor, count in steps.items()
        ]

    @cached_property
    def test_examples(self) -> Examples:
        """All test examples, preprocessed, with their classes."""
        return self.ready(self.test.images), self.test.labels.to(self.device)

    @cached_property
    def choice_examples(self) -> Examples | None:
        """The validation examples that choices are made on."""
        if self.validation is None:
            return None
        # A draw, since validation parts may lie in the order of the classes.
        stream = generator(self.seed, "choice examples")
        drawn = torch.randperm(len(self.validation), generator=stream)[:CHOICE_EXAMPLES]
        part = self.validation.subset(drawn)
        return self.ready(part.images), part.labels.to(self.device)
