"""A comparison of methods as tables, in the terminal and as Markdown."""

import math
import shlex
from collections.abc import Sequence

from rich.table import Table

from cvxdistill.compare import Comparison, MethodRow, Reached
from cvxdistill.evaluate import EvalRow
from cvxdistill.report.table import accuracy_cell

FULL = "full data"
# Longer names of methods are folded before numbers are.
WIDEST = 26
Cells = list[list[str]]


def compare_table(comparison: Comparison, *, title: str = "") -> Table:
    """Return one line a method: test accuracies in percent with 95 % intervals, and the costs.

    A failed method shows `failed`; `remarks` says why. What was not measured shows `-`.
    """
    headers, lines = comparison_cells(comparison)
    return _table(headers, lines, title)


def time_tables(comparison: Comparison) -> list[Table]:
    """Return one table a network: seconds until each method reached levels of accuracy.

    No table where there is no reference method or no validation part.
    """
    tables = []
    for network, headers, lines in time_cells(comparison):
        title = f"seconds to validation accuracy, {network}"
        tables.append(_table(headers, lines, title))
    return tables


def short_names(comparison: Comparison) -> dict[str, str]:
    """Return what each method is called in tables and figures.

    Its name alone where no other method has that name, else all that the user wrote.
    """
    names = [row.method.partition(":")[0] for row in comparison.rows]
    return {
        row.method: name if names.count(name) == 1 else row.method
        for row, name in zip(comparison.rows, names, strict=True)
    }


