"""The evaluation: every label set in every setting, from the artefact alone."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet
from cvxdistill.evaluate.heads import evaluate_heads
from cvxdistill.evaluate.labels import LABEL_SETS, SMOOTHINGS
from cvxdistill.evaluate.rows import EvalRow
from cvxdistill.evaluate.students import check_request, evaluate_students
from cvxdistill.features import (
    Extractor,
    Network,
    Pixels,
    StatisticsCache,
    draw_pool,
    parse_network,
)
from cvxdistill.labels import one_hot, smoothed
from cvxdistill.progress import Progress, silent
from cvxdistill.seeding import derive_seed
from cvxdistill.students import Recipe


def evaluate(
    distilled: Distilled,
    test: ImageSet,
    *,
    train: ImageSet | None = None,
    validation: ImageSet | None = None,
    students: Sequence[str | Network] | None = None,
    seeds: int = 5,
    unseen: str | Network | None = None,
    label_sets: Collection[str] = LABEL_SETS,
    optimisers: Collection[str] = (),
    step_factors: Collection[float] = (),
    recipe: Recipe | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
    cache: StatisticsCache | None = None,
) -> list[EvalRow]:
    """Measure a distilled set on test data, beside true labels, smoothed labels and the full data.

    Three settings: the head on the extractors that the labels were solved for, the head on freshly
    drawn ones, and students from scratch. Nothing here knows of a solver or a method.

    Args:
        distilled: the artefact.
        test: the test examples, in the target's classes; used for nothing but the final numbers.
        train: the training examples, for the rows of the full data.
        validation: for all choices; without it the last checkpoint and the first of all else.
        students: networks to train from scratch; when not given the one that the artefact's
            labels were learned with, or `default_student`.
        seeds: repetitions: unseen extractors drawn and students trained.
        unseen: network of the unseen extractors; the artefact's own when not given.
        label_sets: those of `LABEL_SETS` to measure; rows do not depend on one another.
        optimisers: names in `OPTIMISERS` that students are to be trained with beside their own.
        step_factors: multiples of the chosen number of steps to train students for beside it.
        recipe: how students are trained where labels came without a recipe.
        seed: of every draw here.
        device: where networks run.
        progress: told how far the work is.
        cache: of moments of the training examples, from `distill`.

    Returns:
        One row a setting, network and label set, and further ones for further optimisers and
        numbers of steps; see [evaluate_students][cvxdistill.evaluate.evaluate_students].

    Raises:
        InputError: other classes or shapes than the artefact's, fewer than one seed, or an
            unknown label set, optimiser, network or factor.
    """
    check_request(distilled, test, seeds, label_sets, optimisers, step_factors)
    place, cache = torch.device(device), cache or StatisticsCache()
    train = train if "full" in label_sets else None
    rows: list[EvalRow] = []
    for setting, extractors in extractors_by_setting(distilled, unseen, seeds, seed).items():
        rows += evaluate_heads(
            distilled,
            test,
            setting=setting,
            extractors=extractors,
            labels=_head_labels(distilled, label_sets),
            train=train,
            device=place,
            cache=cache,
            progress=progress,
        )
    return rows + evaluate_students(
        distilled,
        test,
        train=train,
        validation=validation,
        students=students,
        optimisers=optimisers,
        step_factors=step_factors,
        seeds=seeds,
        label_sets=label_sets,
        recipe=recipe,
        seed=seed,
        device=place,
        progress=progress,
    )


def _head_labels(distilled: Distilled, names: Collection[str]) -> dict[str, Tensor]:
    """Return the label sets that heads are fitted to, those of true labels where there are any."""
    truth, classes = distilled.true_labels, len(distilled.class_names)
    labels = {"distilled": distilled.labels}
    if truth is not None:
        labels["hard"] = one_hot(truth, classes)
        labels["smoothed"] = smoothed(truth, classes, smoothing=SMOOTHINGS[0])
    return {name: label_set for name, label_set in labels.items() if name in names}


def extractors_by_setting(
    distilled: Distilled, unseen: str | Network | None, seeds: int, seed: int
) -> dict[str, tuple[Extractor, ...]]:
    """Return the extractors of each setting that means something: seen ones, and unseen ones.

    Args:
        distilled: gives the extractors that its labels were solved for.
        unseen: network of the unseen extractors; the artefact's own when not given.
        seeds: extractors in each setting, at most.
        seed: of the draw of the unseen ones.
    """
    network = _unseen_network(distilled, unseen)
    drawn: tuple[Extractor, ...] = ()
    if network is not None:
        shape = distilled.base.shape
        drawn = tuple(draw_pool(network, shape, size=seeds, seed=derive_seed(seed, "unseen")))
    found = {"same_extractor": distilled.extractors[:seeds], "unseen_extractor": drawn}
    return {setting: extractors for setting, extractors in found.items() if extractors}


def _unseen_network(distilled: Distilled, unseen: str | Network | None) -> Network | None:
    """Return the network to draw unseen extractors from, or `None` where a draw means nothing."""
    if unseen is not None:
        return parse_network(unseen) if isinstance(unseen, str) else unseen
    kinds = [extractor.network for extractor in distilled.extractors]
    drawable = [kind for kind in kinds if kind.trainable or isinstance(kind, Pixels)]
    random = [kind for kind in drawable if kind.trainable or kind.bottleneck is not None]
    return random[0] if random else None
