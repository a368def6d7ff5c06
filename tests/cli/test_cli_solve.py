"""`cvxdistill stats solve`: from a file of moments and base embeddings to an artefact."""

import json

import pytest
import torch
from embedded import WIDTH, write
from truths import relative_error

import cvxdistill as cvd
from cvxdistill.cli import main


@pytest.fixture
def shards(tmp_path, capsys):
    written = write(tmp_path / "shards", shards=(100, 60, 40))
    assert main(["stats", str(written.path), "--out", str(tmp_path / "moments")]) == 0
    capsys.readouterr()
    return written


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([*map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_labels_from_moments_are_those_from_all_rows(shards, tmp_path, capsys):
    words = ("stats", "solve", tmp_path / "moments", "--base", f"npy:{shards.path}")
    options = ("--examples", WIDTH + 1, "--test", shards.path, "--out", tmp_path / "run", "--json")
    code, out, _ = run(capsys, *words, *options)
    told = json.loads(out)
    assert (code, told["status"], told["examples"]) == (0, "solved", WIDTH + 1)
    assert told["certificate"]["lossless"]
    measured = told["accuracy"]["same_extractor"]
    assert measured["distilled"] == measured["full"] > measured["hard"] - 0.2
    distilled = cvd.Distilled.load(tmp_path / "run")
    features = torch.from_numpy(shards.features)
    direct = cvd.solve_labels(
        distilled.examples.double(), (features, torch.from_numpy(shards.labels))
    )
    assert relative_error(distilled.labels, direct.labels) < 1e-6
    assert distilled.class_names == ("ant", "bee", "cow")
    assert distilled.provenance["target"]["examples"] == 200
    assert run(capsys, "info", tmp_path / "run")[0] == 0


@pytest.mark.parametrize("how", ["greedy", "random"])
def test_base_examples_are_chosen_by_the_moments(shards, tmp_path, capsys, how):
    code, out, _ = run(
        capsys, "stats", "solve", tmp_path / "moments", "--base", shards.path,
        "--examples", 3, "--choose", how, "--out", tmp_path / how, "--json",
    )  # fmt: skip
    told = json.loads(out)
    assert (code, told["examples"], told["accuracy"]) == (0, 3, {})
    assert not told["certificate"]["lossless"]


def test_moments_and_base_without_the_command_line(shards):
    stats = cvd.TargetStatistics(WIDTH, 3)
    features, labels = torch.from_numpy(shards.features), torch.from_numpy(shards.labels)
    stats.update(features, labels)
    base = cvd.ImageSet(features[:4], labels[:4], ("0", "1", "2"), name="rows")
    made = cvd.distill_moments(base, stats, constraint="simplex")
    assert made.label_kind == "distribution"
    assert made.class_names == ("0", "1", "2")
    images = cvd.ImageSet(torch.zeros(2, 1, 4, 4), labels[:2], ("0", "1", "2"), name="images")
    with pytest.raises(cvd.InputError, match=r"need features \(m, d\)"):
        cvd.distill_moments(images, stats)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/none", "--base", "{shards}"], "not a readable statistics file"),
        (["{tmp}/moments", "--base", "{tmp}/none"], "an existing path; got"),
        (["{tmp}/moments", "--base", "digits"], "labels from moments need features"),
        (["{tmp}/moments", "--base", "{shards}", "--method", "teacher"], "moments are enough for"),
        (["{tmp}/moments", "--base", "{shards}", "--head", "logistic"], "moments are enough for"),
        (["{tmp}/moments"], "--base"),
    ],
)
def test_wrong_use_is_one_line(shards, tmp_path, capsys, words, message):
    filled = [word.format(shards=shards.path, tmp=tmp_path) for word in words]
    code, out, err = run(capsys, "stats", "solve", *filled, "--out", tmp_path / "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "run").exists()
