"""Distill: puts the parts together. No numerics here."""

import dataclasses
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
from cvxdistill.heads import Head, RidgeHead
from cvxdistill.methods import DistillTask, Journal, Method, MethodResult, parse_method
from cvxdistill.progress import Progress, silent

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
    target, certificate = task.target, result.certificate
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
        "status": result.status.name.lower(),
        "certificate": certificate.record() if certificate else None,
        "certificate_text": str(certificate) if certificate else None,
        "target_passes": result.target_passes,
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
