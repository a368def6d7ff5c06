"""Accuracy of the ridge head on the very extractor that labels were solved for."""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.pool import labels as sets
from benchmarks.pool.accuracy import TEACHER_TEMPERATURES, VALIDATION, teacher_labels
from benchmarks.pool.data import Study, mnist_study
from benchmarks.pool.labels import Pool, Settings
from benchmarks.pool.teachers import Ensemble, Teachers, train_teachers
from cvxdistill.evaluate import accuracy
from cvxdistill.features import Extractor, parse_network, train_extractor
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import one_hot
from cvxdistill.seeding import derive_seed
from cvxdistill.solvers import HeldOut
from cvxdistill.statistics import TargetStatistics

SEEN_SEED = 3_000
TRAINED = ("lenet", "lenet:bottleneck=64")
TRAIN_STEPS = 400
LABELS = ("true labels", "teachers", "squared", "entropy")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """For drawn and trained extractors: choose on validation, then read the test split."""
    study = mnist_study(options)
    began = time.perf_counter()
    teachers = Teachers.of(options)
    ensemble = train_teachers(study, teachers)
    groups = []
    for kind in ("drawn", *TRAINED):
        rows = []
        for index, extractor in enumerate(extractors(study, kind, options.seen)):
            rows += on_one(study, ensemble, extractor, index, options.base_draws)
            print(f"{kind}, extractor {index}, {time.perf_counter() - began:.0f} s", flush=True)
        name = f"convnet:width={options.width}, random weights" if kind == "drawn" else kind
        groups.append({"extractors": name, "rows": rows})
    return {
        "dataset": study.name,
        "target_examples": len(study.target),
        "teachers": dataclasses.asdict(teachers),
        "train_steps": TRAIN_STEPS,
        "groups": groups,
        "seconds": time.perf_counter() - began,
    }


def extractors(study: Study, kind: str, count: int) -> list[Extractor]:
    """Return drawn ConvNets, or networks trained on the training part."""
    if kind == "drawn":
        return study.draw(count, seed=SEEN_SEED)
    return [
        train_extractor(
            parse_network(kind),
            study.parts.train,
            preprocessing=study.preprocessing,
            steps=TRAIN_STEPS,
            seed=derive_seed(SEEN_SEED, kind, index),
        )
        for index in range(count)
    ]


def on_one(
    study: Study, ensemble: Ensemble, extractor: Extractor, index: int, draws: int
) -> list[dict[str, Any]]:
    """Return one record a base draw: test accuracies and settings of every label set."""
    parts, classes = study.parts, study.target.labels
    features = study.features(extractor, study.target)
    moments = TargetStatistics(features.shape[1], 10).update(features, classes)
    query = study.features(extractor, parts.validation)[:VALIDATION]
    truth = parts.validation.labels[:VALIDATION]
    test = study.features(extractor, parts.test())
    full = max(sets.L2, key=lambda l2: accuracy(_full(moments, l2, query), truth))
    rows = []
    for seed in range(draws):
        base = study.base(seed)
        own = study.features(extractor, base)
        pool = Pool([own], [features], classes, [moments], [])
        held_out = [HeldOut(own, query, truth)]
        teacher = ensemble.logits(study, base)
        row: dict[str, Any] = {"extractor": index, "draw": seed, "accuracies": {}, "settings": {}}
        for name, (labels, settings) in label_sets(pool, held_out, base.labels, teacher).items():
            logits = RidgeHead(l2=settings.l2).factor(own.double()).fit(labels.double())(test)
            row["accuracies"][name] = accuracy(logits, parts.test().labels)
            row["settings"][name] = dataclasses.asdict(settings)
        row["accuracies"]["full data"] = accuracy(_full(moments, full, test), parts.test().labels)
        rows.append(row)
    return rows


def label_sets(
    pool: Pool, held_out: Sequence[HeldOut], classes: Tensor, teacher: Tensor
) -> dict[str, tuple[Tensor, Settings]]:
    """Return each label set with the settings that validation chose for it."""
    true = one_hot(classes, 10).double()
    found = {"true labels": (true, sets.choose_given(held_out, true)[0])}
    tempered = []
    for temperature in TEACHER_TEMPERATURES:
        labels = teacher_labels(teacher, temperature)
        settings, tried = sets.choose_given(held_out, labels)
        tempered.append((max(one["accuracy"] for one in tried), labels, settings))
    found["teachers"] = max(tempered, key=lambda one: one[0])[1:]
    chosen = {
        "squared": sets.choose_squared("squared", pool, held_out, teacher, prior=False)[0],
        "entropy": sets.choose_entropy(pool, held_out, penalties=sets.L2[1:])[0],
    }
    for name, settings in chosen.items():
        found[name] = sets.solve(name, pool, settings, teacher).labels, settings
    return found


def _full(moments: TargetStatistics, l2: float, query: Tensor) -> Tensor:
    return RidgeHead(l2=l2).target_root(moments).full(query.double())


def verdicts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Say of each kind of extractor whether labels by cross-entropy are ahead of the teachers'."""
    found = []
    for group in results["groups"]:
        gains = torch.tensor(
            [row["accuracies"]["entropy"] - row["accuracies"]["teachers"] for row in group["rows"]]
        )
        found.append(
            {
                "what": f"{group['extractors']}: cross-entropy ahead of teachers in every row",
                "met": bool((gains > 0).all()),
                "measured": f"least {100 * float(gains.min()):.2f}, mean "
                f"{100 * float(gains.mean()):.2f} points",
            }
        )
    return found
