"""Mergeable moments: any split, any order, any dtype, and a file that cannot be tampered with."""

import json

import pytest
import torch
from cases import MERGE, draw, draw_labels, draw_target
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from truths import relative_error

from cvxdistill.errors import InputError
from cvxdistill.statistics import FORMAT, TargetStatistics, file, pack, unpack

CLASSES, WIDTH = 4, 6
SHARDS = (1, 2, 40, 13, 5, 3, 36)
TENSORS = (
    "feature_mean",
    "label_mean",
    "feature_scatter",
    "cross_scatter",
    "label_scatter",
    "class_counts",
)


def target(offset: float, *, soft: bool = False):
    features, classes = draw_target(sum(SHARDS), WIDTH, CLASSES)
    return features + offset, draw_labels(len(features), CLASSES) if soft else classes


def taken(features, labels) -> TargetStatistics:
    return TargetStatistics(features.shape[1], CLASSES).update(features, labels)


def assert_close(value: TargetStatistics, expected: TargetStatistics, tolerance=MERGE):
    assert (value.count, value.target_kind) == (expected.count, expected.target_kind)
    assert value.weight == pytest.approx(expected.weight, rel=tolerance)
    for name in TENSORS:
        got = getattr(value, name)
        if expected.class_counts is None and name == "class_counts":
            assert got is None
            continue
        assert got.dtype == torch.float64
        assert relative_error(got, getattr(expected, name)) < tolerance, name


def assert_equal(value: TargetStatistics, expected: TargetStatistics):
    for name in ("count", "weight", "target_kind", "target_names", "extractor", "sources"):
        assert getattr(value, name) == getattr(expected, name), name
    for name in (*TENSORS, "feature_mean_rest", "label_mean_rest"):
        if expected.class_counts is None and name == "class_counts":
            assert value.class_counts is None
            continue
        assert torch.equal(getattr(value, name), getattr(expected, name)), name


def test_the_list_of_tensors_is_complete():
    rests = {"feature_mean_rest", "label_mean_rest"}
    assert {*TENSORS, *rests} == {*file.TENSORS, "class_counts"}


# The moments themselves. ------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True])
def test_moments_follow_their_definitions(soft):
    features, labels = target(0.0, soft=soft)
    coded = labels if soft else torch.nn.functional.one_hot(labels, CLASSES).double()
    whole = taken(features, labels)
    z, t = features - features.mean(0), coded - coded.mean(0)
    assert whole.count == len(features)
    for name, expected in (
        ("feature_mean", features.mean(0)),
        ("label_mean", coded.mean(0)),
        ("feature_scatter", z.T @ z),
        ("cross_scatter", z.T @ t),
        ("label_scatter", t.T @ t),
    ):
        assert relative_error(getattr(whole, name), expected) < MERGE
    if soft:
        assert whole.class_counts is None
    else:
        assert torch.equal(whole.class_counts, coded.sum(0))
    assert (whole.weight, whole.target_kind) == (len(features), "real" if soft else "classes")
    assert torch.equal(whole.feature_scatter, whole.feature_scatter.T)


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("soft", [False, True])
@given(order=st.permutations(range(len(SHARDS))))
def test_shards_in_any_order_equal_the_whole(offset, soft, order):
    features, labels = target(offset, soft=soft)
    shards = list(zip(features.split(SHARDS), labels.split(SHARDS), strict=True))
    whole = taken(features, labels)
    added = TargetStatistics(WIDTH, CLASSES)
    for index in order:
        added = added + taken(*shards[index])
    assert_close(added, whole)

    updated = TargetStatistics(WIDTH, CLASSES)
    for index in order:
        updated.update(*shards[index])
    assert_close(updated, whole)
    # As they are sent from process to process, or saved between.
    assert_close(unpack(pack(added), whole) + TargetStatistics(WIDTH, CLASSES), whole)


def test_shards_merged_as_a_tree_equal_the_whole():
    features, labels = target(0.0)
    a, b, c, d, e, f, g = map(taken, features.split(SHARDS), labels.split(SHARDS))
    assert_close(((a + b) + (c + d)) + ((e + f) + g), taken(features, labels))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_large_mean_costs_no_digits_of_the_scatter(offset):
    # Offsets that float64 represents exactly: the centred data are the same to the last bit.
    features, labels = target(0.0)
    features = (features * 2**20).round() / 2**20
    shifted = taken(features + offset, labels)
    expected = taken(features, labels)
    assert relative_error(shifted.feature_scatter, expected.feature_scatter) < MERGE
    assert relative_error(shifted.cross_scatter, expected.cross_scatter) < MERGE


