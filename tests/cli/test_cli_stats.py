"""`cvxdistill stats`: files, parts and sums, several real processes, and clear refusals."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from embedded import SHARDS, write

from cvxdistill.cli import main
from cvxdistill.statistics import TargetStatistics

ROWS = sum(SHARDS)
MOMENTS = ("feature_mean", "label_mean", "feature_scatter", "cross_scatter", "label_scatter")


@pytest.fixture
def shards(tmp_path):
    return write(tmp_path / "shards", weighted=True)


def assert_close(one: TargetStatistics, other: TargetStatistics, tolerance=1e-12):
    for name in ("count", "target_kind", "target_names", "extractor", "sources"):
        assert getattr(one, name) == getattr(other, name)
    assert one.weight == pytest.approx(other.weight, rel=tolerance)
    assert torch.equal(one.class_counts, other.class_counts)
    for name in MOMENTS:
        expected = getattr(other, name)
        missed = (getattr(one, name) - expected).abs().max()
        assert float(missed) <= tolerance * float(expected.abs().max()), name


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([*map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_pass_is_written_and_described(shards, tmp_path, capsys):
    code, out, _ = run(capsys, "stats", shards.path, "--out", tmp_path / "a", "--json")
    told = json.loads(out)
    assert (code, out.count("\n")) == (0, 1)
    assert (told["rows"], told["features"], told["targets"], told["ranks"]) == (ROWS, 5, 3, 1)
    assert told["target_names"] == ["ant", "bee", "cow"]
    assert told["class_counts"] == np.bincount(shards.labels).tolist()
    assert told["weight"] == pytest.approx(shards.weights.sum())
    assert told["complete"]
    assert told["seconds"] > 0
    assert told["rows_per_second"] == pytest.approx(ROWS / told["seconds"], rel=0.01)
    stats = TargetStatistics.load(tmp_path / "a")
    assert stats.count == ROWS
    code, out, _ = run(capsys, "info", tmp_path / "a", "--json")
    known = json.loads(out)
    assert {key: told[key] for key in known} == known
    code, out, _ = run(capsys, "info", tmp_path / "a")
    assert code == 0
    assert f"rows 0 to {ROWS} of {ROWS}" in out


def test_parts_merge_to_the_whole(shards, tmp_path, capsys):
    for k in (3, 1, 2):
        options = ("--slice", f"{k}/3", "--class-weight", "balanced", "--out", tmp_path / f"p{k}")
        code, out, _ = run(capsys, "stats", shards.path, *options, "--json")
        assert (code, json.loads(out)["complete"]) == (0, False)
    parts = [tmp_path / f"p{k}" for k in (2, 3, 1)]
    code, out, _ = run(capsys, "stats", "merge", *parts, "--out", tmp_path / "all", "--json")
    told = json.loads(out)
    assert (code, told["rows"], told["complete"]) == (0, ROWS, True)
    run(capsys, "stats", shards.path, "--class-weight", "balanced", "--out", tmp_path / "one")
    assert_close(*(TargetStatistics.load(tmp_path / name) for name in ("all", "one")))
    code, out, err = run(capsys, "stats", "merge", *parts, parts[0], "--out", tmp_path / "twice")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "rows must be counted once" in err
    assert not (tmp_path / "twice").exists()


def test_later_data_are_added(shards, tmp_path, capsys):
    later = write(tmp_path / "later", weighted=True, seed=1, shards=(30, 20))
    run(capsys, "stats", shards.path, "--out", tmp_path / "a")
    code, out, _ = run(capsys, "stats", later.path, "--add-to", tmp_path / "a", "--json")
    told = json.loads(out)
    assert (code, told["rows"], told["rows_read"]) == (0, ROWS + 50, 50)
    run(capsys, "stats", "compute", shards.path, later.path, "--out", tmp_path / "b")
    assert_close(*(TargetStatistics.load(tmp_path / name) for name in ("a", "b")))
    before = (tmp_path / "a").read_bytes()
    code, _, err = run(capsys, "stats", later.path, "--add-to", tmp_path / "a")
    assert (code, err.count("\n")) == (2, 1)
    assert "rows must be counted once" in err
    assert (tmp_path / "a").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stats", "{shards}"], "Give --out FILE"),
        (["stats", "{shards}", "--out", "{tmp}"], "it is a folder"),
        (["stats", "{shards}", "--out", "{tmp}/none/a"], "its folder does not exist"),
        (["stats", "{shards}", "--out", "{tmp}/a", "--slice", "0/3"], "K in 1..N"),
        (["stats", "{shards}", "--out", "{tmp}/a", "--slice", "4/3"], "got 4/3"),
        (["stats", "{shards}", "--out", "{tmp}/a", "--slice", "half"], "must be K/N"),
        (["stats", "{shards}", "--out", "{tmp}/a", "--class-weight", "equal"], "none, balanced"),
        (["stats", "{tmp}/nothing", "--out", "{tmp}/a"], "nothing exists at"),
        (["stats", "{shards}", "--out", "{tmp}/a", "--add-to", "{tmp}/b"], "not a readable"),
        (["stats", "{shards}", "--out", "{tmp}/a", "--device", "tpu"], "auto, cpu, cuda"),
        (["stats", "--out", "{tmp}/a"], "cvxdistill stats --help"),
        (["stats", "merge", "--out", "{tmp}/a"], "cvxdistill stats --help"),
        (["stats", "merge", "{tmp}/b", "--out", "{tmp}/a"], "not a readable statistics file"),
        (["info", "{shards}/features_0.npy"], "not a readable statistics file"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_nothing(shards, tmp_path, capsys, words, message):
    filled = [word.format(shards=shards.path, tmp=tmp_path) for word in words]
    code, out, err = run(capsys, *filled)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_help_names_both_verbs(capsys):
    code, out, _ = run(capsys, "stats", "--help")
    assert code == 0
    assert re.search(r"compute.*merge", out, re.S)
    code, out, _ = run(capsys, "stats", "compute", "--help")
    assert code == 0
    assert "--class-weight" in out


# Several processes. -----------------------------------------------------------------------------


def torchrun(*words, ranks: int = 3) -> subprocess.CompletedProcess[str]:
    """Run the command line under torchrun, each rank with one thread."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(ranks), "-m", "cvxdistill", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )


