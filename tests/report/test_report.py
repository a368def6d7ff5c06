"""The sheet of base images and the table of accuracies."""

import logging

import numpy as np
import pytest
import torch
from artifact.makers import make_features, make_images
from cases import draw
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow
from cvxdistill.report import accuracy_table, draw_sheet


def artefact(m=6, *, base=None, classes=None, labels=None):
    base = make_images(m) if base is None else base
    classes = base.class_names if classes is None else classes
    labels = draw(len(base), len(classes)) if labels is None else labels
    return Distilled(base, labels, "scores", classes)


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is drawn, kept for a look at its axes."""
    kept = []
    draw_it = Figure.savefig

    def savefig(figure, *given, **options):
        kept.append(figure)
        return draw_it(figure, *given, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return kept


def picture(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_sheet_is_a_png_with_an_image_and_bars_for_every_example(tmp_path, figures):
    made = artefact(6)
    draw_sheet(made, tmp_path / "sheet.png")
    pixels = picture(tmp_path / "sheet.png")
    assert pixels.shape[0] > 150
    assert pixels.shape[1] > 400
    (figure,) = figures
    assert len(figure.axes) == 12
    images, bars = figure.axes[::2], figure.axes[1::2]
    for index, (shown, below) in enumerate(zip(images, bars, strict=True)):
        assert np.array_equal(shown.images[0].get_array(), made.examples[index, 0].numpy())
        heights = [bar.get_height() for bar in below.patches]
        assert heights == pytest.approx(made.labels[index].tolist())
    assert len({axes.get_ylim() for axes in bars}) == 1
    assert "6 base examples" in figure.get_suptitle()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet.png"]


def test_the_own_class_stands_out_where_there_is_one(tmp_path, figures):
    draw_sheet(artefact(3), tmp_path / "own.png")
    draw_sheet(artefact(3, classes=("x", "y", "z")), tmp_path / "none.png")
    own, none = ([axes.patches for axes in figure.axes[1::2]] for figure in figures)
    for label, bars in enumerate(own):
        colours = [bar.get_facecolor() for bar in bars]
        assert [colour == colours[label] for colour in colours].count(True) == 1
    assert len({bar.get_facecolor() for bars in none for bar in bars}) == 1


def test_hundreds_of_classes_are_drawn_in_one_stroke(tmp_path, figures):
    names = tuple(map(str, range(200)))
    made = artefact(2, classes=names, labels=draw(2, 200))
    draw_sheet(made, tmp_path / "many.png")
    for label, axes in zip(made.labels, figures[0].axes[1::2], strict=True):
        assert not axes.patches
        ends = [segment[1, 1] for segment in axes.collections[0].get_segments()]
        assert ends == pytest.approx(label.tolist())


def test_more_examples_than_are_drawn(tmp_path, figures):
    draw_sheet(artefact(15), tmp_path / "sheet.png", most=12)
    (figure,) = figures
    assert len(figure.axes) == 24
    assert "(first 12 of 15)" in figure.get_suptitle()


def test_features_have_bars_alone(tmp_path, figures):
    draw_sheet(artefact(base=make_features(4, 5)), tmp_path / "sheet.png")
    (figure,) = figures
    assert not any(axes.images for axes in figure.axes)
    assert [axes.texts[0].get_text() for axes in figure.axes[::2]] == ["5\nfeatures"] * 4
    assert all(len(axes.patches) == 3 for axes in figure.axes[1::2])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("floating", [False, True])
def test_images_of_any_kind_are_drawn_without_a_word(tmp_path, caplog, channels, floating):
    base = make_images(2, shape=(channels, 8, 8))
    if floating:
        images = 3 * draw(2, channels, 8, 8).float()
        base = ImageSet(images, base.labels, base.class_names, name="floats")
    with caplog.at_level(logging.WARNING):
        draw_sheet(artefact(base=base), tmp_path / "sheet.png")
    assert not caplog.records
    picture(tmp_path / "sheet.png")


@pytest.mark.parametrize(
    "classes",
    [
        ("a$b", "$c$", "_{$"),
        ("a very long name of a class that goes on", "b", "c"),
        ("", " ", "c"),
        ("only",),
    ],
)
def test_class_names_of_any_kind_are_drawn(tmp_path, classes):
    base = make_images(2, classes=("only",)) if len(classes) == 1 else make_images(3)
    base = ImageSet(base.images, base.labels, classes, name="a$_$^b")
    draw_sheet(artefact(base=base), tmp_path / "sheet.png")
    picture(tmp_path / "sheet.png")


@pytest.mark.parametrize("m", [1, 2, 10, 11])
def test_nothing_sticks_out_of_a_sheet(tmp_path, m):
    """The margin of every sheet is white: a title or an image that is cut off would not be."""
    draw_sheet(artefact(m), tmp_path / "sheet.png")
    pixels = picture(tmp_path / "sheet.png")
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def test_labels_that_are_all_zero_are_drawn(tmp_path):
    draw_sheet(artefact(2, labels=torch.zeros(2, 3, dtype=torch.float64)), tmp_path / "sheet.png")
    picture(tmp_path / "sheet.png")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        draw_sheet(artefact(1), tmp_path / "nowhere" / "sheet.png")
    assert not list(tmp_path.iterdir())


# The table. -------------------------------------------------------------------------------------

ROWS = [
    EvalRow("same_extractor", "convnet", "distilled", (0.9,)),
    EvalRow("same_extractor", "convnet", "hard", (0.76,)),
    EvalRow("same_extractor", "convnet", "full", (0.98,)),
    EvalRow("students", "lenet", "distilled", (0.8, 0.9)),
    EvalRow("students", "lenet", "full", (), status="failed: diverged"),
]


def text_of(table):
    console = Console(width=120, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def cells(table):
    return {column.header: list(column.cells) for column in table.columns}


def test_table_by_hand():
    table = accuracy_table(ROWS, title="what came out")
    half = 100 * (ROWS[3].accuracy_ci[1] - ROWS[3].accuracy)
    assert cells(table) == {
        "test accuracy, %": ["head, same extractor", "student from scratch"],
        "network": ["convnet", "lenet"],
        "true labels": ["76.0", "-"],
        "distilled": ["90.0", f"85.0 ± {half:.1f}"],
        "full data": ["98.0", "failed"],
    }
    shown = text_of(table)
    assert shown.startswith("what came out")
    assert "85.0 ± 63.5" in shown


def test_a_line_for_every_setting_and_network():
    rows = [EvalRow("students", network, "hard", (0.5,)) for network in ("lenet", "mlp")]
    rows.append(EvalRow("unseen_extractor", "convnet", "hard", (0.5,)))
    assert cells(accuracy_table(rows))["network"] == ["lenet", "mlp", "convnet"]


def test_further_optimisers_and_steps_have_lines_of_their_own():
    rows = [
        EvalRow("students", "mlp", "distilled", (0.5,), optimiser="sgd"),
        EvalRow("students", "mlp", "hard", (0.4,), optimiser="adam"),
        EvalRow("students", "mlp", "hard", (0.3,), optimiser="adam", step_factor=0.25, main=False),
        EvalRow("students", "mlp", "distilled", (0.2,), optimiser="adam", main=False),
    ]
    found = cells(accuracy_table(rows))
    assert found["network"] == ["mlp", "mlp, adam, steps x 0.25", "mlp, adam"]
    assert found["distilled"] == ["50.0", "-", "20.0"]
    assert found["true labels"] == ["40.0", "30.0", "-"]


def test_an_empty_table_can_be_printed():
    assert "test accuracy" in text_of(accuracy_table([]))