def test_addition_leaves_its_terms_alone():
    features, labels = target(0.0)
    first, second = taken(features[:30], labels[:30]), taken(features[30:], labels[30:])
    total = first + second
    assert_equal(first, taken(features[:30], labels[:30]))
    assert_equal(second, taken(features[30:], labels[30:]))
    total.update(features[:3], labels[:3])
    assert_equal(first, taken(features[:30], labels[:30]))


def test_nothing_is_neutral():
    whole, nothing = taken(*target(0.0)), TargetStatistics(WIDTH, CLASSES)
    assert_equal(whole + nothing, whole)
    assert_equal(nothing + whole, whole)
    assert (nothing + nothing).count == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_narrow_features_are_cast_before_the_products(dtype):
    features, labels = target(3.0)
    assert_equal(taken(features.to(dtype), labels), taken(features.to(dtype).double(), labels))


def test_update_returns_itself_and_keeps_no_graph():
    features, labels = target(0.0)
    whole = TargetStatistics(WIDTH, CLASSES)
    assert whole.update(features.requires_grad_(), labels) is whole
    assert not whole.feature_scatter.requires_grad


def test_shifted_labels_are_the_moments_of_shifted_targets():
    features, labels = target(0.0, soft=True)
    shifted = taken(features, labels).shifted_labels(-0.25)
    expected = taken(features, labels - 0.25)
    for name in TENSORS[:-1]:
        assert relative_error(getattr(shifted, name), getattr(expected, name)) < MERGE
    assert shifted.class_counts is None


def test_a_copy_is_independent():
    whole = taken(*target(0.0))
    copy = whole.to("cpu").update(*target(1.0))
    assert copy.count == 2 * whole.count
    assert_equal(whole, taken(*target(0.0)))


def test_repr_says_what_it_is():
    assert repr(taken(*target(0.0))) == (
        "TargetStatistics(num_features=6, num_classes=4, count=100)"
    )


# Refusals. --------------------------------------------------------------------------------------

GOOD, BAD_ROW = draw(5, WIDTH), draw(5, WIDTH)
BAD_ROW[2, 1] = torch.nan
ONES = torch.ones(5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (GOOD[:0], ONES[:0], "`features` must not be empty"),
        (GOOD[:, :5], ONES, "`features` must have 6 columns; got 5"),
        (GOOD, ONES[:4], "got 4 for 5"),
        (GOOD, 4 * ONES, r"`labels` must lie in 0\.\.3; got 4 to 4"),
        (GOOD, -ONES, r"`labels` must lie in 0\.\.3; got -1"),
        (GOOD, ONES[:, None], "`labels` must be a vector of integer class labels"),
        (GOOD, draw(5, 3), "`labels` must have 4 columns; got 3"),
        (GOOD, draw(5), "`labels` must be a floating-point matrix"),
        (GOOD, draw(5, 2, CLASSES), r"`labels` must be \(n, C\)"),
        (GOOD[None], ONES[:1], r"`features` must be \(n, d\)"),
        (GOOD.long(), ONES, "`features` must be a floating-point matrix"),
        (GOOD.numpy(), ONES, "`features` must be a torch.Tensor"),
        (BAD_ROW, ONES, "`features` must be finite.*row 2"),
        (GOOD, BAD_ROW[:, :CLASSES], "`labels` must be finite.*row 2"),
    ],
)
def test_misfits_are_refused_and_change_nothing(features, labels, message):
    whole = taken(*target(0.0))
    with pytest.raises(InputError, match=message):
        whole.update(features, labels)
    assert_equal(whole, taken(*target(0.0)))


def test_moments_of_other_sizes_do_not_add():
    with pytest.raises(
        InputError, match=r"must agree in \(features, classes\).*\(6, 4\).*\(6, 3\)"
    ):
        TargetStatistics(6, 4) + TargetStatistics(6, 3)
    with pytest.raises(TypeError):
        TargetStatistics(6, 4) + 1


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 2)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(InputError, match="must be 1 or more"):
        TargetStatistics(*sizes)


