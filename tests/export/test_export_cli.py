"""`cvxdistill export` and `cvxdistill import`: there and back, evaluated, and what goes wrong."""

import json

import pytest
from artifact.makers import listing, same_images
from export.test_authors import INDICES, write_json, write_npz
from export.test_contract import NEEDS

from cvxdistill.artifact import Distilled
from cvxdistill.cli import main
from cvxdistill.export import EXPORTERS

QUICK = ("--students", "mlp:width=8", "--seeds", "1", "--steps", "2")
OUT = {"hub": "out", "image-folder": "out", "npz": "o.npz", "parquet": "o.parquet", "torch": "o.pt"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on digits, evaluated with one student."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    words = ("distill", "--extractor", "convnet:width=4", "--pool", "1", *QUICK)
    assert main([*words, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=EXPORTERS)
def name(request):
    for library in NEEDS.get(request.param, ()):
        pytest.importorskip(library)
    return request.param


def call(capsys, *words, code=0):
    """Run the command line and return what it printed."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    return capsys.readouterr()


def test_there_and_back(name, run, tmp_path, capsys):
    out = tmp_path / OUT[name]
    if EXPORTERS[name].suffix is None:
        done = call(capsys, "export", run, "--to", name, "--out", out, "--json")
    else:
        done = call(capsys, "export", run, "--out", out, "--json")
    told = json.loads(done.out)
    assert done.out.count("\n") == 1
    assert done.err == ""
    assert (told["format"], told["path"], told["examples"]) == (name, str(out), 20)
    contents = listing(tmp_path).values()
    assert told["bytes"] == sum(len(content) for content in contents if content is not None)
    told = json.loads(call(capsys, "import", out, "--out", "again", "--json").out)
    assert (told["format"], told["run"], told["examples"]) == (name, "again", 20)
    assert told["extractors"] == 1
    one, two = Distilled.load(run), Distilled.load("again")
    assert same_images(one.base, two.base)
    assert one.labels.equal(two.labels)
    assert one.provenance == two.provenance


def test_an_import_is_evaluated_to_the_same_numbers(run, tmp_path, capsys):
    call(capsys, "export", run, "--out", "out.npz")
    call(capsys, "import", "out.npz", "--out", "again")
    done = call(capsys, "evaluate", "again", *QUICK, "--json")
    first = json.loads((run / "result.json").read_text())
    assert json.loads(done.out)["accuracy"] == first["accuracy"]


def test_the_card_shows_the_newest_evaluation(run, tmp_path, capsys):
    for library in NEEDS["hub"]:
        pytest.importorskip(library)
    call(capsys, "export", run, "--to", "hub:license=mit", "--out", "card")
    text = (tmp_path / "card" / "README.md").read_text()
    assert "license: mit" in text
    assert "| trained from scratch | `mlp:width=8` | distilled labels |" in text
    rows = json.loads((run / "result.json").read_text())["rows"]
    assert f"| {rows[-1]['accuracy']:.4f} |" in text


def test_what_is_printed_for_people(run, capsys):
    done = call(capsys, "export", run, "--out", "out.npz")
    assert done.out.startswith("20 examples with labels over 10 classes in `out.npz`, format npz")
    done = call(capsys, "import", "out.npz")
    assert done.out.endswith("run folder runs/out\n")


def test_labels_of_the_authors_are_imported_and_evaluated(tmp_path, capsys):
    target = write_npz(tmp_path / "target.npz")
    import torch

    path = write_json(tmp_path / "x.json", torch.eye(3).repeat(2, 1), [0, 1, 2] * 2)
    words = ("import", path, "--target", target, "--indices", INDICES, "--out", "run", "--json")
    told = json.loads(call(capsys, *words).out)
    assert (told["format"], told["label_kind"]) == ("authors", "distribution")
    done = call(capsys, "evaluate", "run", *QUICK)
    assert "mlp:width=8" in done.out
    again = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert set(again["accuracy"]) == {"students"}
    call(capsys, "export", "run", "--out", "out.pt")


def test_seconds_that_nobody_recorded(tmp_path, capsys):
    import torch

    target = write_npz(tmp_path / "target.npz")
    path = write_json(tmp_path / "x.json", torch.eye(3), [0, 1, 2], total_train_time=[])
    call(capsys, "import", path, "--target", target, "--indices", "0,1,2", "--out", "run")
    assert call(capsys, "evaluate", "run", *QUICK).out.endswith("run folder run\n")


# What goes wrong. -------------------------------------------------------------------------------

WRONG = {
    "no-run": ("export nothing --out a.npz", "not a distilled set"),
    "no-format": ("export {run} --out folder", "does not tell the format"),
    "unknown-format": ("export {run} --to zip --out a", "export format"),
    "no-place": ("export {run} --out missing/a.npz", "cannot write"),
    "no-out": ("export {run}", "--out"),
    "other-ending": ("export {run} --to npz --out a.pt", "ends in .npz"),
    "full-folder": ("export {run} --to image-folder --out .", "holds files already"),
    "nothing": ("import nothing.npz", "nothing exists"),
    "unrecognised": ("import text.txt", "recognises"),
    "damaged": ("import bad.npz", "npz archive"),
    "damaged-torch": ("import bad.pt", "not opened"),
    "needless-option": ("import bad.npz --target mnist", "leave `target` out"),
    "a-run": ("import {run} --from npz", "run folder already"),
    "full-run": ("import bad.npz --out full", "holds other files"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_clear_line_and_exit_code_2(case, run, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "bad.pt").write_bytes(b"\x80\x02}q")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("x")
    before = listing(tmp_path)
    words, message = WRONG[case]
    done = call(capsys, *words.format(run=run).split(), code=2)
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert message in done.err
    assert listing(tmp_path) == before
