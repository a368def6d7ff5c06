import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import cvxdistill
from cvxdistill.embeddings import READERS, open_embeddings
from cvxdistill.embeddings.write import RowBlock, write_embeddings
from cvxdistill.embeddings.writers import WRITERS
from cvxdistill.embeddings.written import EmbeddingManifest, read_embedding_manifest
from cvxdistill.errors import InputError

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `arrow`)")

NAMES = ("cat", "dög", "a, b")
ROWS = 23
FEATURES = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(ROWS) % 3


def manifest(**options):
    known = {
        "storage": "npy",
        "dtype": "float32",
        "num_rows": ROWS,
        "num_features": 4,
        "shard_rows": 10,
        "class_names": NAMES,
        "metadata": True,
        "extractor": {"network": "made up", "fingerprint": "e0"},
        "preprocessing": {"kind": "none"},
        "source": {"name": "toy", "split": "all", "fingerprint": "s0"},
    }
    return EmbeddingManifest(**{**known, **options})


class Compute:
    """Gives the rows in blocks of 4, and remembers for which shards it was asked."""

    def __init__(self, features=FEATURES, labels=LABELS, stop_in=None):
        self.features, self.labels, self.stop_in = features, labels, stop_in
        self.asked = []

    def __call__(self, start, stop):
        self.asked.append((start, stop))
        for low in range(start, stop, 4):
            if self.stop_in is not None and low >= self.stop_in:
                raise KeyboardInterrupt
            high = min(low + 4, stop)
            yield RowBlock(
                self.features[low:high],
                None if self.labels is None else self.labels[low:high],
                {"index": list(range(low, high)), "source": [f"s{i}" for i in range(low, high)]},
            )


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(
    ("storage", "dtype"), [(name, dtype) for name, kind in WRITERS.items() for dtype in kind.dtypes]
)
def test_what_is_written_is_read(storage, dtype, labelled, tmp_path):
    told = manifest(storage=storage, dtype=dtype, class_names=NAMES if labelled else None)
    report = write_embeddings(tmp_path / "out", told, Compute(labels=LABELS if labelled else None))
    assert (report.written, report.skipped, report.rows_written) == (3, 0, ROWS)
    assert storage in READERS
    for spec in (f"{storage}:{tmp_path / 'out'}", f"{tmp_path / 'out'}"):
        reader = open_embeddings(spec)
        assert reader.name == storage
        assert reader.layout.dtype == dtype
        assert [shard.rows for shard in reader.layout.shards] == [10, 10, 3]
        assert reader.layout.target_names == (NAMES if labelled else ())
        rows = list(reader.rows(batch_rows=7))
        stored = torch.cat([row.features for row in rows])
        assert torch.equal(stored, FEATURES.to(getattr(torch, dtype)))
        if labelled:
            assert torch.equal(torch.cat([row.targets for row in rows]), LABELS)
        else:
            assert all(row.targets is None for row in rows)
    known = read_embedding_manifest(tmp_path / "out")
    assert known.complete
    assert known == report.manifest
    names = {name for shard in known.shards.values() for name in shard.files}
    beside = {"manifest.json", "class_names.npy"}
    assert names <= set(contents(tmp_path / "out")) <= names | beside


@pytest.mark.parametrize("storage", WRITERS)
def test_metadata_name_every_row(storage, tmp_path):
    import pyarrow.parquet as pq

    write_embeddings(tmp_path, manifest(storage=storage), Compute())
    stem = "features" if storage == "parquet" else "metadata"
    table = pq.read_table(tmp_path / f"{stem}_1.parquet")
    assert table.column("index").to_pylist() == list(range(10, 20))
    assert table.column("source").to_pylist()[:2] == ["s10", "s11"]
    assert table.column("label").to_pylist() == LABELS[10:20].tolist()
    assert table.column("class_name").to_pylist() == [NAMES[k] for k in LABELS[10:20]]
    assert json.loads(table.schema.metadata[b"class_names"]) == list(NAMES)


