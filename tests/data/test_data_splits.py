"""Division into parts: disjoint, covering, stratified, seeded, and the test part left alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.data import DataSource, ImageSet, load_splits, split_source
from cvxdistill.data.stratify import draw_stratified, proportional_counts
from cvxdistill.errors import InputError
from cvxdistill.seeding import generator


def image_set(labels, **kwargs):
    labels = torch.as_tensor(labels)
    images = torch.arange(len(labels), dtype=torch.float32)[:, None].clone()
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return ImageSet(images, labels, names, name="toy", **kwargs)


class Toy(DataSource):
    """A source in memory; reading its test part can be forbidden."""

    name = "toy"

    def __init__(self, labels, official=True):
        super().__init__()
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "official", official)
        object.__setattr__(self, "reads", [])

    def splits(self):
        return ("train", "test") if self.official else ("all",)

    def load(self, split):
        self.reads.append(split)
        return image_set(self.labels, split=split, source_split=split)


class_counts = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda c: sum(c) > 1)


def labels_of(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=generator(0, "toy"))]


@given(class_counts, st.data())
def test_shares_are_exact_proportions_rounded(counts, data):
    total = data.draw(st.integers(0, sum(counts)))
    shares = proportional_counts(torch.tensor(counts), total)
    assert int(shares.sum()) == total
    for count, share in zip(counts, shares.tolist(), strict=True):
        assert 0 <= share <= count
        assert abs(share - count * total / sum(counts)) < 1


def test_no_class_is_emptied_without_need():
    assert proportional_counts(torch.tensor([1, 4, 4]), 5).tolist() == [0, 3, 2]
    assert proportional_counts(torch.tensor([1, 1]), 1).tolist() == [1, 0]


@given(class_counts, st.data())
def test_a_stratified_draw_and_the_rest_are_all(counts, data):
    labels, total = labels_of(counts), data.draw(st.integers(0, sum(counts)))
    drawn, others = draw_stratified(labels, len(counts), total, generator(1, "x"))
    assert torch.cat([drawn, others]).sort().values.tolist() == list(range(sum(counts)))
    shares = proportional_counts(torch.tensor(counts), total)
    assert torch.bincount(labels[drawn], minlength=len(counts)).tolist() == shares.tolist()


@given(class_counts.filter(lambda c: sum(c) >= 20), st.integers(0, 5), st.booleans())
def test_parts_are_disjoint_and_cover(counts, seed, official):
    source = Toy(labels_of(counts), official)
    parts = split_source(source, seed=seed, test_fraction=None if official else 0.25)
    held = [parts.train, parts.validation] + ([] if official else [parts.test()])
    indices = torch.cat([part.indices for part in held])
    assert indices.sort().values.tolist() == list(range(sum(counts)))
    assert [part.split for part in held] == ["train", "validation", "test"][: len(held)]
    for part in held:
        # The images of the toy say where they come from.
        assert part.images[:, 0].tolist() == part.indices.tolist()
        assert part.labels.tolist() == source.labels[part.indices].tolist()
        for count, got in zip(counts, part.class_counts.tolist(), strict=False):
            assert abs(got - count * len(part) / sum(counts)) < 2


def test_the_seed_names_the_division():
    source = Toy(labels_of([30, 20]), official=False)
    division = [split_source(source, test_fraction=0.2, seed=s) for s in (0, 0, 1)]
    first, again, other = ([p.train.indices.tolist(), p.test().indices.tolist()] for p in division)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_the_test_part_is_read_when_asked_for_and_once():
    source = Toy(labels_of([30, 20]))
    parts = split_source(source)
    assert source.reads == ["train"]
    assert parts.record["sizes"] == {"train": 45, "validation": 5, "test": None}
    assert parts.test() is parts.test()
    assert source.reads == ["train", "test"]


def test_limit_takes_a_stratified_part_of_train_alone():
    source = Toy(labels_of([60, 30]))
    whole, some = split_source(source), split_source(source, limit=9)
    assert some.train.class_counts.tolist() == [6, 3]
    assert set(some.train.indices.tolist()) < set(whole.train.indices.tolist())
    assert some.validation.indices.tolist() == whole.validation.indices.tolist()
    assert len(split_source(source, limit=1000).train) == len(whole.train)


@pytest.mark.parametrize(("validation", "size"), [(7, 7), (0.5, 25), (1, 1), (49, 49), (None, 5)])
def test_validation_is_a_count_or_a_share(validation, size):
    parts = split_source(Toy(labels_of([30, 20])), validation=validation)
    assert (len(parts.validation), len(parts.train)) == (size, 50 - size)


@pytest.mark.parametrize(
    ("official", "options", "message"),
    [
        (True, {"validation": 50}, "leave examples on both sides of 50; got 50"),
        (True, {"validation": 0}, "both sides of 50; got 0"),
        (True, {"validation": -3}, "both sides"),
        (True, {"validation": 1.0}, "strictly between 0 and 1; got 1.0"),
        (True, {"validation": 0.001}, "got 0.001, which is 0 of them"),
        (True, {"validation": float("nan")}, "strictly between 0 and 1; got nan"),
        (True, {"validation": True}, "strictly between 0 and 1; got True"),
        (True, {"test_fraction": 0.2}, "toy has an official test split; leave `test_fraction`"),
        (True, {"limit": 0}, "`limit` must be at least 1"),
        (False, {}, r"toy has only its 50 test images: .*--test-fraction 0.2"),
        (False, {"test_fraction": 0.0}, "`test_fraction` must lie strictly between"),
        (False, {"test_fraction": 3}, "`test_fraction` must lie strictly between"),
    ],
)
def test_sizes_that_cannot_be(official, options, message):
    source = Toy(labels_of([30, 20]), official)
    if not official:
        whole = image_set(source.labels, source_split="test")
        object.__setattr__(source, "load", lambda split: whole)
    with pytest.raises(InputError, match=message):
        split_source(source, **options)


def test_digits_have_a_division_of_their_own():
    parts = load_splits("digits")
    assert parts.record == {
        "source": "digits",
        "source_split": "all",
        "test_rule": "stratified",
        "validation_rule": "stratified",
        "split_seed": 0,
        "test_fraction": 0.25,
        "limit": None,
        "sizes": {"train": 1078, "validation": 270, "test": 449},
    }
    assert len(load_splits("digits", test_fraction=0.5).test()) == 898
