"""`cvxdistill distill`: learn labels, save them, and say how good they are."""

from pathlib import Path
from typing import Any

from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.data import DataSource, ImageSet, Splits, choose_base, open_source
from cvxdistill.distill import EXTRACTOR, POOL, distill
from cvxdistill.errors import InputError
from cvxdistill.features import (
    Extractor,
    Preprocessing,
    StatisticsCache,
    load_extractor,
    parse_network,
    train_extractor,
)
from cvxdistill.heads import RidgeHead
from cvxdistill.manifest import check_replaceable
from cvxdistill.methods import parse_method
from cvxdistill.report import draw_sheet
from cvxdistill.seeding import derive_seed


def distill_command(
    target: opt.Target = "digits",
    base: opt.Base = None,
    data_root: opt.DataRoot = None,
    download: opt.Download = False,
    examples: opt.Examples = None,
    choose: opt.Choose = "balanced",
    indices: opt.Indices = None,
    method: opt.Method = "exact",
    extractor: opt.Extractors = EXTRACTOR,
    pool: opt.Pool = POOL,
    train_steps: opt.TrainSteps = 0,
    extractor_weights: opt.ExtractorWeights = None,
    zca: opt.Zca = False,
    l2: opt.L2 = 1e-3,
    l2_scale: opt.L2Scale = "trace",
    intercept: opt.Intercept = "free",
    target_l2: opt.TargetL2 = None,
    validation: opt.Validation = None,
    test_fraction: opt.TestFraction = None,
    limit: opt.Limit = None,
    split_seed: opt.SplitSeed = 0,
    seed: opt.Seed = 0,
    students: opt.Students = None,
    seeds: opt.Seeds = 3,
    steps: opt.Steps = "50,100,200",
    unseen: opt.Unseen = None,
    device: opt.Device = "auto",
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> int:
    """Learn labels for a few real examples, and compare them with true labels and the full data."""
    judge = common.Judge.parse(students, seeds, steps, unseen, seed, device)
    learner, network = parse_method(method), parse_network(extractor)
    head = RidgeHead(l2=l2, l2_scale=l2_scale, intercept=intercept)
    data = common.DataRequest(
        target, data_root, download, _count_or_share(validation), test_fraction, limit, split_seed
    )
    parts = data.load()
    chosen = _choose(data, base, parts, examples, choose, indices, seed)
    folder = out or Path("runs") / f"{parts.train.name}-{learner.name}-{len(chosen)}-seed{seed}"
    check_replaceable(folder)
    judge.check(parts)
    ready, cache = Preprocessing.fit(parts.train, zca=zca), StatisticsCache()
    with common.progress_bars() as progress:
        given: list[Extractor] = []
        if extractor_weights is not None:
            given = [load_extractor(extractor_weights, device=judge.device)]
        for index in range(pool if train_steps and not given else 0):
            trained = train_extractor(
                network,
                parts.train,
                preprocessing=ready,
                steps=train_steps,
                seed=derive_seed(seed, "trained", index),
                device=judge.device,
                progress=progress,
            )
            given.append(trained)
        distilled = distill(
            chosen,
            parts.train,
            method=learner,
            extractors=given or network,
            pool=pool,
            head=head,
            target_l2=target_l2,
            preprocessing=ready,
            validation=parts.validation,
            seed=seed,
            device=judge.device,
            provenance={"data": data.record(), "splits": parts.record},
            progress=progress,
            cache=cache,
        )
        distilled.save(folder)
        draw_sheet(distilled, folder / "labels.png")
        rows = judge.rows(distilled, parts, progress, cache)
    common.publish(folder, "result.json", distilled, rows, as_json=as_json)
    return 0


def _count_or_share(text: str | None) -> int | float | None:
    if text is None:
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError as error:
        raise InputError(
            f"`--validation` must be a count such as 5000 or a share such as 0.1; got `{text}`."
        ) from error


def _same_source(one: DataSource, other: DataSource) -> bool:
    """Say whether two sources read the same files, however these were spelled."""
    places = [source.path.resolve() if source.path else None for source in (one, other)]
    return type(one) is type(other) and places[0] == places[1]


def _choose(
    data: "common.DataRequest",
    base: str | None,
    parts: Splits,
    examples: int | None,
    choose: str,
    indices: str | None,
    seed: int,
) -> ImageSet:
    """Return the base examples, from the target's own training part or from another data set."""
    source = parts.train
    if base is not None:
        options: dict[str, Any] = {"data_root": data.data_root, "download": data.download}
        other = open_source(base, **options)
        if not _same_source(other, open_source(data.target, **options)):
            # All of another data set but an official test part: nothing in it is tested on.
            source = other.load("train" if "train" in other.splits() else "all")
    if indices is not None:
        return choose_base(source, examples, how="indices", indices=indices)
    count = 2 * parts.train.num_classes if examples is None else examples
    return choose_base(source, count, how=choose, seed=seed)
