"""`cvxdistill stats solve`: labels of base embeddings from a file of moments alone."""

from pathlib import Path
from typing import Any

import torch

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.cli import parts as parts_of
from cvxdistill.codecs import parse_codec
from cvxdistill.data import ImageSet, open_source
from cvxdistill.distill import distill_moments
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow, accuracy, evaluate
from cvxdistill.heads import LabelLinearHead
from cvxdistill.manifest import check_replaceable
from cvxdistill.methods import Exact, parse_method
from cvxdistill.report import draw_sheet
from cvxdistill.statistics import TargetStatistics


def solve_command(
    moments: opt.Moments,
    base: opt.BaseEmbeddings,
    examples: opt.Chosen = None,
    choose: opt.Choose = "balanced",
    indices: opt.Indices = None,
    test: opt.TestEmbeddings = None,
    data_root: opt.DataRoot = None,
    method: opt.Method = "exact",
    head: opt.Head = "ridge",
    l2: opt.L2 = None,
    l2_scale: opt.L2Scale = None,
    intercept: opt.Intercept = None,
    target_l2: opt.TargetL2 = None,
    label_codec: opt.LabelCodec = "float64",
    seed: opt.Seed = 0,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> int:
    """Solve for the labels of base embeddings from moments, and save them with a certificate."""
    codec, exact = parse_codec(label_codec), parse_method(method)
    chosen_head = parts_of.head(head, l2=l2, l2_scale=l2_scale, intercept=intercept)
    linear = isinstance(chosen_head, LabelLinearHead) and chosen_head.finite_weights
    if not (isinstance(exact, Exact) and exact.loss == "squared" and linear):
        raise InputError(
            "moments are enough for the exact solve of a ridge head with a squared loss; got "
            f"--method {method} and --head {head}. Give the target itself: cvxdistill distill."
        )
    assert isinstance(chosen_head, LabelLinearHead)
    target = TargetStatistics.load(moments)
    found = _features(base, data_root, part="train")
    options: dict[str, Any] = {"head": chosen_head, "target_l2": target_l2}
    if indices is not None:
        found = choose_base(found, examples, how="indices", indices=indices)
    elif examples is not None:
        found = choose_base(found, examples, how=choose, seed=seed, target=target, **options)
    folder = out or Path("runs") / f"{moments.stem}-exact-{len(found)}-seed{seed}"
    check_replaceable(folder)
    judged = None if test is None else _features(test, data_root, part="test")
    distilled = distill_moments(
        found,
        target,
        constraint=exact.constraint,
        provenance={"base": {"source": base, "choose": choose}, "moments": moments.name},
        **options,
    ).stored_as(codec)
    rows = [] if judged is None else _judged(distilled, judged, target, chosen_head, target_l2)
    distilled.save(folder)
    draw_sheet(distilled, folder / "labels.png")
    common.publish(folder, "result.json", distilled, rows, as_json=as_json)
    return 0


def _features(spec: str, data_root: str | None, *, part: str) -> ImageSet:
    """Read the training or the test part of embeddings, or all of undivided ones."""
    source = open_source(spec, data_root=data_root)
    return source.load(part if part in source.splits() else "all")


def _judged(
    distilled: Distilled,
    test: ImageSet,
    target: TargetStatistics,
    head: LabelLinearHead,
    target_l2: float | None,
) -> list[EvalRow]:
    """Return test accuracies of the head, beside that of the head of the moments themselves."""
    rows = evaluate(distilled, test, students=(), seeds=1)
    full = head.target_root(target, target_l2=target_l2).full
    value = accuracy(full(test.images.to(torch.float64)), test.labels)
    return [*rows, EvalRow("same_extractor", rows[0].network, "full", (value,))]
