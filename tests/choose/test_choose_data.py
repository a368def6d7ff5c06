"""Choosing the base examples: balanced, random, and by number."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.choose import CHOOSERS, choose_base
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError


def image_set(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    # Numbered from 100, in steps, so that positions and indices cannot be taken for each other.
    indices = 100 + 3 * torch.arange(len(labels))
    names = tuple(f"class-{k}" for k in range(len(counts)))
    images = indices.float()[:, None].clone()
    return ImageSet(images, labels, names, name="toy", split="train", indices=indices)


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 3))
def test_balanced_is_equal_up_to_one(classes, examples, seed):
    data = image_set([8 + k for k in range(classes)])
    examples = min(examples, 8 * classes)
    base = choose_base(data, examples, seed=seed)
    counts = base.class_counts
    assert len(base) == examples == len(set(base.indices.tolist()))
    assert int(counts.max() - counts.min()) <= 1
    assert base.labels.tolist() == sorted(base.labels.tolist())
    assert base.images[:, 0].tolist() == base.indices.tolist()
    assert base.split == "base"


def test_the_remainder_goes_to_classes_drawn_at_random():
    data = image_set([5] * 6)
    extra = {tuple(choose_base(data, 8, seed=s).class_counts.tolist()) for s in range(12)}
    assert len(extra) > 3


@pytest.mark.parametrize("how", ["balanced", "random"])
def test_draws_are_seeded_and_nested(how):
    data = image_set([20] * 5)
    small, again, large, other = (
        choose_base(data, m, how=how, seed=s).indices.tolist()
        for m, s in ((20, 0), (20, 0), (40, 0), (20, 1))
    )
    assert small == again
    assert set(small) < set(large)
    assert set(small) != set(other)


@given(st.integers(1, 30))
def test_random_is_a_draw_without_replacement(examples):
    base = choose_base(image_set([10, 20]), examples, how="random")
    assert len(set(base.indices.tolist())) == examples == len(base)


@pytest.mark.parametrize(
    "form", ["list", "tensor", "array", "text", "spaces", "npy", "file", "path"]
)
def test_indices_count_in_the_source(tmp_path, form):
    data, wanted = image_set([10, 20]), [142, 100, 187]
    np.save(tmp_path / "i.npy", wanted)
    (tmp_path / "i.txt").write_text("142\n100, 187\n")
    forms = {
        "list": wanted,
        "tensor": torch.tensor(wanted),
        "array": np.array(wanted, dtype=np.uint16),
        "text": "142,100,187",
        "spaces": " 142, 100 187 ",
        "npy": str(tmp_path / "i.npy"),
        "file": str(tmp_path / "i.txt"),
        "path": tmp_path / "i.txt",
    }
    base = choose_base(data, how="indices", indices=forms[form])
    assert base.indices.tolist() == wanted
    assert base.images[:, 0].tolist() == wanted


def test_indices_of_a_base_set_give_it_again():
    data = image_set([10, 20])
    base = choose_base(data, 7, seed=3)
    again = choose_base(data, 7, how="indices", indices=base.indices)
    assert base.fingerprint() == again.fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 31}, "at most the 30 examples of the train part of toy; got 31"),
        ({"examples": 31, "how": "random"}, "at most the 30 examples"),
        ({"examples": 0}, "at least 1 base example .* got 0"),
        ({}, "at least 1 base example .* got None"),
        ({"examples": 24}, "12 examples of every class; class `class-0` of toy has 10. Ask"),
        ({"examples": 3, "how": "blanced"}, "must be one of balanced, .*Did you mean `balanced`"),
        ({"examples": 3, "indices": [1]}, 'read with how="indices" alone'),
        ({"how": "indices"}, "needs `indices`"),
        ({"how": "indices", "indices": "100,103,100"}, "must differ; 100 comes twice"),
        ({"how": "indices", "indices": "100,101"}, "30 examples of the train .* got 101"),
        ({"how": "indices", "indices": "-1"}, "got -1"),
        ({"how": "indices", "indices": "1000000"}, "got 1000000"),
        ({"how": "indices", "indices": "100,a"}, "commas between them.* got `100 a`"),
        ({"how": "indices", "indices": "99999999999999999999"}, "whole numbers"),
        ({"how": "indices", "indices": ""}, r"one or more whole numbers; got shape \(0,\)"),
        ({"how": "indices", "indices": [1.5]}, "whole numbers; .* float64"),
        ({"how": "indices", "indices": "no.npy"}, "no.npy cannot be read as a .npy file of ind"),
        ({"how": "indices", "indices": "100,103", "examples": 3}, "equal the 2 `indices`; got 3"),
    ],
)
def test_what_cannot_be_chosen(arguments, message):
    with pytest.raises(InputError, match=message):
        choose_base(image_set([10, 20]), **arguments)


@pytest.mark.parametrize("examples", [1, 6])
@pytest.mark.parametrize("seed", range(4))
def test_a_class_without_examples_is_named(examples, seed):
    data = image_set([4, 0, 5])
    with pytest.raises(InputError, match="class `class-1` of toy has 0"):
        choose_base(data, examples, seed=seed)
    assert len(choose_base(data, 6, how="random")) == 6


def test_choosers_are_sorted():
    assert list(CHOOSERS) == sorted(CHOOSERS)
