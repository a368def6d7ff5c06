"""Distill: puts the parts together. No numerics here."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features import (
    Extractor,
    Network,
    Pixels,
    Preprocessing,
    StatisticsCache,
    draw_pool,
    parse_network,
)
from cvxdistill.heads import Head, LabelLinearHead, RidgeHead
from cvxdistill.methods import DistillTask, Journal, Method, MethodResult, parse_method
from cvxdistill.problem import LabelSolution
from cvxdistill.progress import Progress, silent
from cvxdistill.solvers import solve_labels
from cvxdistill.statistics import TargetStatistics
from cvxdistill.students import default_student

# Extractors in the default pool. One makes labels that suit itself alone; four cost four forward
# passes and carry over to unseen ones nearly as well as many (docs/how-to-choose.md).
POOL = 4
# The width at which a pass over 50,000 images of 28 x 28 takes seconds on two cores; twice the
# width costs three times as much, half of it loses 3 points on MNIST.
EXTRACTOR = "convnet:width=64"


def distill(
    base: ImageSet,
    target: ImageSet,
    *,
    method: str | Method = "exact",
    extractors: str | Network | Sequence[Extractor] = EXTRACTOR,
    pool: int = POOL,
    head: Head | None = None,
    target_l2: float | None = None,
    preprocessing: Preprocessing | None = None,
    validation: ImageSet | None = None,
    student: str | Network | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    cache: StatisticsCache | None = None,
    journal: Journal | None = None,
) -> Distilled:
    """Learn labels for `base` such that a model trained on them does well on `target`.

    Args:
        base: the examples to be labelled; see `choose_base`.
        target: training examples with their classes.
        method: a name in `METHODS`, with options as in `smoothed:smoothing=0.3`, or a method.
        extractors: a network to draw a pool of, or extractors; unused for features `(n, d)`.
        pool: number of extractors drawn.
        head: the head that labels are solved for; `RidgeHead()` when not given.
        target_l2: penalty of the full-data head inside the label objective; `None` is its own.
        preprocessing: of images; fitted to the target when not given.
        validation: examples that methods may make choices on.
        student: the network that methods train from scratch; `default_student` when not given.
        seed: of extractors and of every other draw.
        device: where networks run.
        provenance: what else to record, such as the splits.
        progress: told how far the work is.
        cache: of moments of the target, to be shared with `evaluate`.
        journal: checkpoints and the time budget of methods that take steps.

    Returns:
        The distilled set, ready to be saved, evaluated or trained on.

    Raises:
        InputError: data, names or options that do not fit.
        IncompatibleError: no solver for this head.

    Example:
        >>> from cvxdistill.choose import choose_base
        >>> from cvxdistill.data import load_splits
        >>> data = load_splits("digits")
        >>> base = choose_base(data.train, 20)
        >>> distilled = distill(base, data.train, extractors="convnet:width=8", pool=2)
        >>> distilled.labels.shape, distilled.label_kind
        (torch.Size([20, 10]), 'scores')
    """
    journal = journal or Journal()
    journal.start()
    _check_shapes(base, target)
    learner = parse_method(method) if isinstance(method, str) else method
    place = torch.device(device)
    ready = Preprocessing.fit(target) if preprocessing is None else preprocessing
    task = DistillTask(
        base=base,
        target=target,
        extractors=make_pool(extractors, target, pool=pool, seed=seed, device=place),
        preprocessing=ready.to(place),
        head=RidgeHead() if head is None else head,
        validation=validation,
        target_l2=target_l2,
        student=parse_network(student) if isinstance(student, str) else student,
        seed=seed,
        device=place,
        progress=progress,
        cache=cache or StatisticsCache(),
        journal=journal,
    )
    result = learner.run(task)
    known = _provenance(learner, task, result, seconds=journal.seconds)
    return _distilled(task, ready, result, {**(provenance or {}), **known})


def distill_moments(
    base: ImageSet,
    target: TargetStatistics,
    *,
    head: LabelLinearHead | None = None,
    constraint: str = "free",
    target_l2: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Distilled:
    """Solve for the labels of feature vectors from the moments of a target, and nothing else of it.

    For targets that are gone, elsewhere, or too large: `cvxdistill stats` makes the moments.

    Args:
        base: the examples to be labelled, features `(m, d)` of the extractor of the moments.
        target: moments; names of classes or targets come from it.
        head: the head that labels are solved for; `RidgeHead()` when not given.
        constraint: a name in `CONSTRAINTS`.
        target_l2: penalty of the full-data head inside the label objective; `None` is its own.
        provenance: what else to record.

    Returns:
        The distilled set, with its certificate in `provenance`.

    Raises:
        InputError: images in the place of features, or sizes that do not fit.
        IncompatibleError: a head that is not linear in the labels, or no solver for it.
        SolveError: a solution that cannot be trusted.

    Example:
        >>> from cvxdistill.data import load_splits
        >>> train = load_splits("digits").train
        >>> vectors = dataclasses.replace(train, images=train.images.flatten(1).double())
        >>> moments = TargetStatistics(64, 10).update(vectors.images, vectors.labels)
        >>> distilled = distill_moments(vectors.subset(torch.arange(30)), moments)
        >>> distilled.labels.shape, distilled.provenance["status"]
        (torch.Size([30, 10]), 'solved')
    """
    began = time.perf_counter()
    if len(base.shape) != 1:
        raise InputError(
            f"labels from moments need features (m, d); got examples of shape {base.shape}. Embed "
            "them with the extractor of the moments: cvxdistill embed."
        )
    chosen = RidgeHead() if head is None else head
    solution = solve_labels(
        # float64 from here on: labels in float32 would cap what they can reproduce at 1e-7.
        base.images.to(target.device, torch.float64),
        target,
        head=chosen,
        constraint=constraint,
        target_l2=target_l2,
    ).raise_if_failed()
    known = {
        "method": {"name": "exact", "options": f"from moments, constraint={constraint!r}"},
        "target": {
            "name": ", ".join(source.name for source in target.sources) or "moments",
            "split": "all",
            "examples": target.count,
            "fingerprint": "+".join(source.fingerprint for source in target.sources) or None,
        },
        "target_l2": target_l2,
        "student": str(default_student(base.shape)),
        "seed": None,
        **_outcome(solution, target_passes=0.0, seconds=time.perf_counter() - began),
    }
    return Distilled(
        base=base.to("cpu"),
        labels=solution.labels.cpu(),
        label_kind=solution.label_kind,
        class_names=target.target_names or tuple(map(str, range(target.num_classes))),
        head=chosen,
        extractors=tuple(draw_pool(Pixels(), base.shape, size=1, seed=0)),
        provenance={**(provenance or {}), **known},
    )


def _distilled(
    task: DistillTask, ready: Preprocessing, result: MethodResult, provenance: Mapping[str, Any]
) -> Distilled:
    base = task.base.to("cpu")
    if result.examples is not None:
        base = dataclasses.replace(base, images=result.examples.cpu())
    return Distilled(
        base=base,
        labels=result.labels,
        label_kind=result.label_kind,
        class_names=task.target.class_names,
        preprocessing=ready.to("cpu"),
        head=task.head if result.head is None else result.head,
        extractors=task.extractors,
        recipe=result.recipe,
        provenance=provenance,
    )


def _check_shapes(base: ImageSet, target: ImageSet) -> None:
    if base.shape != target.shape:
        raise InputError(
            f"base and target examples must have one shape; got {base.shape} (`{base.name}`) and "
            f"{target.shape} (`{target.name}`). Make the base fit by fit_images "
            "(--base-fit resize)."
        )


def _provenance(
    method: Method, task: DistillTask, result: MethodResult, *, seconds: float
) -> dict[str, Any]:
    """Return what is known of a run, in JSON types."""
    target = task.target
    return {
        "method": {"name": method.name, "options": repr(method)},
        "target": {
            "name": target.name,
            "split": target.split,
            "examples": len(target),
            "fingerprint": target.fingerprint(),
        },
        "target_l2": task.target_l2,
        "student": str(task.network),
        "seed": task.seed,
        **_outcome(result, target_passes=result.target_passes, seconds=seconds),
    }


def _outcome(
    result: MethodResult | LabelSolution, *, target_passes: float, seconds: float
) -> dict[str, Any]:
    """Return how a run ended, in JSON types."""
    certificate = result.certificate
    return {
        "status": result.status.name.lower(),
        "certificate": certificate.record() if certificate else None,
        "certificate_text": str(certificate) if certificate else None,
        "target_passes": target_passes,
        "stats": dict(result.stats),
        "seconds": round(seconds, 4),
    }


def make_pool(
    extractors: str | Network | Sequence[Extractor],
    target: ImageSet,
    *,
    pool: int = POOL,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Extractor, ...]:
    """Return the extractors that `distill` solves over, from the arguments of the same names.

    Call it where something is to be known of them beforehand, such as the features that base
    examples are chosen by; pass what it returns to `distill`.

    Raises:
        InputError: extractors of another shape than the target's, none, or a name or size that
            does not fit.

    Example:
        >>> from cvxdistill.data import load_splits
        >>> [
        ...     extractor.num_features
        ...     for extractor in make_pool("convnet:width=8", load_splits("digits").train, pool=2)
        ... ]
        [128, 128]
    """
    if not isinstance(extractors, str | Network):
        given = tuple(extractors)
        for extractor in given:
            if extractor.input_shape != target.shape:
                raise InputError(
                    f"the extractor takes examples of shape {extractor.input_shape}; the target's "
                    f"have {target.shape}."
                )
        if not given:
            raise InputError("`extractors` must name a network or hold an extractor; got none.")
        return tuple(extractor.to(device) for extractor in given)
    network = parse_network(extractors) if isinstance(extractors, str) else extractors
    if len(target.shape) == 1:
        network = Pixels()
    # Without weights every draw is the same extractor.
    size = pool if network.trainable or network.bottleneck is not None else 1
    return tuple(draw_pool(network, target.shape, size=size, seed=seed, device=device))