def remarks(comparison: Comparison) -> list[str]:
    """Return a line for each failure, and for each method that took longer than its budget."""
    found = []
    names = short_names(comparison)
    budget = comparison.budget
    for row in comparison.rows:
        name = names[row.method]
        if row.failed:
            found.append(f"{name} failed: {row.reason}")
        if budget is not None and row.seconds is not None and row.seconds > 1.05 * budget:
            found.append(
                f"{name} took {seconds_text(row.seconds)} s, over its budget of {budget:g} s: it "
                "takes no steps that could be stopped, or chose on validation at the end"
            )
        found += [
            f"{name}, {cell.setting} {cell.network}: {cell.status}"
            for cell in row.evaluations
            if cell.status != "ok"
        ]
    found += [
        f"full data, {cell.setting} {cell.network}: {cell.status}"
        for cell in comparison.full
        if cell.status != "ok"
    ]
    return found


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as a page of Markdown: tables, failures, and how it was made."""
    problem, yardstick = comparison.problem, comparison.yardstick
    budget = "no limit" if comparison.budget is None else f"{comparison.budget:g} s"
    parts = [
        f"# Comparison on {problem['target']}",
        f"{problem['examples']} base examples of {problem['base']}, {problem['target_examples']:,} "
        f"target examples; budget of each method: {budget}. Test accuracy in percent with the half "
        f"width of a 95 % interval over {yardstick['seeds']} repetitions, fewer where the pool has "
        "fewer extractors.",
        _markdown(*comparison_cells(comparison)),
    ]
    notes = remarks(comparison)
    parts += ["\n".join(f"- {line}" for line in notes)] if notes else []
    names = short_names(comparison)
    reference = names.get(comparison.reference, "")
    for network, headers, lines in time_cells(comparison):
        parts += [
            f"## Seconds to validation accuracy, {network}",
            f"Relative to what `{reference}` ends with. In brackets: how many times "
            "sooner than it. Labels are looked at where they were kept, so times are upper bounds.",
            _markdown(headers, lines),
        ]
    stored = {row.stored["images"]: None for row in comparison.rows if row.stored}
    made = comparison.environment
    parts += [
        "## How it was made",
        "\n".join(
            [
                *([f"- command: `{shlex.join(comparison.command)}`"] if comparison.command else []),
                f"- machine: {made['device_name']}, {made['threads']} threads; {made['platform']}",
                f"- versions: cvxdistill {made['cvxdistill']}, Python {made['python']}, PyTorch "
                f"{made['torch']}, NumPy {made['numpy']}",
                *[f"- {names[row.method]}: `{row.options}`" for row in comparison.rows],
                f"- images stored: {'; '.join(stored) or 'none'}",
                f"- extractors: {problem['extractors']}; head: `{problem['head']}`; network that "
                f"methods train: {problem['student']}; seed {problem['seed']}",
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def comparison_cells(comparison: Comparison) -> tuple[list[str], Cells]:
    """Return headers and lines of the main table, as text."""
    settings: list[tuple[str, str | None, str]] = []
    measured = [*comparison.full, *(r for row in comparison.rows for r in row.evaluations)]
    for setting, header in (("same_extractor", "head, seen"), ("unseen_extractor", "head, unseen")):
        if any(row.setting == setting for row in measured):
            settings.append((setting, None, header))
    settings += [("students", network, network) for network in comparison.networks()]
    on_gpu = any(row.peak_gpu_memory is not None for row in comparison.rows)
    headers = [
        "method",
        *(header for _, _, header in settings),
        "seconds",
        "peak MB",
        *(["GPU MB"] if on_gpu else []),
        "passes",
        "kbit images + labels",
    ]
    lines, names = [], short_names(comparison)
    for row in comparison.rows:
        cells = [
            "failed" if row.failed else accuracy_cell(row.evaluation(*s[:2])) for s in settings
        ]
        lines.append([names[row.method], *cells, *_costs(row, on_gpu=on_gpu)])
    if comparison.full:
        cells = [accuracy_cell(_find(comparison.full, *setting[:2])) for setting in settings]
        lines.append([FULL, *cells, *["-"] * (4 + on_gpu)])
    return headers, lines


def time_cells(comparison: Comparison) -> list[tuple[str, list[str], Cells]]:
    """Return network, headers and lines of each table of times, as text."""
    found, names = comparison.times(), short_names(comparison)
    tables = []
    for network in dict.fromkeys(one.network for one in found):
        here = [one for one in found if one.network == network]
        levels = list(dict.fromkeys((one.below, one.accuracy) for one in here))
        headers = ["method"] + [_level(below, accuracy) for below, accuracy in levels]
        lines = []
        for method in dict.fromkeys(one.method for one in here):
            own = {one.below: one for one in here if one.method == method}
            times = [_time(own[below], comparison.reference) for below, _ in levels]
            lines.append([names[method], *times])
        tables.append((network, headers, lines))
    return tables


def _level(below: float, accuracy: float) -> str:
    less = f"{100 * accuracy:.1f} %"
    return f"{less} (-{100 * below:g})" if below else f"{less} (its end)"


def _time(one: Reached, reference: str) -> str:
    if one.seconds is None:
        return "-"
    text = seconds_text(one.seconds)
    if one.speedup is None or one.method == reference:
        return text
    ratio = f"{one.speedup:,.0f}" if one.speedup >= 100 else f"{one.speedup:.3g}"
    return f"{text} ({ratio}x)"


def seconds_text(seconds: float) -> str:
    """Return seconds with about three digits.

    Example:
        >>> [seconds_text(value) for value in (0.0123, 1.234, 56.78, 1234.5)]
        ['0.012', '1.23', '56.8', '1234']
    """
    if seconds <= 0:
        return "0"
    digits = min(max(2 - math.floor(math.log10(seconds)), 0), 3)
    return f"{seconds:.{digits}f}"


def _costs(row: MethodRow, *, on_gpu: bool) -> list[str]:
    gpu = [_megabytes(row.peak_gpu_memory)] if on_gpu else []
    bits = "-"
    if row.bits is not None:
        bits = f"{row.bits.images / 1000:,.1f} + {row.bits.labels / 1000:,.1f}"
    return [
        "-" if row.seconds is None else seconds_text(row.seconds),
        _megabytes(row.peak_memory),
        *gpu,
        "-" if row.target_passes is None else f"{row.target_passes:.4g}",
        bits,
    ]


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f}"


def _find(rows: Sequence[EvalRow], setting: str, network: str | None) -> EvalRow | None:
    found = [row for row in rows if row.setting == setting and network in (None, row.network)]
    return found[0] if found else None


def _table(headers: list[str], lines: Cells, title: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    widest = min(max(len(line[0]) for line in lines), WIDEST) if lines else None
    table.add_column(headers[0], overflow="fold", min_width=widest)
    for header in headers[1:]:
        table.add_column(header, justify="right", overflow="fold")
    for line in lines:
        table.add_row(*line, style="dim" if line[0] == FULL else None)
    return table


def _markdown(headers: list[str], lines: Cells) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    rule = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join([line(headers), line(rule), *map(line, lines)])
