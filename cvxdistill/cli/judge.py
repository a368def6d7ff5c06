"""How a distilled set is to be evaluated, from the options of the command line."""

import dataclasses

import torch

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice, check_positive
from cvxdistill.cli.common import choose_device
from cvxdistill.data import Splits
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow, evaluate
from cvxdistill.features import Network, StatisticsCache, draw_pool, parse_network
from cvxdistill.progress import Progress
from cvxdistill.students import AUGMENTATIONS, OPTIMISERS, Recipe, draw_student


@dataclasses.dataclass(frozen=True)
class Judge:
    """How a distilled set is to be evaluated, checked before any work begins."""

    students: tuple[Network, ...] | None
    seeds: int
    recipe: Recipe
    unseen: Network | None
    seed: int
    device: torch.device
    optimisers: tuple[str, ...] = ()
    step_factors: tuple[float, ...] = ()

    @classmethod
    def parse(
        cls,
        students: str | None,
        seeds: int,
        steps: str,
        unseen: str | None,
        seed: int,
        device: str,
        *,
        augment: str = "none",
        optimisers: str | None = None,
        step_factors: str | None = None,
    ) -> "Judge":
        """Read the options of an evaluation.

        Raises:
            InputError: an option that cannot be read.
        """
        if seeds < 1:
            raise InputError(f"`--seeds` must be 1 or more; got {seeds}.")
        return cls(
            parse_students(students),
            seeds,
            parse_recipe(steps, augment),
            parse_network(unseen) if unseen else None,
            seed,
            choose_device(device),
            parse_optimisers(optimisers),
            parse_factors(step_factors),
        )

    def check(self, parts: Splits, student: Network | None = None) -> None:
        """Find out before the work whether it and the evaluation after it can be done.

        Raises:
            InputError: the test part cannot be read or does not fit the training part, or the
                unseen network or the given student cannot take its examples.
        """
        train, test = parts.train, parts.test()
        if test.shape != train.shape or test.class_names != train.class_names:
            raise InputError(
                f"the test part of `{train.name}` must be like its training part: {train.shape} "
                f"and {train.num_classes} classes; got {test.shape} and {test.num_classes}."
            )
        if self.unseen is not None:
            draw_pool(self.unseen, train.shape, size=1, seed=self.seed)
        if student is not None:
            draw_student(student, train.shape, train.num_classes, seed=self.seed)

    def rows(
        self,
        distilled: Distilled,
        parts: Splits,
        progress: Progress,
        cache: StatisticsCache | None = None,
    ) -> list[EvalRow]:
        """Evaluate on the test part of `parts`."""
        return evaluate(
            distilled,
            parts.test(),
            train=parts.train,
            validation=parts.validation,
            students=self.students,
            optimisers=self.optimisers,
            step_factors=self.step_factors,
            seeds=self.seeds,
            unseen=self.unseen,
            recipe=self.recipe,
            seed=self.seed,
            device=self.device,
            progress=progress,
            cache=cache,
        )


def parse_students(text: str | None) -> tuple[Network, ...] | None:
    """Return the networks of `--students`; `none` is no students, and `None` the default one.

    Raises:
        InputError: an unknown network, or one without weights to train.
    """
    if text is None:
        return None
    if text.strip().lower() in ("", "none"):
        return ()
    found = (parse_student("--students", part) for part in text.split(";"))
    return tuple(dict.fromkeys(found))


def parse_student(option: str, text: str) -> Network:
    """Return a network that can be trained from scratch.

    Raises:
        InputError: an unknown network, or one without weights to train.
    """
    network = parse_network(text)
    if not network.trainable:
        raise InputError(f"`{option} {network}` has no weights to train; choose another.")
    return network


def parse_optimisers(text: str | None) -> tuple[str, ...]:
    """Return the names of `--optimisers`.

    Raises:
        InputError: an unknown name.
    """
    names = [part.strip() for part in text.split(",")] if text else []
    return tuple(check_choice("--optimisers", name, OPTIMISERS) for name in names)


def parse_factors(text: str | None) -> tuple[float, ...]:
    """Return the numbers of `--step-factors`.

    Raises:
        InputError: not positive numbers.
    """
    try:
        factors = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(
            f"`--step-factors` must be positive numbers such as 0.5,2; got `{text}`."
        ) from error
    return tuple(check_positive("--step-factors", factor) for factor in factors)


def parse_recipe(steps: str, augment: str = "none") -> Recipe:
    """Return the recipe with the checkpoints of `--steps` and the `--augment` given.

    Raises:
        InputError: not rising positive numbers, or an unknown augmentation.
    """
    check_choice("--augment", augment, AUGMENTATIONS)
    try:
        checkpoints = tuple(int(part) for part in steps.split(","))
        return Recipe(checkpoints=checkpoints, augment=augment)
    except ValueError as error:
        raise InputError(
            f"`--steps` must be rising positive numbers such as 50,100,200; got `{steps}`."
        ) from error
