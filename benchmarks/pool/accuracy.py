"""Accuracy of unseen extractors' heads against the number of extractors solved over."""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.pool import labels as sets
from benchmarks.pool.data import HELD_OUT_SEED, POOL_SEED, UNSEEN_SEED, Study, mnist_study
from benchmarks.pool.full_data import full_data
from benchmarks.pool.ideas import explore
from benchmarks.pool.labels import Pool, Settings
from benchmarks.pool.teachers import Ensemble, Teachers, train_teachers
from cvxdistill.data import ImageSet
from cvxdistill.evaluate import accuracy
from cvxdistill.features import Extractor
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import one_hot, smoothed
from cvxdistill.solvers import HeldOut
from cvxdistill.statistics import TargetStatistics

# Of the teachers' softmax on the base images; infinite stands for the centred logits themselves.
TEACHER_TEMPERATURES = (1.0, 2.0, 4.0, 8.0, float("inf"))
# From this pool size on, the cross-entropy's settings are those of the size before.
CHEAP_SIZE = 8
VALIDATION = 5_000
IDEAS_SIZE = 4


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Choose on validation, solve for every base draw and pool size, then read the test split."""
    study = mnist_study(options)
    began = time.perf_counter()
    teachers = Teachers.of(options)
    ensemble = train_teachers(study, teachers)
    target_logits = ensemble.logits(study, study.target)
    check = study.parts.validation
    right = accuracy(ensemble.logits(study, check), check.labels)
    pool = study.draw(max(options.sizes), seed=POOL_SEED)
    features = [study.features(one, study.target) for one in pool]
    moments = [_moments(f, study.target.labels, 10) for f in features]
    taught = [_moments(f, target_logits, 10) for f in features]
    draws: list[dict[str, Any]] = []
    chosen: dict[str, Any] = {}
    ideas: list[dict[str, Any]] = []
    for seed in range(options.base_draws):
        base = study.base(seed)
        bases = [study.features(one, base) for one in pool]
        stage = Pool(bases, features, study.target.labels, moments, taught)
        teacher = ensemble.logits(study, base)
        if not chosen:
            held_out = _held_out(study, base, options.held_out)
            chosen = choose(held_out, base, stage, teacher, options.sizes)
            best = Settings(**chosen[_name("entropy", False, IDEAS_SIZE)]["settings"])
            few = Ensemble(ensemble.members[:3]).logits(study, base)
            ideas = explore(stage.first(IDEAS_SIZE), held_out, target_logits, teacher, few, best)
        draws.append(_label_sets(stage, base, teacher, chosen, options.sizes))
        print(f"base draw {seed} solved, {time.perf_counter() - began:.0f} s", flush=True)
    unseen = study.draw(options.unseen, seed=UNSEEN_SEED)
    for seed, draw in enumerate(draws):
        _test(study, unseen, study.base(seed), draw)
    full = full_data(study, held_out=options.held_out, unseen=options.unseen)
    return {
        "dataset": study.name,
        "target_examples": len(study.target),
        "width": options.width,
        "sizes": options.sizes,
        "teachers": {**dataclasses.asdict(teachers), "validation_accuracy": right},
        "choices": chosen,
        "ideas": {"pool": IDEAS_SIZE, "rows": ideas},
        "full_data": full,
        "draws": [_record(draw) for draw in draws],
        "seconds": time.perf_counter() - began,
    }


def _held_out(study: Study, base: ImageSet, size: int) -> list[HeldOut]:
    check = study.parts.validation
    rows = torch.arange(min(VALIDATION, len(check)))
    return [
        HeldOut(study.features(one, base), study.features(one, check)[rows], check.labels[rows])
        for one in study.draw(size, seed=HELD_OUT_SEED)
    ]


def choose(
    held_out: Sequence[HeldOut],
    base: ImageSet,
    pool: Pool,
    teacher: Tensor,
    sizes: Sequence[int],
) -> dict[str, Any]:
    """Return settings, and what was tried, of every label set and pool size."""
    chosen: dict[str, Any] = {}

    def keep(name: str, found: tuple[Settings, list[Any]]) -> None:
        chosen[name] = {"settings": dataclasses.asdict(found[0]), "tried": found[1]}
        best = max(one["accuracy"] for one in found[1])
        print(f"{name}: {found[0]} {100 * best:.2f}", flush=True)

    keep("true labels", sets.choose_given(held_out, one_hot(base.labels, 10)))
    keep("smoothed labels", sets.choose_given(held_out, smoothed(base.labels, 10)))
    said = []
    for temperature in TEACHER_TEMPERATURES:
        found = sets.choose_given(held_out, teacher_labels(teacher, temperature))
        said.append((max(one["accuracy"] for one in found[1]), temperature, found))
    best = max(said, key=lambda one: one[0])
    keep("teachers", best[2])
    chosen["teachers"]["settings"]["temperature"] = best[1] if best[1] < float("inf") else None
    chosen["teachers"]["temperatures"] = [[str(t), score] for score, t, _ in said]
    for size in sizes:
        part = pool.first(size)
        for kind in ("squared", "taught"):
            for prior in (False, True):
                found = sets.choose_squared(kind, part, held_out, teacher, prior=prior)
                keep(_name(kind, prior, size), found)
        if size > CHEAP_SIZE:
            for prior in (False, True):
                before = chosen[_name("entropy", prior, CHEAP_SIZE)]["settings"]
                chosen[_name("entropy", prior, size)] = {"settings": before, "tried": []}
            continue
        # Without the smallest penalty, which is behind the others on the page of losses.
        plain = sets.choose_entropy(part, held_out, penalties=sets.L2[1:])
        keep(_name("entropy", False, size), plain)
        keep(_name("entropy", True, size), sets.choose_pull(part, held_out, teacher, plain[0]))
    return chosen


def teacher_labels(teacher: Tensor, temperature: float) -> Tensor:
    """Return the teachers' answer: tempered distributions, or the logits themselves."""
    return teacher if temperature == float("inf") else (teacher / temperature).softmax(1)


