"""A sheet of the base images, each with its labels as bars."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.files import atomic_file

# Beyond this many images a sheet is neither readable nor quick to draw.
MOST = 120
PER_ROW = 10
# Bars in one cell; more are drawn as lines, all in one stroke: hundreds of bars under each of fifty
# images take matplotlib a minute.
MOST_BARS = 40
# Inches that the title needs.
NARROWEST = 5.0
INK, TRUE_COLOUR, OTHER_COLOUR = "#222222", "#c2410c", "#3b6ea5"


def draw_sheet(distilled: Distilled, path: str | Path, *, most: int = MOST) -> None:
    """Write a PNG with each base image over the bars of its synthetic label.

    The bar of the example's own class, where it has one in the target, stands out in orange; a
    line marks zero. With more than `most` examples the first of them are drawn, and the title says
    so. Feature vectors have no picture, only bars.

    Args:
        distilled: what to draw.
        path: of the PNG; its folder must exist.
        most: images drawn at the most.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = min(len(distilled), most)
    columns = min(PER_ROW, shown)
    rows = math.ceil(shown / columns)
    # One cell is 0.95 inch wide: an image of about 0.9 inch over bars two thirds as high, and a
    # gap before the next image. A few cells stand in the middle of a figure that holds the title.
    height, cells = 1.75 * rows + 0.8, 0.95 * columns
    width = max(cells + 0.5, NARROWEST)
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        3 * rows,
        columns,
        height_ratios=[1.0, 0.65, 0.16] * rows,
        hspace=0.04,
        wspace=0.12,
        left=0.5 - 0.5 * cells / width,
        right=0.5 + 0.5 * cells / width,
        top=1 - 0.55 / height,
        bottom=0.1 / height,
    )
    low = min(float(distilled.labels[:shown].min()), 0.0)
    high = max(float(distilled.labels[:shown].max()), 0.0)
    margin = 0.05 * max(high - low, 1e-12)
    for index in range(shown):
        row, column = divmod(index, columns)
        _draw_image(figure.add_subplot(grid[3 * row, column]), distilled.examples[index])
        axes = figure.add_subplot(grid[3 * row + 1, column])
        truth = None if distilled.true_labels is None else int(distilled.true_labels[index])
        _draw_bars(axes, distilled.labels[index], truth, distilled.class_names)
        axes.set_ylim(low - margin, high + margin)
    some = "" if shown == len(distilled) else f" (first {shown} of {len(distilled)})"
    count = f"{len(distilled)} base example{'s' if len(distilled) > 1 else ''}{some}"
    name = _plain(distilled.base.name, 24)
    figure.suptitle(
        f"{name}: labels of {count}, from {low:.2f} to {high:.2f}",
        fontsize=9,
        color=INK,
        y=1 - 0.2 / height,
    )
    with atomic_file(Path(path)) as temporary:
        figure.savefig(temporary, format="png")


def _plain(text: str, most: int) -> str:
    """Return the start of `text` in a form that matplotlib does not read as mathematics."""
    return text[:most].replace("$", r"\$")


def _draw_image(axes: Any, image: Tensor) -> None:
    axes.set_axis_off()
    if image.ndim != 3:
        axes.text(0.5, 0.5, f"{len(image)}\nfeatures", ha="center", va="center", fontsize=6)
        return
    picture = image.permute(1, 2, 0).numpy()
    if image.is_floating_point() and picture.shape[2] > 1:
        picture = picture.clip(0.0, 1.0)
    if picture.shape[2] not in (1, 3, 4):
        picture = picture.mean(2, keepdims=True)
    axes.imshow(picture.squeeze(2) if picture.shape[2] == 1 else picture, cmap="gray")


def _draw_bars(axes: Any, label: Tensor, truth: int | None, names: tuple[str, ...]) -> None:
    values = label.tolist()
    colours = [TRUE_COLOUR if index == truth else OTHER_COLOUR for index in range(len(values))]
    if len(values) <= MOST_BARS:
        axes.bar(range(len(values)), values, color=colours, width=0.85)
    else:
        axes.vlines(range(len(values)), 0.0, values, colors=colours, linewidth=0.7)
    axes.axhline(0.0, color=INK, linewidth=0.5)
    axes.set_yticks([])
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    # Names fit under the bars only while they are few and short.
    if len(names) <= 10 and max(map(len, names)) <= 2:
        axes.set_xticks(
            range(len(names)), [_plain(name, 2) for name in names], fontsize=4.5, color=INK
        )
        axes.tick_params(length=0, pad=1)
    else:
        axes.set_xticks([])
        top = int(label.argmax())
        axes.set_xlabel(_plain(names[top], 12), fontsize=5, color=INK, labelpad=1)
