"""CIFAR's pickles: read as written by Python 2 and 3, and never run."""

import pickle
import shutil

import numpy as np
import pytest
from data.writers import cifar_files, python2_pickle, write_cifar, write_tar

from cvxdistill.data import open_source
from cvxdistill.data.cifar_batches import read_batch
from cvxdistill.errors import InputError


class Canary:
    """Creates a file when unpickled by an unpickler that runs pickles."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_hand_made_python2_pickle_is_what_numpy_reads():
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    theirs = pickle.loads(python2_pickle({"data": array, "labels": [1, 2]}), encoding="latin1")
    np.testing.assert_array_equal(theirs["data"], array)
    assert theirs["labels"] == [1, 2]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batches_of_python3_read_the_same(protocol, order):
    array = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)
    batch = read_batch(pickle.dumps({"data": array}, protocol=protocol), name="toy")
    np.testing.assert_array_equal(batch["data"], array)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_run(tmp_path, protocol):
    canary = tmp_path / "it-ran"
    content = pickle.dumps({"data": Canary(canary)}, protocol=protocol)
    pickle.loads(content)["data"].close()
    assert canary.exists()
    canary.unlink()
    with pytest.raises(InputError, match=r"toy .*asks for `\w+\.open`, which no CIFAR batch needs"):
        read_batch(content, name="toy")
    assert not canary.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(tR.",
        b"c_codecs\nlookup\n(S'x'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n}S'__call__'\nI1\nsb.",
        b"\x80\x02(cnumpy\nndarray\n)\x81.",
        b"not a pickle",
        b"",
        pickle.dumps({"data": [1, 2, 3]})[:-4],
    ],
    ids=lambda content: ascii(content[:24]),
)
def test_everything_else_is_refused(content):
    with pytest.raises(InputError, match="toy cannot be read as a CIFAR batch"):
        read_batch(content, name="toy")


@pytest.mark.parametrize("dtype", [np.float32, np.int64, object])
def test_only_unsigned_bytes_are_read(dtype):
    with pytest.raises(InputError, match=r"toy cannot be read.*unsigned bytes"):
        read_batch(pickle.dumps({"data": np.zeros((2, 2), dtype)}, protocol=2), name="toy")


def test_an_array_that_lies_about_its_shape():
    content = python2_pickle({"data": np.zeros((2, 3), np.uint8)})
    content = content.replace(b"J\x03\x00\x00\x00", b"J\x09\x00\x00\x00")
    with pytest.raises(InputError, match="expected 18 bytes of pixels; got 6"):
        read_batch(content, name="toy")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_archive_reads_as_the_folder(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_cifar(name)(tmp_path / "a")
    write_cifar(name, archive=True)(tmp_path / "b")
    for split in ("train", "test"):
        folder, archive = (
            open_source(name, data_root=tmp_path / place).load(split) for place in "ab"
        )
        assert folder.fingerprint() == archive.fingerprint()
        assert folder.class_names == archive.class_names


def test_a_missing_batch_is_named(tmp_path):
    write_cifar("cifar10")(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(InputError, match="data_batch_3 is missing"):
        open_source("cifar10", data_root=tmp_path).load("train")


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz cannot be read as a tar"):
        open_source("cifar10", data_root=tmp_path).load("test")


@pytest.mark.parametrize(
    ("file", "entries", "message"),
    [
        ("test_batch", {"labels": [1]}, r"`data` of shape \(n, 3072\); got NoneType"),
        ("test_batch", {"data": np.zeros((1, 9), np.uint8)}, r"shape \(n, 3072\); got \(1, 9\)"),
        ("test_batch", {"data": np.zeros((1, 3072), np.uint8)}, "`labels`, a list of 1 numbers"),
        (
            "test_batch",
            {"data": np.zeros((1, 3072), np.uint8), "labels": [10]},
            "numbers from 0 to 9",
        ),
        ("batches.meta", {"label_names": ["a"]}, "a list of 10 class names"),
    ],
)
def test_wrong_content_is_named(tmp_path, file, entries, message):
    write_cifar("cifar10")(tmp_path)
    (tmp_path / "cifar-10-batches-py" / file).write_bytes(pickle.dumps(entries, protocol=2))
    with pytest.raises(InputError, match=f"{file} must hold .*{message}"):
        open_source("cifar10", data_root=tmp_path).load("test")


def test_a_batch_that_is_no_dictionary(tmp_path):
    with pytest.raises(InputError, match="must be a pickled dictionary; got list"):
        read_batch(pickle.dumps([1]), name="toy")


def test_the_lossy_copy_is_pointed_at(tmp_path):
    write_tar(tmp_path / "cifar10-jpeg.tar.gz", {})
    with pytest.raises(InputError, match=r"or read the lossy copy there as folder:.*cifar10-jpeg"):
        open_source("cifar10", data_root=tmp_path).splits()


def test_download_asks_torchvision(tmp_path, monkeypatch):
    import torchvision

    def fetch(root, download):
        write_cifar("cifar100")(tmp_path / "new")

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", fetch)
    source = open_source("cifar100", data_root=tmp_path / "new", download=True)
    assert len(source.load("test")) == 100
    shutil.rmtree(tmp_path / "new" / "cifar-100-python")
    monkeypatch.setattr(torchvision.datasets, "CIFAR100", lambda **_: None)
    with pytest.raises(InputError, match="found neither"):
        source.splits()


def test_official_file_names():
    files, _, _ = cifar_files("cifar10")
    assert sorted(files) == [
        "batches.meta",
        *(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
    ]