@pytest.mark.slow
def test_three_ranks_find_what_one_process_finds(shards, tmp_path, capsys):
    options = (shards.path, "--class-weight", "balanced", "--json")
    done = torchrun("stats", *options, "--out", tmp_path / "many")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["rows_read"], told["ranks"]) == (ROWS, ROWS, 3)
    assert run(capsys, "stats", *options, "--out", tmp_path / "one")[0] == 0
    assert_close(*(TargetStatistics.load(tmp_path / name) for name in ("many", "one")))


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("cvxdistill: error:")]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_bad_shard_stops_all_ranks_with_one_line(shards, tmp_path, how):
    path = shards.path / "features_7.npy"
    if how == "missing":
        path.unlink()
    else:
        # A row that only the second rank reads.
        features = np.load(path)
        features[20, 0] = np.nan
        np.save(path, features)
    done = torchrun("stats", shards.path, "--out", tmp_path / "many")
    assert done.returncode != 0
    [line] = errors_of(done)
    assert ("labels_7" if how == "missing" else "features_7.npy must be finite") in line
    assert done.stdout == ""
    assert not (tmp_path / "many").exists()
    # torchrun tells the code of each rank; no frame of ours is in its report.
    assert sorted(re.findall(r"exitcode\s*: (-?\d+) \(pid", done.stderr)) == ["2", "2", "2"]
    assert "/cvxdistill/" not in done.stderr.replace(line, "")


@pytest.mark.slow
def test_more_ranks_than_rows(tmp_path, capsys):
    written = write(tmp_path / "few", real=True, shards=(1, 1))
    done = torchrun("stats", written.path, "--out", tmp_path / "many", "--json")
    assert done.returncode == 0, done.stderr
    assert run(capsys, "stats", written.path, "--out", tmp_path / "one")[0] == 0
    many, one = (TargetStatistics.load(tmp_path / name) for name in ("many", "one"))
    assert (many.count, many.sources) == (one.count, one.sources) == (2, one.sources)
    assert torch.allclose(many.feature_scatter, one.feature_scatter)
