"""The idx files: strict headers, gzip, single splits, downloads, and the real data."""

import gzip
import sys

import numpy as np
import pytest
import torch
from data.writers import cycle_labels, idx_bytes, random_images, write_idx, write_idx_pair

from cvxdistill.data import load_splits, open_source
from cvxdistill.data.idx import read_idx
from cvxdistill.errors import InputError

IMAGES = random_images(6, (4, 3))


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_plain_and_gzipped(tmp_path, zipped):
    path = tmp_path / ("file.gz" if zipped else "file")
    content = idx_bytes(IMAGES)
    path.write_bytes(gzip.compress(content) if zipped else content)
    np.testing.assert_array_equal(read_idx(path, ndim=3).numpy(), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must start with 00 00 08 03 .* got an empty file"),
        (b"\x00\x00", "must start with 00 00 08 03 .* got 00 00"),
        (b"\x89PNG" + bytes(40), "got 89 50 4e 47"),
        (b"\x00\x00\x0d\x03" + bytes(40), "unsigned bytes, 3 dimensions.* got 00 00 0d 03"),
        (idx_bytes(IMAGES[:, 0, 0]), "got 00 00 08 01"),
        (idx_bytes(IMAGES)[:10], "header of 16 bytes; got 10"),
        (idx_bytes(IMAGES)[:-1], "must hold 6 x 4 x 3 = 72 bytes of values by its header; got 71"),
        (idx_bytes(IMAGES) + b"x", "= 72 bytes of values by its header; got 73"),
    ],
    ids=["empty", "short", "png", "floats", "labels", "header", "truncated", "too-long"],
)
def test_damaged_files_are_named(tmp_path, content, message):
    (tmp_path / "some-file").write_bytes(content)
    with pytest.raises(InputError, match=f"some-file .*{message}"):
        read_idx(tmp_path / "some-file", ndim=3)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(idx_bytes(IMAGES))[:-12], gzip.compress(idx_bytes(IMAGES))[:40]],
    ids=["not-gzip", "no-checksum", "cut"],
)
def test_damaged_gzip_is_named(tmp_path, content):
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"file.gz cannot be read as an idx file"):
        read_idx(tmp_path / "file.gz", ndim=3)


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "a-folder").mkdir()
    with pytest.raises(InputError, match=r"a-folder cannot be read as an idx file"):
        read_idx(tmp_path / "a-folder", ndim=3)


def test_counts_of_images_and_labels_must_agree(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_idx_pair(raw, "t10k", IMAGES, cycle_labels(5, 10))
    with pytest.raises(InputError, match=r"t10k-labels.* one label for each of the 6 .*; got 5"):
        open_source("mnist", data_root=tmp_path).load("all")


@pytest.mark.parametrize(("name", "label"), [("mnist", 10), ("emnist-letters", 0)])
def test_labels_out_of_range_are_refused(tmp_path, name, label):
    source = open_source(name, data_root=tmp_path)
    raw = tmp_path / source.folder / "raw"
    write_idx_pair(raw, source.prefixes["test"], IMAGES, np.full(6, label))
    with pytest.raises(InputError, match=f"must hold labels .*; got {label} to {label}"):
        source.load("all")


@pytest.mark.parametrize("present", ["train", "test"])
def test_one_split_alone_is_all_there_is(tmp_path, present):
    raw = tmp_path / "KMNIST" / "raw"
    write_idx_pair(raw, {"train": "train", "test": "t10k"}[present], IMAGES, cycle_labels(6, 10))
    source = open_source("kmnist", data_root=tmp_path)
    assert source.splits() == ("all",)
    data = source.load("all")
    assert (data.split, data.source_split, len(data)) == ("all", present, 6)


def test_images_without_labels_are_an_error(tmp_path):
    write_idx("mnist")(tmp_path)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte is missing"):
        open_source("mnist", data_root=tmp_path).splits()


def test_download_asks_torchvision_and_keeps_stdout_clean(tmp_path, monkeypatch, capsys):
    import torchvision

    def fetch(root, download, split):
        assert (root, download, split) == (str(tmp_path / "new"), True, "letters")
        sys.stdout.write("downloading")
        write_idx("emnist-letters")(tmp_path / "new")

    monkeypatch.setattr(torchvision.datasets, "EMNIST", fetch)
    source = open_source("emnist-letters", data_root=tmp_path / "new", download=True)
    assert source.splits() == ("train", "test")
    assert capsys.readouterr().out == ""


def test_download_is_not_asked_for_what_is_there(tmp_path, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "MNIST", None)
    write_idx("mnist")(tmp_path)
    assert len(open_source("mnist", data_root=tmp_path, download=True).load("train")) == 30


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    import torchvision

    def fail(**_):
        raise RuntimeError("Error downloading x.gz:\nTried http://there, got:\nno network")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fail)
    with pytest.raises(
        InputError, match=r"could not be downloaded .* Tried .* no network"
    ) as error:
        open_source("fashion-mnist", data_root=tmp_path, download=True).splits()
    assert "\n" not in str(error.value)


def test_real_mnist_has_the_official_counts(data_root):
    parts = load_splits("mnist", data_root=data_root)
    assert (len(parts.train), len(parts.validation), len(parts.test())) == (50_000, 10_000, 10_000)
    per_class = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (parts.train.class_counts + parts.validation.class_counts).tolist() == per_class
    assert parts.test().class_counts.tolist() == [
        *(980, 1135, 1032, 1010, 982),
        *(892, 958, 1028, 974, 1009),
    ]


def test_real_mnist_equals_torchvision(data_root):
    from torchvision.datasets import MNIST

    theirs, ours = MNIST(data_root, train=False), open_source("mnist", data_root=data_root)
    data = ours.load("test")
    assert torch.equal(data.images[:, 0], theirs.data)
    assert torch.equal(data.labels, theirs.targets)


def test_real_emnist_is_upright(data_root):
    parts = load_splits("emnist-letters", data_root=data_root)
    assert (len(parts.train), len(parts.validation)) == (104_000, 20_800)
    letters = parts.test()
    assert letters.class_counts.tolist() == [800] * 26
    # The mean `t` has its bar on top and a stem in the middle; on its side it has neither.
    mean = letters.images[letters.labels == 19].float().mean(0)[0]
    assert mean[16:24, 12:16].mean() > 3 * mean[16:24, 2:8].mean()
    # The mean `l` is taller than wide.
    ink = letters.images[letters.labels == 11].float().mean(0)[0] > 100
    assert ink.any(1).sum() > 1.5 * ink.any(0).sum()


def test_real_kmnist_needs_an_explicit_split(data_root):
    with pytest.raises(InputError, match=r"kmnist has only its 10,000 test images under .*0\.2"):
        load_splits("kmnist", data_root=data_root)
    parts = load_splits("kmnist", data_root=data_root, test_fraction=0.2)
    assert parts.test().class_counts.tolist() == [200] * 10
    assert parts.record["source_split"] == "test"
