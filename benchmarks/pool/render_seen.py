"""Turn the results of `python -m benchmarks.pool --only seen` into a page of markdown."""

from pathlib import Path
from typing import Any

from benchmarks.pool import summary
from benchmarks.pool.seen import LABELS
from benchmarks.pool.summary import percent
from benchmarks.pool.text import origin, wrapped
from cvxdistill.evaluate import interval

NAMES = {
    "true labels": "true labels",
    "teachers": "teachers' labels",
    "squared": "exact solve, squared loss",
    "entropy": "cross-entropy",
    "full data": "ridge head of all targets",
}


def render_seen(results: dict[str, Any], folder: Path) -> None:
    """Write `seen.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    teachers, first = results["teachers"], results["groups"][0]["rows"]
    draws = 1 + max(row["draw"] for row in first)
    lead = (
        "MNIST, 100 balanced random base examples, "
        f"{results['target_examples']:,} target examples. Labels are solved for one extractor, "
        "and the ridge head is fitted to them on that same extractor. The teachers are "
        f"{teachers['count']} networks `{teachers['network']}` trained for {teachers['steps']} "
        "batches of 256; their labels are tempered distributions or the logits themselves. "
        "Penalty and temperature of every label set are chosen on 5,000 validation images, with "
        "one grid of the penalty for all (cross-entropy leaves out its smallest value). Trained "
        f"extractors have seen {results['train_steps']} batches of 256. Test accuracy in percent "
        f"with a 95 % interval over {len(first) // draws} extractors, of the mean over {draws} "
        "base draws."
    )
    lines = ["# Labels for the extractor at hand", "", *wrapped(lead), "", *origin(results), ""]
    lines += summary.verdict_lines(results["verdicts"])
    kinds = (*LABELS, "full data")
    lines += ["", "| extractors | " + " | ".join(NAMES[kind] for kind in kinds) + " |"]
    lines.append("|---" * (len(kinds) + 1) + "|")
    for group in results["groups"]:
        cells = [percent(interval(by_extractor(group["rows"], kind))) for kind in kinds]
        lines.append(f"| {group['extractors']} | " + " | ".join(cells) + " |")
    (folder / "seen.md").write_text("\n".join(lines) + "\n")


def by_extractor(rows: list[dict[str, Any]], kind: str) -> list[float]:
    """Return the mean over base draws, one an extractor."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["extractor"], []).append(row["accuracies"][kind])
    return [sum(values) / len(values) for values in found.values()]
