"""One data set: its trained extractor, base draws, labels, and features of everything."""

import dataclasses
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.compress import label_metric
from cvxdistill.data import ImageSet, Splits, load_splits
from cvxdistill.distill import distill
from cvxdistill.features import (
    ConvNet,
    Extractor,
    Preprocessing,
    StatisticsCache,
    draw_pool,
    embed,
    train_extractor,
)

# Base examples: 100 of 10 classes, four of each of 26.
EXAMPLES = {"mnist": 100, "emnist-letters": 104}
METHODS = {"scores": "exact", "distribution": "exact:constraint=simplex"}
TARGET, VALIDATION, TEST, METRIC = 10_000, 5_000, 10_000, 5_000
TRAIN_STEPS, WIDTH = 80, 32
HELD_OUT_SEED, UNSEEN_SEED = 1_000, 2_000


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """Features under one extractor: of every base draw, of validation and of test examples."""

    bases: list[Tensor]
    validation: Tensor
    test: Tensor | None


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """A data set with all that codecs are measured on.

    Attributes:
        parts: training, validation and test examples.
        validation: the part of the validation examples that choices are made on.
        test: the part of the test examples that all numbers are of.
        own: features under the extractor that labels are solved for.
        held_out: under extractors that choices are made on, without test features.
        unseen: under extractors that nothing else has seen.
        made: for each kind of labels, the distilled set of every base draw.
        metrics: of every base draw.
    """

    name: str
    parts: Splits
    validation: ImageSet
    test: ImageSet
    own: View
    held_out: list[View]
    unseen: list[View]
    made: dict[str, list[Distilled]]
    metrics: list[Tensor]


def prepare(name: str, data_root: str, *, draws: int, held_out: int, unseen: int) -> Study:
    """Train the extractor, draw the others, solve the labels, and embed."""
    say(name, "data and extractor")
    parts = load_splits(name, data_root=data_root, limit=TARGET)
    test, train = _some(parts.test(), TEST), parts.train
    validation = _some(parts.validation, VALIDATION)
    ready = Preprocessing.fit(train)
    network = ConvNet(width=WIDTH)
    trained = train_extractor(network, train, preprocessing=ready, steps=TRAIN_STEPS, seed=0)
    pools = [
        draw_pool(network, train.shape, size=size, seed=seed) if size else []
        for size, seed in ((held_out, HELD_OUT_SEED), (unseen, UNSEEN_SEED))
    ]
    bases = [choose_base(train, EXAMPLES[name], seed=draw) for draw in range(draws)]

    def view(extractor: Extractor, *, tested: bool) -> View:
        say(name, "features")
        found = [
            embed(extractor, part.images, preprocessing=ready).double()
            for part in (*bases, validation, *([test] if tested else []))
        ]
        return View(found[:draws], found[draws], found[draws + 1] if tested else None)

    cache = StatisticsCache()
    made: dict[str, list[Distilled]] = {kind: [] for kind in METHODS}
    for kind, method in METHODS.items():
        for base in bases:
            say(name, kind, "labels")
            made[kind].append(
                distill(
                    base,
                    train,
                    method=method,
                    extractors=[trained],
                    preprocessing=ready,
                    cache=cache,
                )
            )
    own = view(trained, tested=True)
    few = train.subset(torch.arange(METRIC))
    target = embed(trained, few.images, preprocessing=ready).double(), few.labels
    return Study(
        name=name,
        parts=parts,
        validation=validation,
        test=test,
        own=own,
        held_out=[view(one, tested=False) for one in pools[0]],
        unseen=[view(one, tested=True) for one in pools[1]],
        made=made,
        metrics=[label_metric(features, target) for features in own.bases],
    )


def _some(part: ImageSet, count: int) -> ImageSet:
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
    return part.subset(order[:count])


def accuracies(
    study: Study, views: Sequence[View], draw: int, labels: Tensor, *, tested: bool
) -> list[float]:
    """Return the accuracy of the head fitted to labels under each extractor."""
    head = study.made["scores"][draw].head
    truth = study.test.labels if tested else study.validation.labels
    found = []
    for view in views:
        query = view.test if tested else view.validation
        assert query is not None, "asked for where there are test features"
        guesses = head.fit(view.bases[draw], labels)(query).argmax(1)
        found.append(float((guesses == truth).double().mean()))
    return found


def say(*words: object) -> None:
    """Print progress."""
    print(*words, file=sys.stderr, flush=True)
