"""What two sets of moments must share before they may be added."""

from cvxdistill.errors import InputError


def agreed_kind(one: str, other: str) -> str:
    """Return the kind of the targets of both, `none` where there are none yet.

    Raises:
        InputError: classes and real targets.
    """
    if "none" not in (one, other) and one != other:
        raise InputError(
            f"targets must be either classes or real values throughout; got {one} before and "
            f"{other} now. Give classes as one-hot floats, or keep two sets of moments."
        )
    return other if one == "none" else one


def agreed_names(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the targets of both, of one where the other does not know them.

    Raises:
        InputError: other names, or another order of them.
    """
    if one and other and one != other:
        here, there = next(pair for pair in zip(one, other, strict=True) if pair[0] != pair[1])
        raise InputError(
            "moments to be added must agree in the names of classes or targets, in order; got "
            f"`{here}` and `{there}`. Store class names beside both sets."
        )
    return one or other


def agreed_extractor(one: str | None, other: str | None) -> str | None:
    """Return the extractor's fingerprint of both, of one where the other does not know it.

    Raises:
        InputError: two extractors.
    """
    if None not in (one, other) and one != other:
        raise InputError(
            "moments to be added must come from one extractor; got the fingerprints "
            f"{one} and {other}. Embed both sets with the same one."
        )
    return other if one is None else one