# The file. --------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "moments.safetensors"
    taken(*target(1e4)).save(path)
    return path


def rewrite(path, *, about=None, **tensors):
    """Write the file again with some tensors or entries of its record changed."""
    kept = {**load_file(path), **tensors}
    record = {
        "format": FORMAT,
        "count": 100,
        "weight": 100.0,
        "target_kind": "classes",
        **(about or {}),
    }
    text = json.dumps({key: value for key, value in record.items() if value is not None})
    kept = {name: value for name, value in kept.items() if value is not None}
    save_file(kept, path, metadata={"about": text})


def test_loading_gives_what_was_saved(saved):
    assert_equal(TargetStatistics.load(saved), taken(*target(1e4)))
    assert_equal(TargetStatistics.load(str(saved)), taken(*target(1e4)))
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("soft", [False, True])
def test_any_moments_can_be_saved_and_loaded(tmp_path, soft):
    whole = taken(*target(1e4, soft=soft))
    scaled = TargetStatistics(WIDTH, CLASSES).update(draw(9, WIDTH), 1e6 * draw(9, CLASSES))
    for stats in (whole, whole.shifted_labels(-0.25), TargetStatistics(WIDTH, CLASSES), scaled):
        stats.save(tmp_path / "moments")
        assert_equal(TargetStatistics.load(tmp_path / "moments"), stats)


def test_rewriting_unchanged_loads(saved):
    rewrite(saved)
    assert_equal(TargetStatistics.load(saved), taken(*target(1e4)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"about": {"format": "other/1"}}, "must be a file of format"),
        ({"about": {"format": None}}, "must be a file of format"),
        ({"about": {"count": None}}, "count"),
        ({"about": {"count": "many"}}, "count"),
        ({"about": {"count": -3}}, "count"),
        ({"about": {"weight": -1.0}}, "weight"),
        ({"about": {"target_kind": "words"}}, "target_kind"),
        ({"about": {"target_kind": "none"}}, "100 examples must have targets"),
        ({"about": {"target_kind": "real"}}, "must be a file of format .* with tensors"),
        ({"about": {"unknown": 1}}, "unknown"),
        ({"about": {"target_names": ["a"]}}, "`target_names` must be 4 distinct names"),
        ({"about": {"sources": [{"name": "a"}]}}, r"sources\.0\.fingerprint"),
        ({"about": {"count": 99}}, "contradict one another"),
        ({"about": {"weight": 99.0}}, "contradict one another"),
        ({"class_counts": torch.arange(4).double()}, "contradict one another"),
        ({"label_scatter": None}, "must be a file of format"),
        ({"extra": torch.zeros(2)}, "must be a file of format"),
        ({"feature_mean": torch.zeros(5).double()}, r"must be float64 of shape \(5, \d\)"),
        ({"feature_mean": torch.tensor(0.0).double()}, "must be float64 of shape"),
        ({"feature_mean": torch.zeros(6)}, "`feature_mean` must be float64"),
        ({"cross_scatter": torch.full((6, 4), torch.nan).double()}, "`cross_scatter` holds NaN"),
        ({"class_counts": torch.full((4,), torch.inf).double()}, "`class_counts` holds NaN"),
    ],
)
def test_a_changed_file_is_refused(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(InputError, match=message):
        TargetStatistics.load(saved)


def test_a_cut_file_is_refused(saved):
    whole = saved.read_bytes()
    for length in (0, 4, 40, len(whole) - 8):
        saved.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not a readable statistics file"):
            TargetStatistics.load(saved)


def test_other_files_and_none_are_refused(tmp_path):
    (tmp_path / "text").write_text("moments?")
    save_file({"x": torch.zeros(2)}, tmp_path / "plain")
    save_file({"x": torch.zeros(2)}, tmp_path / "list", metadata={"about": "[1]"})
    save_file({"x": torch.zeros(2)}, tmp_path / "broken", metadata={"about": "{"})
    for name in ("text", "plain", "list", "broken", "missing", "."):
        with pytest.raises(InputError):
            TargetStatistics.load(tmp_path / name)


def test_saving_into_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        taken(*target(0.0)).save(tmp_path / "missing" / "moments")
