"""Means and 95 % intervals: over unseen extractors, and over draws of the base examples."""

from collections.abc import Sequence
from typing import Any

from cvxdistill.evaluate import Interval, interval

KINDS = {
    "squared": "exact solve, true classes",
    "taught": "exact solve, teachers' logits as targets",
    "entropy": "cross-entropy, true classes",
    "teachers": "teachers' logits as labels",
}
Draws = Sequence[dict[str, Any]]


def over_unseen(draws: Draws, name: str) -> Interval:
    """Return the interval over unseen extractors of the mean over base draws."""
    return interval(_by_extractor(draws, name))


def over_bases(draws: Draws, name: str) -> Interval:
    """Return the interval over base draws of the mean over unseen extractors."""
    return interval([interval(draw[name]["accuracies"]).mean for draw in draws])


def ahead(draws: Draws, name: str, rival: str) -> tuple[Interval, Interval]:
    """Return paired differences: over unseen extractors, and over base draws."""
    pairs = zip(_by_extractor(draws, name), _by_extractor(draws, rival), strict=True)
    by_base = [
        interval(draw[name]["accuracies"]).mean - interval(draw[rival]["accuracies"]).mean
        for draw in draws
    ]
    return interval([one - other for one, other in pairs]), interval(by_base)


def _by_extractor(draws: Draws, name: str) -> list[float]:
    columns = zip(*(draw[name]["accuracies"] for draw in draws), strict=True)
    return [sum(values) / len(values) for values in columns]


def percent(found: Interval) -> str:
    """Return `mean [low, high]` in percent, or the mean alone where there is no interval."""
    # Adding zero makes a rounded -0.0 a plain zero.
    mean, low, high = (
        f"{round(100 * value, 2) + 0.0:.2f}" for value in (found.mean, found.low, found.high)
    )
    return mean if found.count == 1 else f"{mean} [{low}, {high}]"


def pool_verdicts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the best label set, and whether it is as good as was asked for."""
    draws, size = results["draws"], max(results["sizes"])
    best = f"{_best_on_validation(results)}, pool of {size}"
    start = f"best on validation, {title(best)}"
    found = [
        {
            "what": f"{start}: 94 % or more on unseen extractors",
            "measured": percent(over_unseen(draws, best)),
            "met": over_unseen(draws, best).mean >= 0.94,
        }
    ]
    for rival in ("teachers", f"squared, pool of {size}"):
        for function, kind in ((over_unseen, "unseen extractors"), (over_bases, "base draws")):
            high, low = function(draws, rival), function(draws, best)
            if low.count > 1:
                found.append(
                    {
                        "what": f"above {title(rival)}, intervals over {kind} apart",
                        "measured": f"{percent(low)} against {percent(high)}",
                        "met": low.low > high.high,
                    }
                )
        difference = ahead(draws, best, rival)[1]
        found.append(
            {
                "what": f"ahead of {title(rival)}, paired difference over base draws above 0",
                "measured": percent(difference),
                "met": difference.low > 0,
            }
        )
    return found


def _best_on_validation(results: dict[str, Any]) -> str:
    """Return the kind of labels that was ahead on validation, at the largest pool with a choice.

    The test split must not say which label set is the best one.
    """
    choices = results["choices"]
    scores: dict[int, dict[str, float]] = {}
    for name, one in choices.items():
        series, mark, size = name.partition(", pool of ")
        if mark and one["tried"]:
            found = max(tried["accuracy"] for tried in one["tried"])
            scores.setdefault(int(size), {})[series] = found
    # A cross-entropy over many extractors has no choice of its own; compare where all have one.
    most = max(len(found) for found in scores.values())
    at_size = scores[max(size for size, found in scores.items() if len(found) == most)]
    return max(at_size, key=lambda series: at_size[series])


def entropy_verdicts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return whether the cross-entropy is not worse, and proven optimal."""
    found = []
    for dataset in results["datasets"]:
        draws, name = dataset["draws"], dataset["dataset"]
        over = ahead(draws, "entropy", "squared")[0]
        gap = max(draw["entropy"]["gap_bound"] for draw in draws)
        found += [
            {
                "what": f"{name}: not worse than the squared loss, paired difference over unseen "
                "extractors",
                "measured": percent(over),
                "met": over.mean >= 0,
            },
            {
                "what": f"{name}: largest proven gap at most 1e-4 of the objective",
                "measured": f"{gap:.1e}",
                "met": gap <= 1e-4,
            },
        ]
    return found


def title(name: str) -> str:
    """Return a label set's name as pages say it."""
    kind, *rest = name.split(", ")
    return ", ".join([KINDS.get(kind, kind), *rest])


def verdict_lines(verdicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return one line of markdown a verdict."""
    return [
        f"- {'met' if one['met'] else '**not met**'}: {one['what']} ({one['measured']})"
        for one in verdicts
    ]
