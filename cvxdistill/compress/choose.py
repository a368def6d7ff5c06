"""The best codec within a budget, chosen on validation examples."""

import dataclasses
from collections.abc import Sequence

import torch

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_positive
from cvxdistill.codecs import LabelCodec, parse_codec
from cvxdistill.compress.measure import CodecJudge, CodecRow
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features import Network
from cvxdistill.progress import Progress, silent

# What is tried when nobody says otherwise.
ENTRIES = ("float32", "float16", "int8", "int4", "int3", "int2")
KEPT, RANKS = (1, 2, 3, 5, 10), (4, 8, 16, 32, 64)
# Validation examples that codecs are told apart on: 10,000 tell them apart to a few tenths of a
# point, and less where they differ on the same examples.
CHOICE_EXAMPLES = 10_000
MAX_LOSS = 0.002


@dataclasses.dataclass(frozen=True, eq=False)
class Compression:
    """A distilled set with compressed labels, and what the choice was made among.

    Attributes:
        distilled: with the labels that come out of the store.
        chosen: its row.
        rows: all that was measured, the labels as they were first.
    """

    distilled: Distilled
    chosen: CodecRow
    rows: tuple[CodecRow, ...]


def candidates(examples: int, classes: int) -> tuple[LabelCodec, ...]:
    """Return the codecs that are worth a try for labels `(examples, classes)`.

    Example:
        >>> [str(codec) for codec in candidates(100, 3)][-2:]
        ['topk:k=1,values=int8', 'topk:k=2,values=int8']
    """
    kept = [f"topk:k={k},values=int8" for k in KEPT if k < classes]
    ranks = [f"low-rank:rank={r},values=int8" for r in RANKS if r < min(examples, classes)]
    return tuple(parse_codec(spec) for spec in (*ENTRIES, *kept, *ranks))


def choose_codec(
    distilled: Distilled,
    validation: ImageSet,
    *,
    train: ImageSet | None = None,
    codecs: Sequence[str | LabelCodec] | None = None,
    budget_bits: float | None = None,
    max_loss: float = MAX_LOSS,
    unseen: str | Network | None = None,
    seeds: int = 3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Compression:
    """Measure codecs on validation examples and take the best within a budget.

    With a budget, of the codecs within it the one that loses least is taken; of equals the one
    whose predictions agree most with the old ones, then the one of fewest bits. Without one, the
    codec of fewest bits that loses no more than `max_loss`, or, if all lose more, the one that
    loses least.

    Args:
        distilled: with labels as they were solved.
        validation: examples that the choice is made on; never those of a test set.
        train: training examples; with them, and a head that is linear in the labels, every codec is
            tried with feedback as well.
        codecs: what to try; `candidates` when not given.
        budget_bits: bits that all labels together may take.
        max_loss: accuracy that may be lost, in the setting where that is most.
        unseen: network of the unseen extractors; the artefact's own when not given.
        seeds: unseen extractors drawn.
        seed: of every draw here.
        device: where networks run.
        progress: told how far the work is.

    Raises:
        InputError: no extractor to measure with, other classes or shapes than the artefact's, or a
            budget below what any of the codecs takes.

    Example:
        >>> from cvxdistill.choose import choose_base
        >>> from cvxdistill.data import load_splits
        >>> from cvxdistill.distill import distill
        >>> data = load_splits("digits")
        >>> base = choose_base(data.train, 20)
        >>> made = distill(base, data.train, extractors="convnet:width=8", pool=1)
        >>> tried = ["int8", "int4"]
        >>> found = choose_codec(made, data.validation, codecs=tried, budget_bits=1500)
        >>> found.chosen.codec, found.distilled.bits.labels
        ('int4', 1136)
    """
    check_positive("max_loss", max_loss, zero=True)
    tried = _checked(distilled, codecs, budget_bits)
    order = torch.randperm(len(validation), generator=torch.Generator().manual_seed(seed))
    judge = CodecJudge(
        distilled,
        validation.subset(order[:CHOICE_EXAMPLES]),
        unseen=unseen,
        seeds=seeds,
        seed=seed,
        device=device,
        progress=progress,
    )
    metric = None if train is None else judge.metric(train)
    found: list[tuple[CodecRow, Distilled]] = []
    for index, codec in enumerate(tried):
        progress("codecs", index, len(tried))
        for steered in (False, True) if metric is not None and codec.steers else (False,):
            made = distilled.stored_as(codec, metric=metric if steered else None)
            found.append((judge.row(made, feedback=steered), made))
    progress("codecs", len(tried), len(tried))
    chosen, made = _best(found, budget_bits, max_loss)
    rows = judge.row(distilled, feedback=False), *(row for row, _ in found)
    return Compression(_recorded(made, chosen), chosen, rows)


def _checked(
    distilled: Distilled, codecs: Sequence[str | LabelCodec] | None, budget_bits: float | None
) -> list[LabelCodec]:
    """Return the codecs to try, if there are any and one of them is within the budget."""
    sizes = len(distilled), len(distilled.class_names)
    given = candidates(*sizes) if codecs is None else codecs
    tried = [parse_codec(one) if isinstance(one, str) else one for one in given]
    if not tried:
        raise InputError("`codecs` must name a codec to try; got none.")
    if budget_bits is not None:
        check_positive("budget_bits", budget_bits)
        needed = {codec: codec.bits(*sizes, distilled.label_kind) for codec in tried}
        smallest = min(needed, key=lambda codec: needed[codec])
        if needed[smallest] > budget_bits:
            raise InputError(
                f"a budget of {budget_bits:g} bits is below what any codec takes: the smallest, "
                f"`{smallest}`, needs {needed[smallest]}. Raise it, or name another codec."
            )
    return tried


def _best(
    found: list[tuple[CodecRow, Distilled]], budget_bits: float | None, max_loss: float
) -> tuple[CodecRow, Distilled]:
    def fewest(pair: tuple[CodecRow, Distilled]) -> tuple[float, ...]:
        row = pair[0]
        return row.bits, row.loss, -row.agreement

    def nearest(pair: tuple[CodecRow, Distilled]) -> tuple[float, ...]:
        row = pair[0]
        return row.loss, -row.agreement, row.bits

    if budget_bits is not None:
        return min((pair for pair in found if pair[0].bits <= budget_bits), key=nearest)
    fine = [pair for pair in found if pair[0].loss <= max_loss]
    return min(fine, key=fewest) if fine else min(found, key=nearest)


def _recorded(made: Distilled, chosen: CodecRow) -> Distilled:
    """Return the set with the row that was chosen in its provenance."""
    provenance = {**made.provenance, "compression": chosen.record()}
    return dataclasses.replace(made, provenance=provenance)
