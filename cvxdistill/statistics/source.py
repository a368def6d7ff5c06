"""Which rows of which set moments were taken of, so that none is counted twice."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from cvxdistill.errors import InputError


class Source(BaseModel):
    """Consecutive rows of one set of embeddings, as moments remember them.

    Attributes:
        name: what was read, as it was given.
        fingerprint: of the set: equal for equal layout, first and last rows, wherever it lies.
        start: first row.
        stop: row after the last.
        total: rows of the whole set.
        shards: name and number of rows of each shard that was read, in order.
        class_weight: how classes were weighed, `none` or `balanced`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fingerprint: str
    start: int
    stop: int
    total: int
    shards: tuple[tuple[str, int], ...] = ()
    class_weight: str = "none"

    @property
    def complete(self) -> bool:
        """Whether these are all rows of the set."""
        return self.start == 0 and self.stop == self.total

    def __str__(self) -> str:
        return f"rows {self.start} to {self.stop} of the {self.total} of {self.name}"


def join_sources(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Return sources in order of first appearance, with rows that follow one another joined.

    Raises:
        InputError: rows that come twice, or one set whose classes were weighed in two ways.

    Example:
        >>> first = Source(name="a", fingerprint="f", start=0, stop=5, total=10)
        >>> second = Source(name="a", fingerprint="f", start=5, stop=10, total=10)
        >>> [joined] = join_sources([second, first])
        >>> joined.start, joined.stop, joined.complete
        (0, 10, True)
    """
    sets: dict[str, list[Source]] = {}
    for source in sources:
        sets.setdefault(source.fingerprint, []).append(source)
    return tuple(part for parts in sets.values() for part in _joined(parts))


def _joined(parts: list[Source]) -> list[Source]:
    ordered = sorted(parts, key=lambda part: (part.start, part.stop))
    done: list[Source] = []
    for part in ordered:
        last = done[-1] if done else None
        if last is not None and part.class_weight != last.class_weight:
            raise InputError(
                "moments of parts of one set must weigh classes in one way; got "
                f"{last.class_weight} and {part.class_weight} for {part.name}. Compute one of them "
                "again."
            )
        if last is not None and part.start < last.stop:
            raise InputError(
                f"rows must be counted once; got rows {part.start} to "
                f"{min(part.stop, last.stop)} of {part.name} twice. Leave one of the parts out."
            )
        if last is not None and part.start == last.stop:
            shards = _joined_shards(last.shards, part.shards)
            done[-1] = last.model_copy(update={"stop": part.stop, "shards": shards})
        else:
            done.append(part)
    return done


def _joined_shards(
    one: tuple[tuple[str, int], ...], other: tuple[tuple[str, int], ...]
) -> tuple[tuple[str, int], ...]:
    """Return both lists, with a shard that was cut between them whole again."""
    if one and other and one[-1][0] == other[0][0]:
        name, rows = one[-1]
        return (*one[:-1], (name, rows + other[0][1]), *other[1:])
    return (*one, *other)
