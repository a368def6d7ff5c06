"""`compress` and `--label-codec` on the command line."""

import json
import shutil

import pytest
from artifact.makers import listing

from cvxdistill.artifact import Distilled
from cvxdistill.cli import main

DATA = ("--limit", "300", "--validation", "100")
TINY = (
    *DATA,
    "--extractor",
    "convnet:width=2",
    "--pool",
    "1",
    "--students",
    "none",
    "--seeds",
    "1",
)


@pytest.fixture(scope="module", autouse=True)
def without_sheets():
    """Drawing labels takes longer than all else here, and has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("compress", "parts"):
            patch.setattr(f"cvxdistill.cli.{place}.draw_sheet", lambda _, path: path.touch())
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compress") / "run"
    assert main(["distill", *TINY, "--out", str(folder)]) == 0
    return folder


def compressed(capsys, *words):
    code = main(["compress", *map(str, words), "--seeds", "1", "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else err


def test_a_run_is_compressed_within_its_budget(run, tmp_path, capsys):
    before = listing(run)
    code, said = compressed(
        capsys, run, "--out", tmp_path / "small", "--codec", "int8;int4", "--bits", "6"
    )
    assert code == 0
    assert (said["codec"], said["bits"]) == ("int4", 1136)
    assert said["bits_per_entry"] <= 6
    assert [row["codec"] for row in said["rows"]] == ["float64", *["int8"] * 2, *["int4"] * 2]
    assert json.loads((tmp_path / "small" / "compression.json").read_text()) == said
    assert Distilled.load(tmp_path / "small").bits.labels == 1136
    assert (tmp_path / "small" / "labels.png").is_file()
    assert listing(run) == before


def test_what_was_compressed_is_evaluated_and_told_like_any_run(run, tmp_path, capsys):
    small = tmp_path / "small"
    code, _ = compressed(capsys, run, "--out", small, "--codec", "int8", "--no-feedback")
    assert code == 0
    assert main(["info", str(small), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["label_codec"] == "int8"
    assert said["bits"]["labels"] == 20 * 10 * 8 + 10 * 32 + 16
    assert said["bits_per_label_entry"] == said["bits"]["labels"] / 200
    assert main(["evaluate", str(small), "--students", "none", "--seeds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["certificate"] is None
    assert main(["evaluate", str(small), "--students", "none", "--seeds", "1"]) == 0


def test_bytes_are_a_budget_of_all_labels(run, tmp_path, capsys):
    options = ("--codec", "int8;int4;int2", "--no-feedback", "--bytes", "150")
    code, said = compressed(capsys, run, "--out", tmp_path / "small", *options)
    assert code == 0
    assert said["bits"] == 1136


def test_the_table_names_what_was_chosen(run, tmp_path, capsys):
    words = ["compress", str(run), "--out", str(tmp_path / "small"), "--seeds", "1"]
    assert main([*words, "--codec", "int8", "--no-feedback"]) == 0
    out = capsys.readouterr().out
    assert "chosen: int8, 1,936 bits of labels in the place of 12,800" in out


def test_a_run_can_be_distilled_into_few_bits(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["distill", *TINY, "--out", str(folder), "--label-codec", "int4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["same_extractor"]["distilled"] > 0.5
    assert str(Distilled.load(folder).codec) == "int4"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--bits", "3", "--bytes", "3"), "give `--bits` an entry or `--bytes` in all"),
        (("--bits", "0"), "`--bits` must be finite and above zero"),
        (("--bits", "0.01"), "below what any codec takes"),
        (("--codec", "int5"), "`label codec` must be one of"),
        (("--seeds", "0"), "`--seeds` must be 1 or more"),
        (("--unseen", "convnot"), "`network` must be one of"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(run, tmp_path, capsys, words, match):
    words = ["compress", str(run), "--out", str(tmp_path / "small"), *words]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert not (tmp_path / "small").exists()


def test_the_run_itself_is_not_overwritten(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    before = listing(copy)
    assert main(["compress", str(copy), "--out", str(copy)]) == 2
    assert "`--out` must be another folder" in capsys.readouterr().err
    assert listing(copy) == before
