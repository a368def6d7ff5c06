"""Training, validation and test parts: what labels learn from, what choices see, what judges.

The rule is fixed by the data and one seed of its own, so that runs with different seeds share
their parts. The test part is read when somebody asks for it and not before.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.stratify import draw_stratified
from cvxdistill.errors import InputError
from cvxdistill.seeding import generator


@dataclasses.dataclass(frozen=True, eq=False)
class Splits:
    """The three disjoint parts of a data set.

    Attributes:
        train: what labels are learned from.
        validation: what every choice (steps, scale, `l2`) is made on.
        load_test: reads the test part; use `test()`, which reads it once.
        record: how the parts were made, in JSON types, for the manifest of an artefact:
            `source`, `source_split`, `test_rule` and `validation_rule` (`official` or
            `stratified`), `split_seed`, `test_fraction`, `limit` and `sizes` (of an official
            test split `None`: it is unread).
    """

    train: ImageSet
    validation: ImageSet
    load_test: Callable[[], ImageSet]
    record: dict[str, Any]

    def test(self) -> ImageSet:
        """Return the test part, read on the first call and remembered.

        Raises:
            InputError: its files are missing or damaged.
        """
        return self._test

    @functools.cached_property
    def _test(self) -> ImageSet:
        return self.load_test()


def split_source(
    source: DataSource,
    *,
    validation: int | float | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Splits:
    """Divide a source into training, validation and test parts.

    A source with an official test split keeps it, and the validation part is a seeded,
    class-stratified part of its training split (a source with its own validation part keeps that
    too). A source without one is divided into all three, stratified, and has to be told how
    much to hold out unless it has a default of its own.

    Args:
        source: where to read from.
        validation: size of the validation part, as a count or as a share of the training split;
            `None` takes the source's default (MNIST and its like one sixth, others one tenth).
        test_fraction: share held out as test where there is no official test split.
        seed: seed of the division; not that of the run.
        limit: keep at most so many training examples, a stratified draw of them.

    Returns:
        Three parts that are disjoint and, without a `limit`, cover what was read.

    Raises:
        InputError: sizes that leave a part empty, a missing or a needless `test_fraction`, or
            files that cannot be read.

    Example:
        >>> from cvxdistill.data.digits import Digits
        >>> parts = split_source(Digits())
        >>> len(parts.train), len(parts.validation), len(parts.test())
        (1078, 270, 449)
    """
    if limit is not None and limit < 1:
        raise InputError(f"`limit` must be at least 1 training example; got {limit}.")
    offered = source.splits()
    if "test" in offered:
        if test_fraction is not None:
            raise InputError(
                f"{source.name} has an official test split; leave `test_fraction` "
                f"(--test-fraction) out; got {test_fraction}."
            )
        rest = source.load("train")
        load_test: Callable[[], ImageSet] = functools.partial(source.load, "test")
        test_size = None
    else:
        rest, load_test, test_size, test_fraction = _hold_out_test(source, test_fraction, seed)
    train, held_out = _hold_out_validation(source, rest, validation, seed)
    if limit is not None and limit < len(train):
        stream = generator(seed, "splits", "limit")
        kept, _ = draw_stratified(train.labels, train.num_classes, limit, stream)
        train = train.subset(kept)
    record = {
        "source": rest.name,
        "source_split": rest.source_split,
        "test_rule": "official" if test_size is None else "stratified",
        "validation_rule": "official" if "validation" in offered else "stratified",
        "split_seed": seed,
        "test_fraction": test_fraction,
        "limit": limit,
        "sizes": {"train": len(train), "validation": len(held_out), "test": test_size},
    }
    return Splits(train=train, validation=held_out, load_test=load_test, record=record)


def _hold_out_test(
    source: DataSource, test_fraction: float | None, seed: int
) -> tuple[ImageSet, Callable[[], ImageSet], int, float]:
    """Divide an unsplit source into the rest and a test part that is cut out when asked for."""
    everything = source.load("all")
    if test_fraction is None:
        test_fraction = source.default_test_fraction
    if test_fraction is None:
        part = everything.source_split
        have = (
            f"has {len(everything):,} examples and no official test split"
            if part == "all"
            else f"has only its {len(everything):,} {part} images"
        )
        where = source.path or source.data_root
        raise InputError(
            f"{everything.name} {have}{f' under {where}' if where else ''}: pass `test_fraction` "
            "(--test-fraction 0.2) to split them; the split is recorded in the artefact."
        )
    count = _part_size("test_fraction", test_fraction, len(everything))
    stream = generator(seed, "splits", "test")
    drawn, others = draw_stratified(everything.labels, everything.num_classes, count, stream)
    load_test = functools.partial(everything.subset, drawn, split="test")
    return everything.subset(others, split="train"), load_test, count, float(test_fraction)


def _hold_out_validation(
    source: DataSource, rest: ImageSet, validation: int | float | None, seed: int
) -> tuple[ImageSet, ImageSet]:
    """Return the training and the validation part of what is not test."""
    if "validation" in source.splits():
        if validation is not None:
            raise InputError(
                f"{rest.name} has its own validation part; leave `validation` out; got "
                f"{validation}."
            )
        return rest, source.load("validation")
    wanted = source.default_validation if validation is None else validation
    count = _part_size("validation", wanted, len(rest))
    stream = generator(seed, "splits", "validation")
    drawn, others = draw_stratified(rest.labels, rest.num_classes, count, stream)
    return rest.subset(others, split="train"), rest.subset(drawn, split="validation")


def _part_size(name: str, wanted: int | float, size: int) -> int:
    """Turn a count or a share into a count that leaves both sides something."""
    is_count = isinstance(wanted, int) and not isinstance(wanted, bool)
    if name == "test_fraction" and not 0 < wanted < 1:
        raise InputError(f"`test_fraction` must lie strictly between 0 and 1; got {wanted}.")
    if not is_count and not 0 < wanted < 1:
        raise InputError(
            f"`{name}` must be a count of examples or a share strictly between 0 and 1; got "
            f"{wanted}."
        )
    count = int(wanted) if is_count else round(wanted * size)
    if not 0 < count < size:
        raise InputError(
            f"`{name}` must leave examples on both sides of {size:,}; got {wanted}, which is "
            f"{count:,} of them."
        )
    return count
