"""Arrays by name, shape and type: what each layout means and what is refused."""

import numpy as np
import pytest
import torch
from data.writers import random_images

from cvxdistill.data import load_splits, open_source
from cvxdistill.data.layout import as_examples
from cvxdistill.embeddings.pairing import pair_arrays
from cvxdistill.errors import InputError


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((5, 8, 7), (5, 1, 8, 7)),
        ((5, 8, 7, 1), (5, 1, 8, 7)),
        ((5, 8, 7, 3), (5, 3, 8, 7)),
        ((5, 8, 7, 4), (5, 4, 8, 7)),
        ((5, 3, 8, 7), (5, 3, 8, 7)),
        ((5, 1, 8, 7), (5, 1, 8, 7)),
    ],
)
def test_the_channel_axis_is_found(shape, result):
    array = random_images(5, shape[1:])
    examples = as_examples(array, name="toy")
    assert examples.shape == result
    moved = array.transpose(0, 3, 1, 2) if len(shape) == 4 and shape[1] == 8 else array
    np.testing.assert_array_equal(examples.numpy().ravel(), moved.ravel())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 3, 8, 3), np.uint8), r"1, 3 or 4 channels .* got both in shape \(5, 3, 8, 3"),
        (np.zeros((5, 9, 8, 7), np.uint8), "got neither in shape"),
        (np.zeros(5), r"must be \(n, d\), .* got shape \(5,\)"),
        (np.zeros((5, 1, 2, 3, 4)), r"got shape \(5, 1, 2, 3, 4\)"),
        (np.zeros((0, 4)), "must not be empty"),
        (np.zeros((5, 49), np.uint8), "must be floating-point features; got uint8. Reshape"),
        (np.full((5, 4, 4), 256), "must lie in 0..255; got 256 to 256"),
        (np.full((5, 4, 4), -1, np.int8), "must lie in 0..255; got -1"),
        (np.zeros((5, 4, 4), bool), "must be numbers, .* got bool"),
        (np.zeros((5, 4), "U1"), "must be numbers"),
        (np.zeros((5, 4), complex), "must be numbers"),
    ],
)
def test_unclear_arrays_are_refused(array, message):
    with pytest.raises(InputError, match=f"toy.*{message}"):
        as_examples(array, name="toy")


@pytest.mark.parametrize(
    ("dtype", "shape", "result"),
    [
        ("float16", (2, 3), torch.float32),
        ("float32", (2, 3), torch.float32),
        ("float64", (2, 3), torch.float64),
        (">f8", (2, 3), torch.float64),
        (">f4", (2, 3), torch.float32),
        ("float64", (2, 5, 5), torch.float32),
        ("uint8", (2, 5, 5), torch.uint8),
        (">i4", (2, 5, 5), torch.uint8),
    ],
)
def test_types_are_the_ones_that_images_have(dtype, shape, result):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    examples = as_examples(array, name="toy")
    assert examples.dtype == result
    assert examples.flatten().tolist() == array.ravel().tolist()


def save(path, **arrays):
    np.savez(path / "a.npz", **arrays)
    return open_source(f"npz:{path / 'a.npz'}")


X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ([0, 1, 2, 0, 1, 2], ("0", "1", "2"), [0, 1, 2, 0, 1, 2]),
        ([10, 9, 10, 9, -1, 10], ("-1", "9", "10"), [2, 1, 2, 1, 0, 2]),
        (list("bacabb"), ("a", "b", "c"), [1, 0, 2, 0, 1, 1]),
        ([b"b", b"a", b"b", b"a", b"a", b"a"], ("a", "b"), [1, 0, 1, 0, 0, 0]),
        ([[1], [0], [1], [0], [0], [1]], ("0", "1"), [1, 0, 1, 0, 0, 1]),
    ],
)
def test_labels_are_numbered_in_sorted_order(tmp_path, labels, names, numbers):
    data = save(tmp_path, features=X, labels=np.array(labels)).load("all")
    assert data.class_names == names
    assert data.labels.tolist() == numbers
    assert torch.equal(data.images, torch.from_numpy(X))


