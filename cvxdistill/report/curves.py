"""Figures of a comparison: accuracy against seconds, and against bits stored."""

from pathlib import Path
from typing import Any

from cvxdistill.compare import Comparison, MethodRow
from cvxdistill.evaluate import EvalRow
from cvxdistill.files import atomic_file
from cvxdistill.report.comparison import short_names

# Colours that stay apart for colour-blind readers; markers and dashes that stay apart in print.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"),
    *("#E69F00", "#56B4E9", "#882255", "#777777", "#332288"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "d")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)))
INK, GRID = "#222222", "#dddddd"
FORMATS = ("png", "svg")
# Labels that cost nothing would stretch the axis of time without end.
DECADES = 3
PER_LINE = 4


def draw_seconds(comparison: Comparison, path: str | Path) -> list[Path]:
    """Draw validation accuracy against seconds of work, with 95 % bands, as PNG and SVG.

    One panel a network. A method that takes no steps has one point, and a thin line from there on,
    since its labels stay as good as they are.

    Args:
        comparison: what to draw.
        path: of the files without their endings; their folder must exist.

    Returns:
        The files written; none where there are no curves.

    Raises:
        InputError: a file cannot be written.
    """
    networks = comparison.curve_networks()
    times = [point.seconds for row in comparison.rows for point in row.curve]
    if not networks or not times:
        return []
    last = max(*times, 1e-3)
    first = max(min(times), last / 10**DECADES)
    (figure, panels), names = _panels(networks), short_names(comparison)
    for axes, network in zip(panels, networks, strict=True):
        for index, row in enumerate(comparison.rows):
            name = names[row.method]
            _draw_curve(axes, row, network, _style(index), name=name, first=first, last=last)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(first / 1.5, last * 1.5)
        axes.set_xlabel("seconds of work", fontsize=9)
    panels[0].set_ylabel("validation accuracy (%)", fontsize=9)
    return _finish(figure, panels, comparison, Path(path))


def draw_bits(comparison: Comparison, path: str | Path) -> list[Path]:
    """Draw test accuracy with 95 % intervals against bits stored, as PNG and SVG.

    One panel a network. Methods that store equally much stand side by side over the same number.

    Args:
        comparison: what to draw.
        path: of the files without their endings; their folder must exist.

    Returns:
        The files written; none where nothing was measured.

    Raises:
        InputError: a file cannot be written.
    """
    students = comparison.networks()
    setting = "students" if students else "unseen_extractor"
    networks = students or comparison.networks(setting)
    sizes = sorted({row.bits.total for row in comparison.rows if row.bits is not None})
    if not networks or not sizes:
        return []
    (figure, panels), names = _panels(networks), short_names(comparison)
    for axes, network in zip(panels, networks, strict=True):
        for index, row in enumerate(comparison.rows):
            cell = row.evaluation(setting, network)
            if cell is None or cell.accuracy is None or row.bits is None:
                continue
            group = [r.method for r in comparison.rows if r.bits and r.bits.total == row.bits.total]
            place = sizes.index(row.bits.total) + _aside(group.index(row.method), len(group))
            _draw_point(axes, place, cell, _style(index), names[row.method])
        axes.set_xticks(range(len(sizes)), [f"{size / 1000:,.0f}" for size in sizes])
        axes.set_xlim(-0.6, len(sizes) - 0.4)
        axes.set_xlabel("kbit stored, images and labels", fontsize=9)
    panels[0].set_ylabel("test accuracy (%)", fontsize=9)
    return _finish(figure, panels, comparison, Path(path))


def _aside(index: int, count: int) -> float:
    """Return how far from the middle of its group a method stands."""
    return min(0.12, 0.7 / max(count - 1, 1)) * (index - (count - 1) / 2)


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
        "markersize": 5.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "linewidth": 1.4,
    }


def _draw_curve(
    axes: Any,
    row: MethodRow,
    network: str,
    style: dict[str, Any],
    *,
    name: str,
    first: float,
    last: float,
) -> None:
    cells = [(point.seconds, point.row(network)) for point in row.curve]
    there = [(max(seconds, first), cell) for seconds, cell in cells if cell is not None]
    if not there:
        return
    times = [seconds for seconds, _ in there]
    means, lows, highs = zip(*(_percent(cell) for _, cell in there), strict=True)
    axes.plot(times, means, label=name, **style)
    if len(times) > 1:
        axes.fill_between(times, lows, highs, color=style["color"], alpha=0.13, linewidth=0)
    axes.plot(
        [times[-1], last * 1.5],
        [means[-1]] * 2,
        color=style["color"],
        linestyle=style["linestyle"],
        linewidth=0.7,
        alpha=0.8,
    )
    errors = [[means[-1] - lows[-1]], [highs[-1] - means[-1]]]
    axes.errorbar(
        times[-1:], means[-1:], errors, color=style["color"], linewidth=1, capsize=2, fmt="none"
    )


def _draw_point(axes: Any, place: float, cell: EvalRow, style: dict[str, Any], name: str) -> None:
    mean, low, high = _percent(cell)
    axes.errorbar(
        [place],
        [mean],
        [[mean - low], [high - mean]],
        label=name,
        capsize=2,
        elinewidth=1,
        **{**style, "linestyle": "none"},
    )


def _percent(cell: EvalRow) -> tuple[float, float, float]:
    assert cell.accuracy is not None
    assert cell.accuracy_ci is not None
    return 100 * cell.accuracy, 100 * cell.accuracy_ci[0], 100 * cell.accuracy_ci[1]


def _panels(names: list[str]) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(3.6 * len(names), 5.0), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(names), squeeze=False, sharey=True)
    panels = list(grid[0])
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name.replace("$", r"\$"), fontsize=9, color=INK)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, panels


def _legend_columns(labels: list[str], width: float) -> int:
    """Return how many entries fit side by side; a letter takes 0.075 inch, a marker 0.55."""
    widest = 0.55 + 0.075 * max(map(len, labels), default=0)
    return max(1, min(PER_LINE, len(labels), int(width / widest)))


def _finish(figure: Any, panels: list[Any], comparison: Comparison, path: Path) -> list[Path]:
    """Add legend and title, and write every format."""
    import matplotlib as mpl

    # The panels share this axis. Intervals may leave the range of accuracies, the axis does not.
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(low, -2.0), min(high, 102.0))
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(),
        [label.replace("$", r"\$") for label in handles],
        loc="outside lower center",
        ncols=_legend_columns(list(handles), figure.get_figwidth()),
        fontsize=8,
        frameon=False,
    )
    problem = comparison.problem
    title = f"{problem['target']}, {problem['examples']} base examples of {problem['base']}"
    figure.suptitle(title.replace("$", r"\$"), fontsize=9, color=INK)
    written = []
    # A fixed salt and no date: the same comparison gives the same files.
    with mpl.rc_context({"svg.hashsalt": "cvxdistill"}):
        for kind in FORMATS:
            file = path.with_name(f"{path.name}.{kind}")
            with atomic_file(file) as temporary:
                about = {"Date": None} if kind == "svg" else None
                figure.savefig(temporary, format=kind, dpi=150, metadata=about)
            written.append(file)
    return written
