"""Cross-entropy against squared loss, on unseen extractors' heads."""

import argparse
import dataclasses
from typing import Any

import torch

from benchmarks.pool import labels as sets
from benchmarks.pool.data import HELD_OUT_SEED, POOL_SEED, SOURCES, UNSEEN_SEED, Study
from benchmarks.pool.full_data import full_data
from benchmarks.pool.labels import L2, Pool, Settings
from cvxdistill.evaluate import accuracy
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import one_hot
from cvxdistill.solvers import HeldOut
from cvxdistill.statistics import TargetStatistics

POOL_SIZE = 4
# The same for every label set of a data set.
PENALTIES = {"mnist": L2, "cifar10-jpeg": (1e-2, 1e-1, 0.3, 1.0, 3.0)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison on each data set."""
    return {"datasets": [_compare(name, options) for name in SOURCES]}


def _compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    examples = options.examples if name == "mnist" else options.cifar_examples
    study = Study.load(
        name, options.data_root, width=options.width, examples=examples, cache=options.cache
    )
    pool = study.draw(POOL_SIZE, seed=POOL_SEED)
    features = [study.features(one, study.target) for one in pool]
    classes = study.target.labels
    moments = [TargetStatistics(f.shape[1], 10).update(f, classes) for f in features]
    chosen: dict[str, Any] = {}
    draws = []
    for seed in range(options.base_draws):
        base = study.base(seed)
        stage = Pool([study.features(one, base) for one in pool], features, classes, moments, [])
        if not chosen:
            chosen = _choose(study, stage, options)
            print(name, {key: one["settings"] for key, one in chosen.items()}, flush=True)
        truth = one_hot(base.labels, 10).double()
        draw: dict[str, Any] = {"true labels": {"labels": truth}}
        for kind in ("squared", "entropy"):
            settings = Settings(**chosen[kind]["settings"])
            draw[kind] = sets.timed(kind, stage, settings, truth)
        draws.append(draw)
    test = study.parts.test()
    for seed, draw in enumerate(draws):
        for one in draw.values():
            one["accuracies"] = []
        for extractor in study.draw(options.unseen, seed=UNSEEN_SEED):
            rows = study.features(extractor, study.base(seed)).double()
            query = study.features(extractor, test)
            for key, one in draw.items():
                head = RidgeHead(l2=chosen[key]["settings"]["l2"])
                one["accuracies"].append(
                    accuracy(head.fit(rows, one["labels"])(query), test.labels)
                )
        for one in draw.values():
            del one["labels"]
    return {
        "dataset": name,
        "zca": SOURCES[name][1],
        "target_examples": len(study.target),
        "width": options.width,
        "pool": POOL_SIZE,
        "choices": chosen,
        "full_data": full_data(study, held_out=options.held_out, unseen=options.unseen),
        "draws": draws,
    }


def _choose(study: Study, pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    base, check = study.base(0), study.parts.validation
    rows = torch.arange(min(5_000, len(check)))
    held_out = [
        HeldOut(study.features(one, base), study.features(one, check)[rows], check.labels[rows])
        for one in study.draw(options.held_out, seed=HELD_OUT_SEED)
    ]
    truth, grid = one_hot(base.labels, 10), PENALTIES[study.name]
    found = {
        "true labels": sets.choose_given(held_out, truth, penalties=grid),
        "squared": sets.choose_squared(
            "squared", pool, held_out, truth, prior=False, penalties=grid
        ),
        "entropy": sets.choose_entropy(pool, held_out, penalties=grid),
    }
    return {
        key: {"settings": dataclasses.asdict(settings), "tried": tried}
        for key, (settings, tried) in found.items()
    }