@pytest.mark.parametrize("storage", WRITERS)
@pytest.mark.parametrize("stop_in", [0, 4, 12, 20])
def test_an_interrupted_write_goes_on_to_the_same_files(storage, stop_in, tmp_path):
    told = manifest(storage=storage)
    write_embeddings(tmp_path / "whole", told, Compute())
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(tmp_path / "cut", told, Compute(stop_in=stop_in))
    again = Compute()
    report = write_embeddings(tmp_path / "cut", told, again)
    assert again.asked == [(0, 10), (10, 20), (20, 23)][stop_in // 10 :]
    assert (report.skipped, report.written) == (stop_in // 10, 3 - stop_in // 10)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    # A third call computes and writes nothing at all.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cut/features*")}
    idle = Compute()
    report = write_embeddings(tmp_path / "cut", told, idle)
    assert (idle.asked, report.written, report.rows_written) == ([], 0, 0)
    assert before == {path: path.stat().st_mtime_ns for path in before}


KILLED = """
import os, signal, sys, torch
sys.path.insert(0, {tests!r})
import cvxdistill.embeddings.writers.npy as npy
from embeddings.test_write import Compute, manifest
from cvxdistill.embeddings.write import write_embeddings
keep = npy._dump
def dump(array, file):
    keep(array, file)
    if "labels_1" in str(file):
        os.kill(os.getpid(), signal.SIGKILL)
npy._dump = dump
write_embeddings({folder!r}, manifest(), Compute())
"""


def test_a_killed_write_leaves_nothing_behind_once_it_has_gone_on(tmp_path):
    cut = tmp_path / "cut"
    code = KILLED.format(tests=str(Path(__file__).parents[1]), folder=str(cut))
    root = str(Path(cvxdistill.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": root},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = set(contents(cut))
    assert {"features_0.npy", "labels_0.npy", "features_1.npy"} <= left
    assert "labels_1.npy" not in left
    assert any(name.startswith(".labels_1.npy.") for name in left)
    again = Compute()
    write_embeddings(cut, manifest(), again)
    assert again.asked == [(10, 20), (20, 23)]
    write_embeddings(tmp_path / "whole", manifest(), Compute())
    assert contents(cut) == contents(tmp_path / "whole")


def test_damaged_and_missing_shards_are_written_again(tmp_path):
    write_embeddings(tmp_path, manifest(), Compute())
    whole = contents(tmp_path)
    (tmp_path / "labels_0.npy").unlink()
    path = tmp_path / "features_2.npy"
    path.write_bytes(path.read_bytes()[:-1])
    again = Compute()
    write_embeddings(tmp_path, manifest(), again)
    assert again.asked == [(0, 10), (20, 23)]
    assert contents(tmp_path) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"extractor": {"network": "b", "fingerprint": "e1"}},
            "another extractor: network made up",
        ),
        (
            {"source": {"name": "toy", "split": "test", "fingerprint": "s1"}},
            "another source: split",
        ),
        (
            {"preprocessing": {"kind": "zca"}},
            "another preprocessing: kind none there, kind zca now",
        ),
        ({"dtype": "float16"}, "another dtype: float32 there, float16 now"),
        ({"storage": "parquet"}, "another storage: npy there, parquet now"),
        ({"shard_rows": 5}, "another shard_rows"),
        ({"metadata": False}, "another metadata"),
        ({"class_names": ("a", "b", "c")}, "another class_names"),
    ],
)
def test_another_run_is_refused_and_nothing_touched(change, message, tmp_path):
    write_embeddings(tmp_path, manifest(), Compute())
    before, idle = contents(tmp_path), Compute()
    with pytest.raises(InputError, match=message) as caught:
        write_embeddings(tmp_path, manifest(**change), idle)
    assert "\n" not in str(caught.value)
    assert (contents(tmp_path), idle.asked) == (before, [])


def test_weights_that_were_moved_are_the_same_extractor(tmp_path):
    write_embeddings(tmp_path, manifest(), Compute())
    moved = manifest(extractor={"network": "elsewhere", "fingerprint": "e0"})
    assert write_embeddings(tmp_path, moved, Compute()).written == 0


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(notes\.txt\)"):
        write_embeddings(tmp_path, manifest(), Compute())
    with pytest.raises(InputError, match="is a file; give a folder"):
        write_embeddings(tmp_path / "notes.txt", manifest(), Compute())
    assert list(contents(tmp_path)) == ["notes.txt"]
    (tmp_path / "notes.txt").rename(tmp_path / "manifest.json")
    with pytest.raises(InputError, match=r"is not a valid manifest of embeddings: .*JSON"):
        write_embeddings(tmp_path, manifest(), Compute())


def test_what_a_type_does_not_hold(tmp_path):
    large = FEATURES.clone()
    large[11, 2] = 1e5
    with pytest.raises(InputError, match=r"up to 1e\+05 do not fit into float16"):
        write_embeddings(tmp_path / "half", manifest(dtype="float16"), Compute(large))
    wide = manifest(storage="safetensors", dtype="bfloat16")
    assert write_embeddings(tmp_path / "brain", wide, Compute(large)).written == 3
    for storage in ("npy", "parquet"):
        with pytest.raises(InputError, match=f"`{storage}` has no bfloat16"):
            write_embeddings(
                tmp_path / storage, manifest(storage=storage, dtype="bfloat16"), Compute()
            )
        assert not (tmp_path / storage).exists()


def test_rows_of_another_number_or_width_are_refused(tmp_path):
    with pytest.raises(InputError, match="10 rows of 4 features; got 4 of 3"):
        write_embeddings(tmp_path / "a", manifest(), Compute(FEATURES[:, :3]))
    with pytest.raises(InputError, match="must get 10 rows; got 0"):
        write_embeddings(tmp_path / "b", manifest(), lambda start, stop: iter(()))


def test_arrays_are_plain(tmp_path):
    write_embeddings(tmp_path, manifest(metadata=False), Compute())
    assert not list(tmp_path.glob("*.parquet"))
    assert np.load(tmp_path / "class_names.npy", allow_pickle=False).tolist() == list(NAMES)
    assert np.load(tmp_path / "labels_2.npy", allow_pickle=False).dtype == np.int64
    assert oct((tmp_path / "features_0.npy").stat().st_mode & 0o444) == "0o444"
