"""The figure: accuracy on unseen extractors against pool size."""

from pathlib import Path
from typing import Any

from benchmarks.pool.summary import over_unseen

# Colours that stay apart in print and for colour-blind readers; a prior is dashed.
COLOURS = {"squared": "#0072B2", "taught": "#009E73", "entropy": "#D55E00"}
TITLES = {
    "squared": "exact solve",
    "taught": "exact solve, teachers' logits as targets",
    "entropy": "cross-entropy",
}


def draw_figure(results: dict[str, Any], path: Path) -> None:
    """Write the figure as PNG: means with 95 % intervals over unseen extractors."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    draws, sizes = results["draws"], results["sizes"]
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kind, colour in COLOURS.items():
        for prior in ("", ", prior"):
            found = [over_unseen(draws, f"{kind}{prior}, pool of {size}") for size in sizes]
            axes.plot(
                sizes,
                [100 * one.mean for one in found],
                color=colour,
                linestyle="--" if prior else "-",
                marker="s" if prior else "o",
                markersize=4,
                markerfacecolor="white" if prior else colour,
                label=TITLES[kind] + (" with prior" if prior else ""),
            )
            axes.fill_between(
                sizes,
                [100 * one.low for one in found],
                [100 * one.high for one in found],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
    for name, style in (("teachers", "-."), ("true labels", ":")):
        one = over_unseen(draws, name)
        label = "teachers' logits as labels" if name == "teachers" else name
        axes.axhline(100 * one.mean, color="#555555", linestyle=style, linewidth=1.2, label=label)
        axes.axhspan(100 * one.low, 100 * one.high, color="#555555", alpha=0.1, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("extractors that the labels were solved over")
    axes.set_ylabel("test accuracy on unseen extractors (%)")
    axes.set_title("MNIST, 100 base examples, ridge head of unseen random ConvNets", fontsize=10)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=8, loc="center right", bbox_to_anchor=(1.0, 0.38))
    figure.savefig(path, dpi=150)
