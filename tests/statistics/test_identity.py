"""Names, extractors and sources of moments: what may be added, and what files remember."""

import json

import pytest
import torch
from cases import draw
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from cvxdistill.errors import InputError
from cvxdistill.statistics import Source, TargetStatistics, join_sources

LABELS = torch.tensor([0, 1, 2, 1])


def named(names=(), extractor=None, source=None) -> TargetStatistics:
    stats = TargetStatistics(2, 3, target_names=names, extractor=extractor)
    stats.update(draw(4, 2), LABELS)
    stats.sources = () if source is None else (source,)
    return stats


def part(start: int, stop: int, *, of: str = "f", shards=(), class_weight: str = "none") -> Source:
    return Source(
        name=of,
        fingerprint=of,
        start=start,
        stop=stop,
        total=10,
        shards=shards,
        class_weight=class_weight,
    )


def test_what_is_known_of_one_is_known_of_the_sum():
    total = named() + named(("a", "b", "c"), "print")
    assert (total.target_names, total.extractor) == (("a", "b", "c"), "print")
    total = named(("a", "b", "c"), "print") + named()
    assert (total.target_names, total.extractor) == (("a", "b", "c"), "print")


def test_other_names_extractors_and_kinds_are_refused():
    with pytest.raises(InputError, match=r"agree in the names.*`b` and `c`"):
        named(("a", "b", "c")) + named(("a", "c", "b"))
    with pytest.raises(InputError, match=r"one extractor.*one and other"):
        named(extractor="one") + named(extractor="other")
    real = TargetStatistics(2, 3).update(draw(4, 2), draw(4, 3))
    with pytest.raises(InputError, match="classes before and real now"):
        named() + real
    with pytest.raises(InputError, match="real before and classes now"):
        real.update(draw(4, 2), LABELS)
    assert real.count == 4


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "a")])
def test_names_must_be_one_a_column(names):
    with pytest.raises(InputError, match="3 distinct names"):
        TargetStatistics(2, 3, target_names=names)


@given(st.permutations([(0, 2), (2, 3), (3, 7), (7, 10)]))
def test_parts_of_a_set_are_joined_in_any_order(parts):
    other = part(4, 5, of="g")
    joined = join_sources([other, *(part(*rows) for rows in parts)])
    assert joined == (other, part(0, 10))
    assert [source.complete for source in joined] == [False, True]


def test_a_shard_that_was_cut_is_whole_again():
    [joined] = join_sources(
        [part(0, 4, shards=(("x", 3), ("y", 1))), part(4, 10, shards=(("y", 2), ("z", 4)))]
    )
    assert joined.shards == (("x", 3), ("y", 3), ("z", 4))


def test_gaps_stay():
    assert join_sources([part(5, 6), part(0, 2)]) == (part(0, 2), part(5, 6))


@pytest.mark.parametrize("twice", [(0, 10), (4, 6), (0, 5), (3, 4)])
def test_rows_counted_twice_are_refused(twice):
    with pytest.raises(InputError, match="rows must be counted once"):
        named(source=part(*twice)) + named(source=part(3, 5))
    assert (named(source=part(3, 5)) + named(source=part(*twice, of="g"))).count == 8


def test_parts_that_weigh_classes_differently_are_refused():
    with pytest.raises(InputError, match=r"weigh classes in one way.*none and balanced"):
        join_sources([part(0, 5), part(5, 10, class_weight="balanced")])


def test_a_file_remembers_everything_and_is_added_to(tmp_path):
    first = named(("a", "b", "ç"), "print", part(0, 5, shards=(("x", 5),)))
    first.update(draw(4, 2), LABELS, torch.tensor([0.1, 0.0, 2.0, 1.0]))
    first.save(tmp_path / "moments")
    loaded = TargetStatistics.load(tmp_path / "moments")
    for name in ("count", "weight", "target_kind", "target_names", "extractor", "sources"):
        assert getattr(loaded, name) == getattr(first, name)
    loaded.update(draw(4, 2), LABELS)
    (loaded + named(source=part(5, 10))).save(tmp_path / "moments")
    again = TargetStatistics.load(tmp_path / "moments")
    assert (again.count, again.weight) == (16, pytest.approx(15.1))
    assert [source.complete for source in again.sources] == [True]


def old_file(path, stats, *, sums, count):
    tensors = {
        name: getattr(stats, name)
        for name in (
            "feature_mean",
            "label_mean",
            "feature_scatter",
            "cross_scatter",
            "label_scatter",
        )
    }
    about = {"format": "cvxdistill.statistics/1", "count": count}
    save_file({**tensors, "class_counts": sums}, path, metadata={"about": json.dumps(about)})


@pytest.mark.parametrize("shift", [0.0, -1 / 3])
@pytest.mark.parametrize("soft", [False, True])
def test_files_of_the_format_before_load(tmp_path, soft, shift):
    features, labels = draw(4, 2), draw(4, 3) if soft else LABELS
    stats = TargetStatistics(2, 3).update(features, labels)
    sums = labels.sum(0) if soft else torch.bincount(labels, minlength=3).double()
    old_file(tmp_path / "old", stats.shifted_labels(shift), sums=sums, count="4")
    loaded = TargetStatistics.load(tmp_path / "old")
    assert (loaded.count, loaded.weight, loaded.target_names) == (4, 4.0, ())
    assert loaded.target_kind == ("real" if soft else "classes")
    assert (loaded.class_counts is None) == soft
    assert torch.equal(loaded.cross_scatter, stats.cross_scatter)
    loaded.save(tmp_path / "new")
    assert TargetStatistics.load(tmp_path / "new").count == 4


def test_a_changed_file_of_the_format_before_is_refused(tmp_path):
    sums = torch.bincount(LABELS, minlength=3).double()
    for count, message in (("5", "contradict one another"), ("x", "whole number")):
        old_file(tmp_path / "old", named(), sums=sums, count=count)
        with pytest.raises(InputError, match=message):
            TargetStatistics.load(tmp_path / "old")
