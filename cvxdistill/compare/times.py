"""How soon each method reaches what a reference method ends with."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from cvxdistill.compare.rows import MethodRow

# Points of accuracy below the reference at which times are read.
BELOW = (0.05, 0.02, 0.01, 0.0)
FAVOURITE = "online-ridge"


@dataclasses.dataclass(frozen=True)
class Reached:
    """When a method first had a validation accuracy.

    Attributes:
        method: as the user wrote it.
        network: on which the accuracy is measured.
        below: how far under the reference's final accuracy.
        accuracy: to be reached, in [0, 1].
        seconds: of the first labels that reach it; `None` if none did.
        speedup: the reference's own time to that accuracy as a multiple of this one.
    """

    method: str
    network: str
    below: float
    accuracy: float
    seconds: float | None
    speedup: float | None

    def record(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return dataclasses.asdict(self)


def choose_reference(rows: Sequence[MethodRow]) -> str:
    """Return the method to be timed against: `online-ridge`, or the first one with a curve."""
    there = [row for row in rows if row.curve]
    favourites = [row.method for row in there if row.method.partition(":")[0] == FAVOURITE]
    moving = [row.method for row in there if len(row.curve) > 1]
    return next(iter([*favourites, *moving]), "")


def time_to_accuracy(rows: Sequence[MethodRow], reference: str) -> list[Reached]:
    """Return for each network, level and method the first second at which it was reached.

    Levels are the accuracy that the method `reference` ends with, and somewhat less. Labels are
    looked at where they were kept, so a time is an upper bound. A mean over students counts, not
    its interval.
    """
    found: list[Reached] = []
    chosen = next((row for row in rows if row.method == reference and row.curve), None)
    if chosen is None:
        return found
    for network in networks_of(rows):
        last = chosen.curve[-1].row(network)
        if last is None or last.accuracy is None:
            continue
        for below in BELOW:
            level = last.accuracy - below
            own = _first(chosen, network, level)
            for row in rows:
                seconds = _first(row, network, level)
                ratio = own / seconds if own is not None and seconds else None
                found.append(Reached(row.method, network, below, level, seconds, ratio))
    return found


def networks_of(rows: Sequence[MethodRow]) -> list[str]:
    """Return the networks that curves have, in the order of the rows."""
    points = [point for row in rows for point in row.curve]
    return list(dict.fromkeys(row.network for point in points for row in point.rows))


def _first(row: MethodRow, network: str, level: float) -> float | None:
    for point in row.curve:
        found = point.row(network)
        if found is not None and found.accuracy is not None and found.accuracy >= level:
            return point.seconds
    return None
