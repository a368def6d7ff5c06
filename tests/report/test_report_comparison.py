"""A comparison as tables, as Markdown and as figures."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from cvxdistill.codecs import Bits
from cvxdistill.compare import Comparison, CurvePoint, MethodRow
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow
from cvxdistill.report import (
    compare_table,
    comparison_markdown,
    draw_bits,
    draw_seconds,
    remarks,
    time_tables,
)

RIDGE = "online-ridge:steps=9"


def cell(*values, network="lenet", setting="students", labels="distilled"):
    return EvalRow(setting, network, labels, values)


def method(name, *values, seconds=1.0, points=(), **options):
    """A row with one student network, and a curve of `(seconds, accuracy)` points."""
    head = cell(values[0], network="convnet", setting="unseen_extractor")
    return MethodRow(
        method=name,
        options=f"{name}()",
        run=name,
        key="key",
        status="solved",
        seconds=seconds,
        target_passes=4.0,
        **{
            "peak_memory": 512_300_000,
            "bits": Bits(6272_00, 64_00, 40),
            "stored": {"images": "100 x 1x28x28 uint8", "labels": "100 x 10 float64"},
            "evaluations": (head, cell(*values)),
            "curve": tuple(
                CurvePoint(when, None, (cell(right, right + 0.02),)) for when, right in points
            ),
            **options,
        },
    )


ROWS = (
    method("hard", 0.5, 0.6, seconds=0.001, points=[(0.001, 0.5)]),
    method("exact", 0.9, 0.9, seconds=2.0, points=[(2.0, 0.89)]),
    method(RIDGE, 0.8, 0.9, seconds=61.5, points=[(1.0, 0.3), (10.0, 0.7), (61.5, 0.85)]),
    MethodRow("teacher", "Teacher()", "teacher", "key", reason="out of memory"),
)
MADE = Comparison(
    rows=ROWS,
    full=(cell(0.98, labels="full"),),
    budget=50.0,
    reference=RIDGE,
    problem={
        "target": "mnist", "base": "letters", "examples": 100, "target_examples": 50_000,
        "extractors": "4 x convnet", "head": "RidgeHead()", "student": "lenet", "seed": 0,
    },
    yardstick={"seeds": 2},
    environment={
        "device_name": "a machine", "threads": 2, "platform": "a system", "cvxdistill": "1",
        "python": "2", "torch": "3", "numpy": "4",
    },
    command=("cvxdistill", "compare", "--methods", "hard;exact"),
)  # fmt: skip


def cells(table):
    return {column.header: list(column.cells) for column in table.columns}


def text_of(table, width=140):
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


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


# Tables. ----------------------------------------------------------------------------------------


def test_the_table_by_hand():
    shown = cells(compare_table(MADE, title="what came out"))
    assert shown["method"] == ["hard", "exact", "online-ridge", "teacher", "full data"]
    assert shown["head, unseen"] == ["50.0", "90.0", "80.0", "failed", "-"]
    half = 100 * (ROWS[0].evaluations[1].accuracy_ci[1] - 0.55)
    assert shown["lenet"] == [
        f"55.0 ± {half:.1f}", "90.0 ± 0.0", f"85.0 ± {half:.1f}", "failed", "98.0",
    ]  # fmt: skip
    assert shown["seconds"] == ["0.001", "2.00", "61.5", "-", "-"]
    assert shown["peak MB"] == ["512", "512", "512", "-", "-"]
    assert shown["passes"] == ["4", "4", "4", "-", "-"]
    assert shown["kbit images + labels"] == ["627.2 + 6.4"] * 3 + ["-", "-"]
    assert "head, seen" not in shown
    assert "GPU MB" not in shown
    assert text_of(compare_table(MADE, title="what came out")).startswith("what came out")


def test_memory_of_a_gpu_has_a_column_where_there_is_one():
    rows = (dataclasses.replace(ROWS[0], peak_gpu_memory=3_000_000_000), ROWS[3])
    shown = cells(compare_table(dataclasses.replace(MADE, rows=rows)))
    assert shown["GPU MB"] == ["3,000", "-", "-"]


def test_options_are_named_where_a_name_would_not_do():
    rows = (*ROWS, method("exact:loss=hinge", 0.7))
    shown = cells(compare_table(dataclasses.replace(MADE, rows=rows)))["method"]
    assert shown == ["hard", "exact", "online-ridge", "teacher", "exact:loss=hinge", "full data"]


def test_nothing_is_cut_off_in_a_narrow_terminal():
    rows = (*ROWS, method("exact:loss=cross_entropy,temperature=0.5", 0.7))
    shown = text_of(compare_table(dataclasses.replace(MADE, rows=rows)), width=60)
    assert "…" not in shown


def test_remarks_say_what_failed_and_what_took_too_long():
    late, failed = remarks(MADE)
    assert late.startswith("online-ridge took 61.5 s, over its budget of 50 s")
    assert failed == "teacher failed: out of memory"
    broken = EvalRow("students", "resnet18", "distilled", (), status="needs larger images")
    row = dataclasses.replace(ROWS[0], evaluations=(broken,))
    made = dataclasses.replace(MADE, rows=(row,), budget=None)
    assert remarks(made) == ["hard, students resnet18: needs larger images"]
    made = dataclasses.replace(made, rows=(), full=(broken,))
    assert remarks(made) == ["full data, students resnet18: needs larger images"]


def test_times_by_hand():
    (table,) = time_tables(MADE)
    shown = cells(table)
    assert table.title == "seconds to validation accuracy, lenet"
    assert list(shown) == [
        "method",
        "81.0 % (-5)",
        "84.0 % (-2)",
        "85.0 % (-1)",
        "86.0 % (its end)",
    ]
    assert shown["method"] == ["hard", "exact", "online-ridge", "teacher"]
    assert shown["86.0 % (its end)"] == ["-", "2.00 (30.8x)", "61.5", "-"]
    slow = dataclasses.replace(ROWS[1], curve=(CurvePoint(0.05, None, ROWS[1].curve[0].rows),))
    (table,) = time_tables(dataclasses.replace(MADE, rows=(slow, ROWS[2])))
    assert cells(table)["86.0 % (its end)"] == ["0.050 (1,230x)", "61.5"]
    assert time_tables(dataclasses.replace(MADE, reference="")) == []


def test_markdown_has_every_row_and_how_it_was_made():
    page = comparison_markdown(MADE)
    assert page.startswith("# Comparison on mnist\n\n100 base examples of letters, 50,000 target")
    lines = page.splitlines()
    assert sum(line.startswith("| hard |") for line in lines) == 2
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {8, 6}
    for words in (
        "- teacher failed: out of memory",
        "- command: `cvxdistill compare --methods 'hard;exact'`",
        "- machine: a machine, 2 threads; a system",
        "- online-ridge: `online-ridge:steps=9()`",
        "- images stored: 100 x 1x28x28 uint8",
        "## Seconds to validation accuracy, lenet",
        "Relative to what `online-ridge` ends with",
    ):
        assert words in page
    odd = dataclasses.replace(MADE, rows=(method("a|b", 0.5),), reference="", full=())
    assert r"| a\|b |" in comparison_markdown(odd)


# Figures. ---------------------------------------------------------------------------------------


def test_figures_are_a_png_and_an_svg(tmp_path):
    for draw in (draw_seconds, draw_bits):
        written = draw(MADE, tmp_path / draw.__name__)
        assert [path.name for path in written] == [
            f"{draw.__name__}.{kind}" for kind in ("png", "svg")
        ]
        with Image.open(written[0]) as image:
            assert image.format == "PNG"
            assert image.width > 600
        assert ET.parse(written[1]).getroot().tag.endswith("svg")
    assert len(list(tmp_path.iterdir())) == 4


def test_the_same_comparison_gives_the_same_files(tmp_path):
    for draw in (draw_seconds, draw_bits):
        first, again = draw(MADE, tmp_path / "first"), draw(MADE, tmp_path / "again")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_curves_show_what_was_measured(tmp_path, figures):
    draw_seconds(MADE, tmp_path / "figure")
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "log"
    assert axes.get_title() == "lenet"
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert set(lines) == {"hard", "exact", "online-ridge"}
    ridge = lines["online-ridge"]
    assert ridge.get_xdata() == pytest.approx([1.0, 10.0, 61.5])
    assert ridge.get_ydata() == pytest.approx([31.0, 71.0, 86.0])
    # Labels that cost next to nothing stand at the edge, three decades before the end.
    assert lines["hard"].get_xdata() == pytest.approx([0.0615])
    # Bands, clipped to accuracies.
    assert len(axes.collections) >= 1
    low, high = axes.get_ylim()
    assert (low, high) == (max(low, -2), min(high, 102))


def test_methods_stay_apart_without_colour(tmp_path, figures):
    rows = tuple(method(f"m{index}", 0.5, 0.6, points=[(1.0, 0.5)]) for index in range(11))
    made = dataclasses.replace(MADE, rows=rows, reference="")
    draw_seconds(made, tmp_path / "figure")
    lines = [line for line in figures[0].axes[0].lines if not line.get_label().startswith("_")]
    assert len({line.get_marker() for line in lines}) == 11
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == [
        r.method for r in rows
    ]


def test_a_panel_for_every_network(tmp_path, figures):
    row = ROWS[1]
    more = (*row.evaluations, cell(0.7, network="a$b"))
    points = (CurvePoint(2.0, None, (cell(0.9), cell(0.7, network="a$b"))),)
    made = dataclasses.replace(
        MADE, rows=(dataclasses.replace(row, evaluations=more, curve=points),), full=()
    )
    for draw in (draw_seconds, draw_bits):
        draw(made, tmp_path / draw.__name__)
    for figure in (figures[0], figures[2]):
        assert [axes.get_title() for axes in figure.axes] == ["lenet", r"a\$b"]


def test_bits_stand_over_their_number_side_by_side(tmp_path, figures):
    large = method("images", 0.8, bits=Bits(2_508_800, 6400, 40))
    draw_bits(dataclasses.replace(MADE, rows=(*ROWS, large)), tmp_path / "figure")
    (axes,) = figures[0].axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["634", "2,515"]
    places = {bar.get_label(): bar.lines[0].get_xydata()[0] for bar in axes.containers}
    assert set(places) == {"hard", "exact", "online-ridge", "images"}
    assert places["images"][0] == 1.0
    group = [places[name][0] for name in ("hard", "exact", "online-ridge")]
    assert group == pytest.approx([-0.12, 0.0, 0.12])
    assert places["exact"][1] == pytest.approx(90.0)


def test_without_students_heads_are_drawn_and_without_anything_nothing(tmp_path):
    heads = dataclasses.replace(ROWS[1], evaluations=ROWS[1].evaluations[:1], curve=())
    made = dataclasses.replace(MADE, rows=(heads,), full=(), reference="")
    assert draw_seconds(made, tmp_path / "seconds") == []
    assert len(draw_bits(made, tmp_path / "bits")) == 2
    failed = dataclasses.replace(MADE, rows=(ROWS[3],), full=(), reference="")
    assert draw_seconds(failed, tmp_path / "no") == draw_bits(failed, tmp_path / "no") == []
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("count", [1, 4, 12])
def test_nothing_sticks_out_of_a_figure(tmp_path, count):
    """The margin of every figure is white: what is cut off would not be."""
    names = [f"a-method-of-a-long-name:option={index}" for index in range(count)]
    rows = tuple(method(name, 0.5, 0.9, points=[(1.0, 0.2), (30.0, 0.9)]) for name in names)
    made = dataclasses.replace(MADE, rows=rows, reference="")
    for draw in (draw_seconds, draw_bits):
        path, _ = draw(made, tmp_path / draw.__name__)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert (edge == 255).all()


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        draw_seconds(MADE, tmp_path / "nowhere" / "figure")
