"""Embeddings as data sets in memory: what is kept, converted and refused."""

import numpy as np
import pytest
import torch
from embeddings.writers import Embedded, hf_dataset, save_quietly, write, write_splits

from cvxdistill.data import DATASETS, load_splits, open_source
from cvxdistill.data.embedded import EmbeddedSource
from cvxdistill.errors import InputError

KINDS = sorted(name for name, kind in DATASETS.items() if issubclass(kind, EmbeddedSource))
X = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float16)
Y = np.arange(30) % 3


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def test_half_precision_becomes_single_and_strings_become_classes(kind, tmp_path):
    labels = np.array(["b", "a", "c"])[Y]
    spec = write(kind, tmp_path / "set", Embedded([X[:20], X[20:]], [labels[:20], labels[20:]]))
    data = open_source(spec).load("all")
    assert data.images.dtype == torch.float32
    np.testing.assert_array_equal(data.images.numpy(), X.astype(np.float32))
    assert data.class_names == ("a", "b", "c")
    assert data.labels.tolist() == np.array([1, 0, 2])[Y].tolist()
    assert data.name == f"{kind}:set"
    bare = open_source(str(tmp_path / "set"))
    assert bare.name == kind
    assert load_splits(spec, test_fraction=0.2).record["sizes"]["test"] == 6


def test_all_parts_count_in_the_classes_of_the_training_part(kind, tmp_path):
    words = np.array(["a", "b", "c"])[Y]
    parts = {"train": (X[:20], words[:20]), "test": (X[20:23], np.array(["c", "b", "c"]))}
    splits = {split: Embedded([x], [y]) for split, (x, y) in parts.items()}
    source = open_source(write_splits(kind, tmp_path / "set", splits))
    assert source.splits() == ("train", "test")
    if kind == "safetensors":
        # Their names are stored, and those of the test part are its own: b and c.
        assert source.load("test").class_names == ("a", "b", "c")
    assert source.load("test").labels.tolist() == [2, 1, 2]
    splits["test"] = Embedded([X[20:23]], [np.array(["c", "d", "c"])])
    source = open_source(write_splits(kind, tmp_path / "more", splits))
    with pytest.raises(InputError, match=r"among the 3 classes of the training part; got `d`"):
        source.load("test")


def test_what_a_data_set_has_no_place_for_is_refused(kind, tmp_path):
    for name, data, match in (
        ("real", Embedded([X], [np.zeros((30, 2))]), "targets of kind `real`"),
        ("none", Embedded([X]), "targets of kind `none`"),
        ("weights", Embedded([X], [Y], [np.ones(30)]), "has no weights of examples"),
    ):
        source = open_source(write(kind, tmp_path / name, data))
        with pytest.raises(InputError, match=match) as caught:
            source.load("all")
        assert "cvxdistill stats" in str(caught.value)


def test_the_test_part_is_not_read_before_it_is_asked_for(kind, tmp_path):
    x = X.copy()
    x[25] = np.nan
    splits = {"train": Embedded([x[:20]], [Y[:20]]), "test": Embedded([x[20:]], [Y[20:]])}
    parts = load_splits(write_splits(kind, tmp_path / "set", splits))
    assert len(parts.train) + len(parts.validation) == 20
    with pytest.raises(InputError, match="must be finite; got NaN or infinity in row 5"):
        parts.test()


def test_one_part_is_the_whole_and_validation_stands_in_for_test(tmp_path):
    one = Embedded([X], [Y])
    assert open_source(write_splits("parquet", tmp_path / "a", {"train": one})).splits() == ("all",)
    two = write_splits("parquet", tmp_path / "b", {"train": one, "validation": one})
    assert open_source(two).splits() == ("train", "test")
    three = write_splits("parquet", tmp_path / "c", {"train": one, "val": one, "test": one})
    assert open_source(three).splits() == ("train", "validation", "test")
    source = open_source(write_splits("parquet", tmp_path / "d", {"val": one, "test": one}))
    with pytest.raises(InputError, match="must have parts train and test; got validation, test"):
        source.splits()


def test_parts_of_other_widths_are_refused(kind, tmp_path):
    splits = {"train": Embedded([X], [Y]), "test": Embedded([X[:, :3].copy()], [Y])}
    if kind == "hf":
        for split, data in splits.items():
            save_quietly(hf_dataset(data), tmp_path / "set" / split)
        (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        spec = f"hf:{tmp_path / 'set'}"
    else:
        spec = write_splits(kind, tmp_path / "set", splits)
    with pytest.raises(InputError, match="must have as many features; got 4 and 3"):
        open_source(spec).load("test")
