"""Time functions side by side: warm up, take turns, report medians."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping

# A shorter measurement than this is repeated inside the clock.
SHORTEST_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    Attributes:
        first: of the very first call, which builds whatever is built once.
        median: over the rounds.
        fastest: over the rounds.
        calls: how many calls were timed in all.
    """

    first: float
    median: float
    fastest: float
    calls: int


def time_in_turns(
    functions: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float
) -> dict[str, Timing]:
    """Time each function `rounds` times, taking turns so that a slow minute hits them all.

    Args:
        functions: by name.
        rounds: most rounds; slow functions sit out once they have used up `seconds`.
        seconds: budget of one function; each gets three rounds at least.
    """
    first: dict[str, float] = {}
    inner: dict[str, int] = {}
    for name, function in functions.items():
        first[name] = _seconds(function, 1)
        again = _seconds(function, 2)
        inner[name] = max(1, round(SHORTEST_SECONDS / max(again, 1e-9)))
    found: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds):
        for name, function in functions.items():
            spent = sum(found[name]) * inner[name]
            if turn < 3 or spent < seconds:
                found[name].append(_seconds(function, inner[name]))
    return {
        name: Timing(
            first=first[name],
            median=statistics.median(values),
            fastest=min(values),
            calls=len(values) * inner[name],
        )
        for name, values in found.items()
    }


def _seconds(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls
