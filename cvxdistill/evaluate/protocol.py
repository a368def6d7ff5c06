"""The evaluation: every label set in every setting, from the artefact alone."""

import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.evaluate.heads import evaluate_heads
from cvxdistill.evaluate.metrics import accuracy
from cvxdistill.evaluate.rows import EvalRow
from cvxdistill.features import Network, Pixels, StatisticsCache, draw_pool, parse_network
from cvxdistill.labels import one_hot, smoothed
from cvxdistill.progress import Progress, silent
from cvxdistill.seeding import derive_seed, generator
from cvxdistill.students import Recipe, Students, default_student

# How students may read labels; validation chooses, with as many tries for the baseline as for the
# distilled labels. Scores are multiplied by the scale: small targets are fitted before the hidden
# layers have moved, and on digits a ConvNet gains 4 points from the larger scale.
SMOOTHINGS = (0.1, 0.3)
SCALES = (1.0, 3.0)
# Examples that steps and smoothing are chosen on; 2,000 tell accuracies apart to about 1 point.
CHOICE_EXAMPLES = 2000
LABEL_SETS = ("distilled", "hard", "smoothed", "full")


@dataclasses.dataclass(frozen=True, eq=False)
class LabelSet:
    """Labels to train students on; several candidates leave a choice to validation.

    Attributes:
        name: `distilled`, `hard`, `smoothed` or `full`.
        examples: `(m, *shape)` preprocessed.
        label_kind: `distribution` or `scores`.
        candidates: labels `(m, C)` by the value of `option`.
        option: what the candidates differ in, such as `smoothing`.
    """

    name: str
    examples: Tensor
    label_kind: str
    candidates: Mapping[float, Tensor]
    option: str = ""


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
    recipe: Recipe | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
    cache: StatisticsCache | None = None,
) -> list[EvalRow]:
    """Measure a distilled set on test data, beside true labels, smoothed labels and the full data.

    Three settings: the head on the extractors that the labels were solved for; the head on freshly
    drawn extractors; and students trained from scratch. This function knows the artefact, data,
    networks and heads, but no solver and no method.

    Args:
        distilled: the artefact.
        test: the test examples, in the target's classes; used for nothing but the final numbers.
        train: the training examples, for the rows of the full data.
        validation: for the choice of students' steps and of the smoothing; the last checkpoint and
            the first smoothing and scale are taken without it.
        students: networks to train from scratch; `default_student` when not given.
        seeds: repetitions: unseen extractors drawn and students trained.
        unseen: network of the unseen extractors; the artefact's own when not given.
        label_sets: those of `LABEL_SETS` to measure; rows do not depend on one another.
        recipe: how students are trained.
        seed: of every draw here.
        device: where networks run.
        progress: told how far the work is.
        cache: of moments of the training examples, from `distill`.

    Returns:
        One row a setting, network and label set.

    Raises:
        InputError: other classes or shapes than the artefact's, fewer than one seed, or an
            unknown label set.
    """
    _check(distilled, test, seeds)
    for name in label_sets:
        check_choice("label_sets", name, LABEL_SETS)
    place, cache = torch.device(device), cache or StatisticsCache()
    truth = distilled.true_labels
    labels = {"distilled": distilled.labels}
    if truth is not None:
        labels["hard"] = one_hot(truth, len(distilled.class_names))
        labels["smoothed"] = smoothed(truth, len(distilled.class_names), smoothing=SMOOTHINGS[0])
    labels = {name: label_set for name, label_set in labels.items() if name in label_sets}
    train = train if "full" in label_sets else None
    rows: list[EvalRow] = []
    same = distilled.extractors[:seeds]
    settings = {"same_extractor": same, "unseen_extractor": ()}
    network = _unseen_network(distilled, unseen)
    if network is not None:
        settings["unseen_extractor"] = tuple(
            draw_pool(network, test.shape, size=seeds, seed=derive_seed(seed, "unseen"))
        )
    for setting, extractors in settings.items():
        if extractors:
            rows += evaluate_heads(
                distilled,
                test,
                setting=setting,
                extractors=extractors,
                labels=labels,
                train=train,
                device=place,
                cache=cache,
                progress=progress,
            )
    judge = _Judge(distilled, test, validation, recipe or Recipe(), seeds, seed, place, progress)
    for student in [default_student(test.shape)] if students is None else students:
        recipe_network = parse_network(student) if isinstance(student, str) else student
        sets = [found for found in judge.label_sets(train) if found.name in label_sets]
        rows += [judge.row(recipe_network, label_set) for label_set in sets]
    return rows


def _check(distilled: Distilled, test: ImageSet, seeds: int) -> None:
    if seeds < 1:
        raise InputError(f"`seeds` must be 1 or more; got {seeds}.")
    if test.shape != distilled.base.shape or test.class_names != distilled.class_names:
        raise InputError(
            f"the distilled set holds examples of shape {distilled.base.shape} labelled with "
            f"{len(distilled.class_names)} classes; the test set `{test.name}` has {test.shape} "
            f"and {test.num_classes} classes (or other names). Evaluate it on its own target."
        )


