"""Evaluation rows as a table in the terminal."""

from collections.abc import Sequence

from rich.table import Table

from cvxdistill.evaluate import EvalRow

COLUMNS = ("hard", "smoothed", "distilled", "full")
SETTINGS = {
    "same_extractor": "head, same extractor",
    "unseen_extractor": "head, unseen extractor",
    "students": "student from scratch",
}


def accuracy_table(rows: Sequence[EvalRow], *, title: str = "") -> Table:
    """Return test accuracies in percent with 95 % intervals.

    One line is a setting and network, one column a label set. Students of another optimiser or
    number of steps have lines of their own.

    A failed row shows `failed`; what was not measured shows `-`.
    """
    present = [name for name in COLUMNS if any(row.labels == name for row in rows)]
    table = Table(title=title or None, title_justify="left")
    table.add_column("test accuracy, %")
    table.add_column("network")
    for name in present:
        label = {"hard": "true labels", "full": "full data"}.get(name, name)
        table.add_column(label, justify="right", style="bold" if name == "distilled" else None)
    lines: dict[tuple[str, str], dict[str, EvalRow]] = {}
    for row in rows:
        lines.setdefault((row.setting, _trained(row)), {})[row.labels] = row
    for (setting, network), cells in lines.items():
        shown = [accuracy_cell(cells.get(name)) for name in present]
        table.add_row(SETTINGS.get(setting, setting), network, *shown)
    return table


def _trained(row: EvalRow) -> str:
    """Return the network, and how it was trained where that is not as usual."""
    if row.main:
        return row.network
    steps = "" if row.step_factor == 1 else f", steps x {row.step_factor:g}"
    return f"{row.network}, {row.optimiser}{steps}"


def accuracy_cell(row: EvalRow | None) -> str:
    """Return one accuracy in percent with its half width, `failed`, or `-` if not measured."""
    if row is None:
        return "-"
    if row.accuracy is None or row.accuracy_ci is None:
        return "failed"
    half = (row.accuracy_ci[1] - row.accuracy_ci[0]) / 2
    spread = f" ± {100 * half:.1f}" if len(row.values) > 1 else ""
    return f"{100 * row.accuracy:.1f}{spread}"
