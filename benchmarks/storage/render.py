"""Turn the results of `python -m benchmarks.storage` into a page of markdown."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvxdistill.evaluate import Interval, interval

TITLES = {
    ("mnist", "scores"): "MNIST, exact labels (scores)",
    ("mnist", "distribution"): "MNIST, exact labels on the simplex (distributions)",
    ("emnist-letters", "scores"): "EMNIST letters, exact labels (scores)",
    ("emnist-letters", "distribution"): "EMNIST letters, exact labels on the simplex",
}
SETTINGS = {"own": "same extractor", "unseen": "unseen extractors", "students": "LeNet students"}
ALLOWED = 0.2


def verdicts(tables: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for every table and setting whether 8-bit labels lose at most 0.2 points."""
    found = []
    for table in tables:
        row = next(one for one in table["rows"] if one["codec"] == "int8" and not one["feedback"])
        for key, setting in SETTINGS.items():
            lost = loss(table, row, key)
            if lost is not None:
                where = f"{table['dataset']}, {table['kind']}, {setting}"
                what = f"{where}: 8-bit labels lose at most {ALLOWED} points"
                measured = shown(lost, digits=3)
                found.append({"what": what, "measured": measured, "met": lost.mean <= ALLOWED})
    return found


def loss(table: dict[str, Any], row: dict[str, Any], key: str) -> Interval | None:
    """Return points lost against float64, paired by base draw and extractor or student."""
    if row[key] is None:
        return None
    pairs: list[tuple[float, float]] = []
    for before, after in zip(table["rows"][0][key], row[key], strict=True):
        # Students of some codecs are the first ones of those of float64.
        pairs += zip(_flat([before]), _flat([after]), strict=False)
    return interval([100 * (before - after) for before, after in pairs])


def _flat(values: list[Any] | None) -> list[float]:
    if values is None:
        return []
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def shown(found: Interval, *, digits: int = 2) -> str:
    """Return a mean with its interval."""
    # Added to zero, so that what is rounded to nothing has no sign.
    mean, low, high = (round(one, digits) + 0.0 for one in (found.mean, found.low, found.high))
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def render(results: dict[str, Any], folder: Path) -> None:
    """Write `storage.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Bits of labels against accuracy", "", *_about(results), ""]
    for verdict in results["verdicts"]:
        met = "met" if verdict["met"] else "not met"
        lines.append(f"- {met}: {verdict['what']} ({verdict['measured']})")
    for table in results["tables"]:
        lines += ["", *_table(table), "", *_choices(table)]
    (folder / "storage.md").write_text("\n".join(lines) + "\n")


def _about(results: dict[str, Any]) -> list[str]:
    options = results["options"]
    text = (
        "Labels of balanced random base examples, solved for a ConvNet of width 32 trained on "
        "the target, then stored by every codec, without and with feedback (rounding errors of "
        "one row made up for by the others, with the metric of a few thousand training "
        "examples). The ridge head is fitted to what comes out of the store, on that extractor "
        f"and on {options['unseen']} freshly drawn ConvNets of that width, and read on 10,000 "
        f"test images; {options['student_seeds']} LeNets a base draw (five times as many for "
        "the labels as they were and at 8 bits) are trained from scratch, with steps and scale "
        "chosen on validation for the labels as they were. Accuracy is the mean in percent "
        f"over {options['draws']} base draws. *Loses* is the loss against float64 in points, "
        "paired by base draw and extractor or student, with its 95 % interval over all pairs: "
        "positive where the codec is worse. Bits an entry include all side information. Within "
        "a budget the codec is chosen on validation examples, on the same extractor and "
        f"{options['held_out']} held-out ones, as `cvxdistill compress` does."
    )
    caution = (
        "Pairs of one base draw are not independent of one another, so that the intervals are "
        "somewhat too narrow. Of students two a base draw were trained at first; they gave 8-bit "
        "distributions of EMNIST letters a loss of 0.28 [-0.23, 0.79], too wide to tell. Five "
        "times as many, those two among them, were then trained at 8 bits and float64 for all "
        "four tables."
    )
    environment = ", ".join(f"{key} {value}" for key, value in results["environment"].items())
    origin = f"Written by `{results['command']}` from its JSON; {environment}."
    return [*_wrapped(text), "", *_wrapped(caution), "", *_wrapped(origin)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)


def _table(table: dict[str, Any]) -> list[str]:
    images = table["image_bits"] / 1000
    lines = [
        f"## {TITLES[table['dataset'], table['kind']]}",
        "",
        f"{table['examples']} examples, {table['classes']} classes; the images take "
        f"{images:,.0f} kbit, one-hot labels "
        f"{(table['classes'] - 1).bit_length() / table['classes']:.2f} bits an entry.",
        "",
        "| codec | feedback | kbit | bits an entry | relative error | same extractor | loses "
        "| unseen extractors | loses | LeNet students | loses |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(table["rows"], key=lambda row: -row["bits"]):
        cells = [
            f"`{row['codec']}`",
            "yes" if row["feedback"] else "",
            f"{row['bits'] / 1000:.1f}",
            f"{row['bits_per_entry']:.2f}",
            f"{interval(row['relative_error']).mean:.1e}" if row["relative_error"][0] else "0",
        ]
        for key in SETTINGS:
            lost, values = loss(table, row, key), _flat(row[key])
            cells.append(f"{100 * interval(values).mean:.2f}" if values else "")
            cells.append("" if lost is None or row["codec"] == "float64" else shown(lost))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _choices(table: dict[str, Any]) -> list[str]:
    lines = [
        "| budget, bits an entry | chosen on validation | bits an entry | same extractor loses "
        "| unseen extractors lose |",
        "|---|---|---|---|---|",
    ]
    for choice in table["choices"]:
        if choice["codec"] is None:
            lines.append(f"| {choice['budget']:g} | none takes so little | | | |")
            continue
        row = next(
            one
            for one in table["rows"]
            if (one["codec"], one["feedback"]) == (choice["codec"], choice["feedback"])
        )
        lost = [loss(table, row, key) for key in ("own", "unseen")]
        how = ", feedback" if choice["feedback"] else ""
        cells = [shown(one) for one in lost if one is not None]
        lines.append(
            f"| {choice['budget']:g} | `{choice['codec']}`{how} | {choice['bits_per_entry']:.2f} | "
            f"{' | '.join(cells)} |"
        )
    return lines