def _unseen_network(distilled: Distilled, unseen: str | Network | None) -> Network | None:
    """Return the network to draw unseen extractors from, or `None` where a draw means nothing."""
    if unseen is not None:
        return parse_network(unseen) if isinstance(unseen, str) else unseen
    kinds = [extractor.network for extractor in distilled.extractors]
    drawable = [kind for kind in kinds if kind.trainable or isinstance(kind, Pixels)]
    random = [kind for kind in drawable if kind.trainable or kind.bottleneck is not None]
    return random[0] if random else None


@dataclasses.dataclass(frozen=True, eq=False)
class _Best:
    """The students that validation prefers so far, and what was chosen with them."""

    score: float
    weights: Mapping[str, Tensor]
    choices: dict[str, float]


@dataclasses.dataclass(eq=False)
class _Judge:
    """Trains students on label sets and tests the ones that validation chose."""

    distilled: Distilled
    test: ImageSet
    validation: ImageSet | None
    recipe: Recipe
    seeds: int
    seed: int
    device: torch.device
    progress: Progress

    def ready(self, images: Tensor) -> Tensor:
        """Return images preprocessed as the artefact says, on the device."""
        return self.distilled.preprocessing.to(self.device)(images.to(self.device))

    def label_sets(self, train: ImageSet | None) -> list[LabelSet]:
        """Return what students are trained on, the distilled labels first."""
        distilled, classes = self.distilled, len(self.distilled.class_names)
        base = self.ready(distilled.examples)
        kind = distilled.label_kind
        scales = SCALES if kind == "scores" else (1.0,)
        scaled = {scale: scale * distilled.labels for scale in scales}
        sets = [LabelSet("distilled", base, kind, scaled, "scale" if len(scaled) > 1 else "")]
        truth = distilled.true_labels
        if truth is not None:
            sets.append(LabelSet("hard", base, "distribution", {0.0: one_hot(truth, classes)}))
            tried = {s: smoothed(truth, classes, smoothing=s) for s in SMOOTHINGS}
            sets.append(LabelSet("smoothed", base, "distribution", tried, "smoothing"))
        if train is not None:
            every = {0.0: one_hot(train.labels.cpu(), classes)}
            sets.append(LabelSet("full", self.ready(train.images), "distribution", every))
        return sets

    def row(self, network: Network, labels: LabelSet) -> EvalRow:
        """Train, choose on validation, test."""
        started = time.perf_counter()
        stage = f"student {network.name} on {labels.name}"
        try:
            values, choices = self._measure(network, labels, stage)
        except InputError as error:
            return EvalRow("students", str(network), labels.name, (), status=str(error))
        seconds = round(time.perf_counter() - started, 4)
        return EvalRow(
            "students", str(network), labels.name, values, seconds=seconds, choices=choices
        )

    def _measure(
        self, network: Network, labels: LabelSet, stage: str
    ) -> tuple[tuple[float, ...], dict[str, float]]:
        best: _Best | None = None
        for value, candidate in labels.candidates.items():
            students = self._students(network, labels)
            for steps in students.fit(
                labels.examples,
                candidate.to(self.device),
                labels.label_kind,
                recipe=self.recipe,
                seed=self.seed,
                progress=lambda _, done, total: self.progress(stage, done, total),
            ):
                score = self._validate(students, steps)
                if best is None or score > best.score:
                    choices: dict[str, float] = {"steps": steps}
                    if labels.option:
                        choices[labels.option] = value
                    best = _Best(score, students.weights(), choices)
            if self.validation is None:
                break
        assert best is not None, "a recipe has at least one checkpoint"
        logits = students.predict(self.ready(self.test.images), weights=best.weights)
        truth = self.test.labels.to(self.device)
        return tuple(accuracy(one, truth) for one in logits), best.choices

    def _students(self, network: Network, labels: LabelSet) -> Students:
        return Students(
            network,
            tuple(labels.examples.shape[1:]),
            len(self.distilled.class_names),
            seeds=[derive_seed(self.seed, index) for index in range(self.seeds)],
            device=self.device,
        )

    def _validate(self, students: Students, steps: int) -> float:
        """Return the mean validation accuracy; without validation, later is better."""
        if self.validation is None:
            return float(steps)
        # A draw, since validation parts may lie in the order of the classes.
        stream = generator(self.seed, "choice examples")
        drawn = torch.randperm(len(self.validation), generator=stream)[:CHOICE_EXAMPLES]
        part = self.validation.subset(drawn)
        logits, truth = students.predict(self.ready(part.images)), part.labels.to(self.device)
        return sum(accuracy(one, truth) for one in logits) / len(logits)
