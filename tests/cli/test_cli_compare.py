"""`cvxdistill compare`: one JSON object, files that can be read, and one line for every mistake."""

import json
from pathlib import Path

import pytest
from artifact.makers import listing
from PIL import Image

from cvxdistill.cli import main
from cvxdistill.compare import Comparison

QUICK = (
    "--limit", "120", "--examples", "10", "--extractor", "mlp:width=8", "--pool", "1",
    "--students", "mlp:width=8", "--seeds", "2", "--curve-seeds", "2", "--steps", "2,4",
    "--in-process",
)  # fmt: skip
METHODS = "hard; exact;first-order:steps=3"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def compare(*words):
    return main(["compare", *QUICK, *map(str, words)])


def test_json_is_the_file_with_the_folder_and_evaluate_says_the_same(in_a_folder, capsys):
    words = ("--methods", "exact;hard", "--budget", 60, "--reference", "exact", "--out", "out")
    assert compare(*words, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    record = json.loads(out)
    assert record.pop("run") == "out"
    assert record == json.loads(Path("out/comparison.json").read_text())
    assert record["command"][:2] == ["cvxdistill", "compare"]
    assert record["command"][-1] == "--json"
    assert (record["budget"], record["reference"]) == (60.0, "exact")
    assert record["problem"]["student"] == "mlp:width=8"
    assert [row["run"] for row in record["rows"]] == ["exact", "hard"]
    for row in record["rows"]:
        words = ["evaluate", f"out/{row['run']}", "--json", *QUICK[8:10], "--seeds", "2"]
        assert main([*words, "--steps", "2,4"]) == 0
        found = json.loads(capsys.readouterr().out)["accuracy"]
        assert (
            row["accuracy"]["students"]["mlp:width=8"]
            == (found["students"]["mlp:width=8"]["distilled"])
        )
        for setting in ("same_extractor", "unseen_extractor"):
            assert row["accuracy"][setting] == found[setting]["distilled"]
    full = {(row["setting"], row["accuracy"]) for row in record["full"]}
    assert ("students", found["students"]["mlp:width=8"]["full"]) in full


def test_tables_figures_and_sheets_lie_in_the_folder(in_a_folder, capsys):
    base = ("--methods", f"{METHODS};exact:loss=cross_entropy", "--skip-full")
    assert compare(*base) == 0
    out = capsys.readouterr().out
    folder = Path("runs/digits-compare-10-seed0")
    for words in (
        "digits, 10 base examples",
        "head, unseen",
        "peak MB",
        "first-order",
        str(folder),
    ):
        assert words in out
    assert "full data" not in out
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "comparison.json", "comparison.md", "accuracy_seconds.png", "accuracy_seconds.svg",
        "accuracy_bits.png", "accuracy_bits.svg",
    }  # fmt: skip
    comparison = Comparison.load(folder)
    for row in comparison.rows:
        with Image.open(folder / row.run / "labels.png") as image:
            assert image.format == "PNG"
    assert "| exact:loss=cross_entropy |" in (folder / "comparison.md").read_text()
    # A second call needs `--resume`, and then has nothing left to do.
    before = {name: content for name, content in listing(folder).items() if "safetensors" in name}
    assert compare(*base) == 2
    assert "Go on with it by `--resume`" in capsys.readouterr().err
    assert compare(*base, "--resume") == 0
    after = {name: content for name, content in listing(folder).items() if "safetensors" in name}
    assert after == before
    assert Comparison.load(folder).rows == comparison.rows


def test_where_no_method_gives_labels_the_exit_code_is_1(in_a_folder, capsys):
    words = ("--methods", "smoothed;hard", "--base", "npz:letters.npz", "--out", "out")
    write_letters()
    assert compare(*words) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert "hard failed: true labels do not exist across data sets" in " ".join(out.split())
    assert {row.status for row in Comparison.load("out").rows} == {"failed"}


def write_letters():
    import numpy as np
    from artifact.makers import make_images

    data = make_images(30, classes=tuple("wxyz"))
    images = data.images.numpy().transpose(0, 2, 3, 1)
    np.savez("letters.npz", images=images, labels=data.labels.numpy(), class_names=list("wxyz"))


MISTAKES = {
    "unknown method": (["--methods", "hard;exakt"], "Did you mean `exact`?"),
    "bad option": (["--methods", "smoothed:smoothing=2"], "`smoothing` must lie in [0, 1)"),
    "no method": (["--methods", " ; "], "must name at least one method"),
    "twice": (["--methods", "hard;hard"], "must not name `hard` twice"),
    "no budget": (["--budget", "0"], "`budget` must be finite and above zero"),
    "bad budget": (["--budget", "soon"], "--budget"),
    "bad grace": (["--grace", "-1"], "`grace` must be finite and zero or more"),
    "unknown reference": (["--reference", "exakt"], "`reference` must be one of hard"),
    "no curve": (["--curve-seeds", "0"], "`curve_seeds` must be 1 or more"),
    "no seeds": (["--seeds", "0"], "`--seeds` must be 1 or more"),
    "unknown data": (["--target", "mnits"], "a data set must be one of"),
    "other shape": (["--base", "npz:wide.npz"], "must have one shape"),
    "network too deep": (["--extractor", "convnet:depth=5"], "needs images of at least 32"),
    "student too deep": (["--student", "convnet:depth=5"], "needs images of at least 32"),
    "foreign folder": (["--out", "foreign"], "holds other files and no `comparison.json`"),
    "foreign folder to resume": (["--out", "foreign", "--resume"], "holds other files"),
    "file": (["--out", "wide.npz"], "is a file; give a folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(in_a_folder, capsys, mistake):
    import numpy as np

    labels = np.arange(40) % 10
    np.savez("wide.npz", images=np.zeros((40, 9, 9), dtype=np.uint8), labels=labels)
    Path("foreign").mkdir()
    Path("foreign/thesis.tex").write_text("years of work")
    words, match = MISTAKES[mistake]
    before = listing(in_a_folder)
    code = compare("--methods", METHODS, *words)
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.startswith("cvxdistill: error: ")
    assert err.count("\n") == 1
    assert match in err
    assert listing(in_a_folder) == before
