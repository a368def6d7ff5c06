"""`cvxdistill distill`: learn labels, save them, and say how good they are."""

from pathlib import Path

from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.cli import parts as parts_of
from cvxdistill.cli.common import count_or_share
from cvxdistill.cli.judge import Judge, parse_student
from cvxdistill.codecs import parse_codec
from cvxdistill.distill import EXTRACTOR, POOL, distill
from cvxdistill.features import Preprocessing, StatisticsCache, parse_network
from cvxdistill.methods import parse_method


def distill_command(
    target: opt.Target = "digits",
    base: opt.Base = None,
    base_fit: opt.BaseFit = None,
    data_root: opt.DataRoot = None,
    download: opt.Download = False,
    examples: opt.Examples = None,
    choose: opt.Choose = "balanced",
    indices: opt.Indices = None,
    method: opt.Method = "exact",
    student: opt.Student = None,
    extractor: opt.Extractors = EXTRACTOR,
    pool: opt.Pool = POOL,
    train_steps: opt.TrainSteps = 0,
    extractor_weights: opt.ExtractorWeights = None,
    zca: opt.Zca = False,
    head: opt.Head = "ridge",
    l2: opt.L2 = None,
    l2_scale: opt.L2Scale = None,
    intercept: opt.Intercept = None,
    target_l2: opt.TargetL2 = None,
    label_codec: opt.LabelCodec = "float64",
    validation: opt.Validation = None,
    test_fraction: opt.TestFraction = None,
    limit: opt.Limit = None,
    split_seed: opt.SplitSeed = 0,
    seed: opt.Seed = 0,
    students: opt.Students = None,
    seeds: opt.Seeds = 3,
    steps: opt.Steps = "50,100,200",
    augment: opt.Augment = "none",
    unseen: opt.Unseen = None,
    device: opt.Device = "auto",
    resume: opt.Resume = False,
    checkpoint_every: opt.CheckpointEvery = 30.0,
    budget: opt.Budget = None,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> int:
    """Learn labels for a few real examples, and compare them with true labels and the full data."""
    judge = Judge.parse(students, seeds, steps, unseen, seed, device, augment=augment)
    learner, network = parse_method(method), parse_network(extractor)
    codec = parse_codec(label_codec)
    own = None if student is None else parse_student("--student", student)
    extractors = parts_of.Extractors(network, pool, train_steps, extractor_weights)
    chosen_head = parts_of.head(head, l2=l2, l2_scale=l2_scale, intercept=intercept)
    data = common.DataRequest(
        target, data_root, download, count_or_share(validation), test_fraction, limit, split_seed
    )
    parts = data.load()
    request = parts_of.BaseExamples(base, base_fit, examples, choose, indices)
    found = request.read(data, parts, seed=seed)
    folder = out or Path("runs") / f"{parts.train.name}-{learner.name}-{found.count}-seed{seed}"
    journal = parts_of.journal(folder, checkpoint_every, resume=resume, budget=budget)
    judge.check(parts, own)
    ready, cache = Preprocessing.fit(parts.train, zca=zca), StatisticsCache()
    with parts_of.kept(journal), common.progress_bars() as progress:
        given = extractors.make(parts.train, ready, seed, judge.device, progress)
        look = given[0], ready, chosen_head, target_l2, judge.device
        distilled = distill(
            found.choose(*look, progress=progress, cache=cache),
            parts.train,
            method=learner,
            extractors=given,
            head=chosen_head,
            target_l2=target_l2,
            preprocessing=ready,
            validation=parts.validation,
            student=own,
            seed=seed,
            device=judge.device,
            provenance={"data": data.record(), "splits": parts.record, **request.record()},
            progress=progress,
            cache=cache,
            journal=journal,
        ).stored_as(codec)
        parts_of.store(distilled, folder, journal)
        rows = judge.rows(distilled, parts, progress, cache)
    common.publish(folder, "result.json", distilled, rows, as_json=as_json)
    return 0