def test_stored_names_keep_their_order_and_empty_classes(tmp_path):
    names = np.array(["z", "y", "x"])
    data = save(tmp_path, x=X, y=np.array([0, 2, 0, 2, 0, 0]), class_names=names).load("all")
    assert (data.class_names, data.labels.tolist()) == (("z", "y", "x"), [0, 2, 0, 2, 0, 0])
    data = save(tmp_path, x=X, y=np.array(list("zxzxzz")), class_names=names).load("all")
    assert data.labels.tolist() == [0, 2, 0, 2, 0, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "exactly one of labels, y for the all part; got none"),
        ({"y": np.arange(6)}, "exactly one of images, features, x .* got none"),
        ({"z": X}, "must hold images, features or x with labels or y; got z"),
        ({"x": X, "images": X, "y": np.arange(6)}, "got images and x"),
        ({"x": X, "y": np.arange(5)}, "one label an example; got 5 labels for 6"),
        ({"x": X, "y": np.eye(6)}, r"must be a vector; got shape \(6, 6\). Take the argmax"),
        ({"x": X, "y": np.arange(6.0)}, "must be whole numbers or strings; got float64"),
        ({"x": X, "y": np.arange(6), "class_names": list("ab")}, "0..1, .* got 2"),
        ({"x": X, "y": np.arange(6), "class_names": list("aa")}, "must differ"),
        ({"x": X * np.nan, "y": np.arange(6)}, "must be finite; got 18 NaN"),
        ({"x_train": X, "y_train": np.arange(6)}, "test is missing"),
        ({"x_train": X, "y_train": X, "x": X, "y": X}, "got both"),
        ({"x": np.array([{}, 1], dtype=object), "y": [0, 1]}, "npz cannot be read .*allow_pickle"),
    ],
)
def test_archives_that_do_not_fit(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message) as caught:
        save(tmp_path, **arrays).load("all")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_damaged_archives_are_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a.npz cannot be read as an npz archive") as caught:
        open_source(f"npz:{tmp_path / 'a.npz'}").load("all")
    assert "unsafely" not in str(caught.value)


@pytest.mark.parametrize("names", ["train_{}", "{}_train"])
def test_train_and_test_pairs_share_their_classes(tmp_path, names):
    test = names.replace("train", "test")
    arrays = {names.format("x"): X, names.format("y"): np.array([5, 3, 9, 5, 3, 9])}
    arrays |= {test.format("x"): X[:2], test.format("y"): np.array([9, 9])}
    source = save(tmp_path, **arrays)
    assert source.splits() == ("train", "test")
    assert source.load("test").labels.tolist() == [2, 2]
    assert source.load("test").class_names == ("3", "5", "9")
    arrays[test.format("y")] = np.array([9, 7])
    with pytest.raises(InputError, match=r"must be among the 3 classes .* got `7`"):
        save(tmp_path, **arrays).load("test")


def test_shards_are_joined_in_the_order_of_their_numbers(tmp_path):
    for k, rows in ((0, 3), (2, 1), (10, 2)):
        np.save(tmp_path / f"features_{k}.npy", np.full((rows, 4), k, np.float32))
        np.save(tmp_path / f"labels_{k}.npy", np.full(rows, k))
    data = open_source(f"npy:{tmp_path}").load("all")
    assert data.images[:, 0].tolist() == [0, 0, 0, 2, 10, 10]
    assert data.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert data.class_names == ("0", "2", "10")
    np.save(tmp_path / "features_2.npy", np.zeros((1, 5), np.float32))
    with pytest.raises(InputError, match="all shards must have one shape"):
        open_source(f"npy:{tmp_path}").load("all")
    (tmp_path / "labels_10.npy").unlink()
    with pytest.raises(InputError, match="features_10 has no partner"):
        open_source(f"npy:{tmp_path}").load("all")


def test_shards_beside_the_whole_are_refused():
    names = ["features", "labels", "features_0", "labels_0"]
    with pytest.raises(InputError, match="numbered shards of it; got both"):
        pair_arrays(names, place="toy")


def test_a_damaged_npy_is_named(tmp_path):
    np.save(tmp_path / "labels.npy", np.arange(6))
    np.save(tmp_path / "images.npy", X)
    content = (tmp_path / "images.npy").read_bytes()
    for bad in (content[:-5], b"no array", b""):
        (tmp_path / "images.npy").write_bytes(bad)
        with pytest.raises(
            InputError, match=r"images.npy cannot be read as a .npy array"
        ) as caught:
            open_source(f"npy:{tmp_path}").load("all")
        assert "unsafely" not in str(caught.value)


def test_npy_wants_a_folder(tmp_path):
    np.save(tmp_path / "images.npy", X)
    with pytest.raises(InputError, match="npy expects a folder"):
        open_source(f"npy:{tmp_path / 'images.npy'}").splits()


def test_real_omniglot(data_root):
    source = open_source("npz:omniglot/omniglot_small_28.npz", data_root=data_root)
    data = source.load("all")
    assert data.images.shape == (4840, 1, 28, 28)
    assert data.num_classes == 242
    assert data.class_counts.tolist() == [20] * 242
    assert "Latin/character01" in data.class_names
    with pytest.raises(InputError, match="has 4,840 examples and no official test split"):
        load_splits("npz:omniglot/omniglot_small_28.npz", data_root=data_root)
    parts = load_splits(
        "npz:omniglot/omniglot_small_28.npz", data_root=data_root, test_fraction=0.25
    )
    assert parts.test().class_counts.tolist() == [5] * 242


def test_real_lossless_cifar(data_root):
    source = open_source("cifar10-lossless/cifar10_train_first4000.npz", data_root=data_root)
    data = source.load("all")
    assert data.images.shape == (4000, 3, 32, 32)
    assert data.class_counts.tolist() == [396, 366, 420, 384, 422, 393, 414, 385, 407, 413]
    assert data.class_names[-1] == "truck"
