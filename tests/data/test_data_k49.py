"""Kuzushiji-49: where it is looked for, its class names, and files that do not fit."""

import numpy as np
import pytest
from data.writers import write_k49

from cvxdistill.data import load_splits, open_source
from cvxdistill.errors import InputError


def put(name, array):
    return lambda folder: np.savez(folder / name, array)


def test_the_root_itself_and_no_class_map_do_too(tmp_path):
    written = write_k49(tmp_path, place=".", names=False)
    data = open_source("k49", data_root=tmp_path).load("test")
    np.testing.assert_array_equal(data.images.numpy(), written.truth["test"][0])
    assert data.class_names == tuple(map(str, range(49)))


def test_the_official_test_split_stands(tmp_path):
    write_k49(tmp_path)
    parts = load_splits("k49", data_root=tmp_path)
    assert parts.record["test_rule"] == "official"
    assert (len(parts.train) + len(parts.validation), len(parts.test())) == (147, 98)
    assert parts.train.source_split == "train"
    assert parts.train.num_classes == 49


@pytest.mark.parametrize("download", [False, True])
def test_missing_files_say_where_to_get_them(tmp_path, download):
    source = open_source("k49", data_root=tmp_path, download=download)
    with pytest.raises(InputError, match=r"k49-train-imgs.npz, .* found none.*codh.*--download"):
        source.splits()
    write_k49(tmp_path)
    (tmp_path / "K49" / "k49-test-labels.npz").unlink()
    with pytest.raises(InputError, match=r"K49; k49-test-labels.npz is missing") as caught:
        source.load("train")
    assert "\n" not in str(caught.value)


IMAGES, LABELS = "k49-train-imgs.npz", "k49-train-labels.npz"
ZEROS = np.zeros(147, np.uint8)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (put(LABELS, ZEROS[:5]), "one label for each of the 147 images .* got 5"),
        (put(LABELS, ZEROS + 49), "labels 0 to 48; got 49"),
        (put(LABELS, ZEROS.astype(np.int64)), "uint8 of 1 dimension .* got int64"),
        (put(LABELS, ZEROS[:, None]), r"uint8 of 1 dimension .* shape \(147, 1\)"),
        (put(IMAGES, np.zeros((147, 30), np.uint8)), r"uint8 of 3 dimensions .* \(147, 30\)"),
        (put(IMAGES, np.zeros((0, 28, 28), np.uint8)), "not empty"),
        (put(LABELS, np.array([{}] * 147)), "labels.npz cannot be read .*allow_pickle"),
        (lambda f: (f / IMAGES).write_bytes(b"PK\x03\x04 cut"), "imgs.npz cannot be read as an"),
        (lambda f: np.savez(f / IMAGES, x=ZEROS), "one array `arr_0`; got x"),
    ],
)
def test_archives_that_do_not_fit(tmp_path, damage, message):
    write_k49(tmp_path)
    damage(tmp_path / "K49")
    with pytest.raises(InputError, match=message) as caught:
        open_source("k49", data_root=tmp_path).load("train")
    assert "\n" not in str(caught.value)
    assert "unsafely" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("char", "letter"), "cannot be read as a class map: 'char'"),
        (lambda text: text[: text.rindex("48,")], "must name each class .* got 48 rows"),
        (lambda text: text.replace("\n3,", "\n2,"), "must name each class"),
        (lambda text: text.replace("い", "あ").replace("ぃ", "あ"), "by another `char`"),
        (lambda text: text.replace(",あ", ","), "must name each class"),
    ],
)
def test_class_maps_that_do_not_fit(tmp_path, change, message):
    write_k49(tmp_path)
    path = tmp_path / "K49" / "k49_classmap.csv"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        open_source("k49", data_root=tmp_path).load("train")