def _name(kind: str, prior: bool, size: int) -> str:
    return f"{kind}{', prior' if prior else ''}, pool of {size}"


def _label_sets(
    pool: Pool, base: ImageSet, teacher: Tensor, chosen: dict[str, Any], sizes: Sequence[int]
) -> dict[str, Any]:
    temperature = chosen["teachers"]["settings"]["temperature"]
    found: dict[str, Any] = {
        "true labels": {"labels": one_hot(base.labels, 10).double()},
        "smoothed labels": {"labels": smoothed(base.labels, 10).double()},
        "teachers": {"labels": teacher_labels(teacher, temperature or float("inf"))},
    }
    for size in sizes:
        for kind in ("squared", "taught", "entropy"):
            for prior in (False, True):
                name = _name(kind, prior, size)
                settings = Settings(**chosen[name]["settings"])
                found[name] = sets.timed(kind, pool.first(size), settings, teacher)
    for name, one in found.items():
        one["l2"] = chosen[name]["settings"]["l2"]
    return found


def _test(study: Study, unseen: Sequence[Extractor], base: ImageSet, draw: dict[str, Any]) -> None:
    """Add the test accuracies of every label set, one an unseen extractor."""
    test = study.parts.test()
    for one in draw.values():
        one["accuracies"] = []
    for extractor in unseen:
        query, rows = study.features(extractor, test), study.features(extractor, base)
        maps = {
            l2: RidgeHead(l2=l2).factor(rows.double()) for l2 in {o["l2"] for o in draw.values()}
        }
        for one in draw.values():
            # The head in float64, its predictions of the test images in float32.
            logits = maps[one["l2"]].fit(one["labels"])(query)
            one["accuracies"].append(accuracy(logits, test.labels))


def _record(draw: dict[str, Any]) -> dict[str, Any]:
    kept = {name: dict(one) for name, one in draw.items()}
    for one in kept.values():
        del one["labels"]
    return kept


def _moments(features: Tensor, labels: Tensor, classes: int) -> TargetStatistics:
    return TargetStatistics(features.shape[1], classes).update(features, labels)
