"""Which arrays or files belong together, found by their names."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cvxdistill.embeddings.places import ALL, ORDER, PARTS
from cvxdistill.errors import InputError

FEATURES = ("features", "embeddings", "x")
LABELS = ("labels", "y")
WEIGHTS = ("weights",)


@dataclasses.dataclass(frozen=True)
class ArrayPair:
    """The names of the arrays that make up one split, shard by shard.

    Attributes:
        examples: names of images or features.
        labels: names of their labels, in the same order; empty where there are none.
        weights: names of their weights, in the same order; empty where there are none.
    """

    examples: tuple[str, ...]
    labels: tuple[str, ...]
    weights: tuple[str, ...] = ()


def pair_arrays(
    names: Iterable[str],
    *,
    place: Path | str,
    examples: Sequence[str] = FEATURES,
    labels: Sequence[str] = LABELS,
    weights: Sequence[str] = WEIGHTS,
    need_labels: bool = True,
) -> dict[str, ArrayPair]:
    """Find which arrays are examples, labels and weights of which split, by their names.

    Args:
        names: names of all arrays: one of the words for examples, labels or weights, with a split
            in front or behind (`train_features`, `x_test`) or none, and with the number of a shard
            at the end (`features_0`, `features_0000`) or none. Other names are passed over.
        place: where they lie, for messages.
        examples: words for examples.
        labels: words for labels.
        weights: words for weights.
        need_labels: whether examples without labels are refused.

    Returns:
        The splits, in the order train, validation, test; or `all` alone.

    Raises:
        InputError: no pair, two kinds of examples, examples without labels or the reverse, or
            arrays both divided and undivided.

    Example:
        >>> names = ["features_10", "labels_10", "features_9", "labels_9"]
        >>> pair_arrays(names, place="toy")["all"].examples
        ('features_9', 'features_10')
    """
    words = sorted((*examples, *labels, *weights), key=len, reverse=True)
    either, splits = "|".join(map(re.escape, words)), "|".join(PARTS)
    pattern = re.compile(
        rf"(?:(?P<before>{splits})_)?(?P<word>{either})(?:_(?P<after>{splits}))?(?:_(?P<shard>\d+))?",
        re.IGNORECASE,
    )
    listed = sorted(names)
    spelt = {word.lower(): word for word in words}
    found: dict[str, dict[str, dict[int, str]]] = {}
    for name in listed:
        match = pattern.fullmatch(name)
        if match is None or (match["before"] and match["after"]):
            continue
        split = PARTS.get((match["before"] or match["after"] or "").lower(), ALL)
        shard = -1 if match["shard"] is None else int(match["shard"])
        shards = found.setdefault(split, {}).setdefault(spelt[match["word"].lower()], {})
        if shard in shards:
            raise InputError(
                f"{place}: `{shards[shard]}` and `{name}` are the same shard. Remove one of them."
            )
        shards[shard] = name
    kinds = (examples, labels, weights)
    pairs = {
        split: _pair(present, kinds, f"{place}", split, need_labels=need_labels)
        for split, present in found.items()
    }
    if not pairs:
        beside = f" with {' or '.join(labels)}" if need_labels else ""
        raise InputError(
            f"{place} must hold {_either(examples)}{beside}; got "
            f"{', '.join(listed[:8]) or 'nothing'}. Rename them."
        )
    if ALL in pairs and len(pairs) > 1:
        raise InputError(
            f"{place} must hold either train and test arrays or undivided ones; got both. "
            "Remove one kind."
        )
    return {split: pairs[split] for split in (ALL, *ORDER) if split in pairs}


def pair_told(
    names: Iterable[str],
    *,
    place: Path | str,
    features: str | None,
    labels: str | None,
    weights: str | None,
) -> dict[str, ArrayPair]:
    """Pair arrays as `pair_arrays` does, by the words that a user told, or else the usual ones.

    Args:
        names: names of all arrays.
        place: where they lie, for messages.
        features: the word for features, or `None`.
        labels: the word for labels, which must then be there, or `None`.
        weights: the word for weights, which must then be there, or `None`.

    Raises:
        InputError: as `pair_arrays`, or weights that were told and are not there.
    """
    pairs = pair_arrays(
        names,
        place=place,
        examples=[features] if features else FEATURES,
        labels=[labels] if labels else LABELS,
        weights=[weights] if weights else WEIGHTS,
        need_labels=labels is not None,
    )
    if weights is not None and not all(pair.weights for pair in pairs.values()):
        raise InputError(f"{place} must hold `{weights}` beside all features; got none. Add it.")
    return pairs


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _pair(
    present: dict[str, dict[int, str]],
    kinds: tuple[Sequence[str], ...],
    place: str,
    split: str,
    *,
    need_labels: bool,
) -> ArrayPair:
    chosen: list[dict[int, str]] = []
    for words, needed in zip(kinds, (True, need_labels, False), strict=True):
        here = [word for word in words if word in present]
        if len(here) > 1 or (needed and not here):
            raise InputError(
                f"{place} must hold exactly one of {', '.join(words)} for the {split} part; got "
                f"{' and '.join(here) or 'none'}. Rename or remove."
            )
        chosen.append(present[here[0]] if here else {})
    examples, *partners = chosen
    for partner in filter(None, partners):
        alone = sorted(examples.keys() ^ partner.keys())
        if alone:
            lonely = examples.get(alone[0]) or partner[alone[0]]
            raise InputError(
                f"{place}: every shard needs a partner of the same number; {lonely} has no "
                "partner. Add it."
            )
    shards = sorted(examples)
    if len(shards) > 1 and shards[0] == -1:
        raise InputError(
            f"{place} must hold either {examples[-1]} or numbered shards of it; got both. Remove "
            "one kind."
        )
    return ArrayPair(*(tuple(part[k] for k in shards if k in part) for part in chosen))
