"""Codecs beside other ways to the same numbers: numpy, singular values, trying everything."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_makers import some_labels, some_metric

from cvxdistill.codecs import metric_error, parse_codec, round_rows
from cvxdistill.codecs.feedback import _eliminate
from cvxdistill.codecs.packing import pack, packed_size, unpack
from cvxdistill.errors import InputError


def stored(spec, labels, kind, **options):
    return parse_codec(spec).encode(labels, kind, **options).decode()


# Packing. ---------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.data())
def test_packed_numbers_are_the_digits_of_one_large_number(bits, data):
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=30))
    packed = pack(torch.tensor(numbers), bits)
    large = sum(number << (place * bits) for place, number in enumerate(numbers))
    assert int.from_bytes(packed.numpy().tobytes(), "little") == large
    assert packed.dtype == torch.uint8
    assert len(packed) == packed_size(len(numbers), bits)
    assert unpack(packed, bits, (len(numbers),)).tolist() == numbers


def test_two_4_bit_labels_share_a_byte():
    assert pack(torch.tensor([[1, 2], [3, 15]]), 4).tolist() == [0x21, 0xF3]


# Floats. ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "dtype"), [("float32", np.float32), ("float16", np.float16)])
def test_floats_are_rounded_as_numpy_does(spec, dtype):
    labels = some_labels("scores")
    assert np.array_equal(stored(spec, labels, "scores").numpy(), labels.numpy().astype(dtype))
    shares = some_labels("distribution").numpy().astype(dtype).astype(float)
    shares /= shares.sum(1, keepdims=True)
    found = stored(spec, some_labels("distribution"), "distribution").numpy()
    assert np.allclose(found, shares, rtol=1e-15, atol=0)


# Whole numbers. ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_scores_lie_on_evenly_spaced_levels_of_their_column(bits):
    found = stored(f"int{bits}", some_labels("scores", m=200), "scores")
    for column in found.T:
        levels = column.unique()
        assert len(levels) <= 2**bits
        steps = levels.diff()
        assert float((steps / steps.min() - (steps / steps.min()).round()).abs().max()) < 1e-9


def test_every_score_gets_its_nearest_level():
    labels = some_labels("scores", m=200)
    found = stored("int4", labels, "scores")
    for before, after in zip(labels.T, found.T, strict=True):
        apart = (before[:, None] - after.unique()).abs().min(1).values
        assert torch.allclose((before - after).abs(), apart, rtol=0, atol=1e-15)


def test_an_outlier_does_not_cost_all_others_their_levels():
    labels = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    labels[0] = 3.0
    error = stored("int2", labels, "scores") - labels
    whole_range = torch.linspace(-1, 3, 4, dtype=torch.float64)
    plain = (labels - whole_range).abs().min(1).values
    assert float(error.square().sum()) < 0.9 * float(plain.square().sum())


@pytest.mark.parametrize("bits", [2, 3])
def test_distributions_are_nearly_the_nearest_of_all_that_can_be_held(bits):
    every = torch.tensor(list(itertools.product(range(2**bits), repeat=3))[1:]).double()
    every = every / every.sum(1, keepdim=True)
    labels = some_labels("distribution", m=300, classes=3)
    best = torch.cdist(labels, every).min(1).values
    found = (stored(f"int{bits}", labels, "distribution") - labels).norm(dim=1)
    assert bool((found >= best - 1e-12).all())
    assert float(found.square().mean()) < 1.1 * float(best.square().mean())


def test_distributions_of_few_steps_are_held_exactly():
    labels = torch.tensor([[1, 0, 0], [1, 1, 1], [1, 2, 0], [3, 2, 2]]).double()
    labels /= labels.sum(1, keepdim=True)
    for bits in (2, 3, 4, 8):
        assert torch.allclose(
            stored(f"int{bits}", labels, "distribution"), labels, rtol=1e-15, atol=0
        )


# The largest entries. ---------------------------------------------------------------------------


def test_what_the_kept_entries_of_a_distribution_leave_is_spread_evenly():
    labels = some_labels("distribution")
    found = stored("topk:k=2", labels, "distribution")
    for before, after in zip(labels, found, strict=True):
        kept = before.topk(2)
        assert torch.allclose(after[kept.indices], kept.values, rtol=1e-3)
        others = np.delete(after.numpy(), kept.indices.numpy())
        assert np.allclose(others, (1 - after[kept.indices].sum()) / 4, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_no_other_entries_of_scores_tell_more(k):
    labels = some_labels("scores")
    found = (stored(f"topk:k={k}", labels, "scores") - labels).square().sum(1)
    for row, error in zip(labels.numpy(), found, strict=True):
        left = [np.delete(row, list(kept)) for kept in itertools.combinations(range(6), k)]
        best = min(float(((rest - rest.mean()) ** 2).sum()) for rest in left)
        assert float(error) == pytest.approx(best, abs=1e-5)


def test_enough_places_hold_every_entry():
    for kind in ("scores", "distribution"):
        labels = some_labels(kind)
        for spec in ("topk:k=6", "topk:k=100"):
            found = stored(spec, labels, kind)
            assert torch.allclose(found, stored("float16", labels, kind), rtol=1e-12, atol=0)


def test_bits_of_places_are_the_logarithm_of_the_classes():
    codec = parse_codec("topk:k=3,values=int8")
    assert codec.bits(80, 26, "distribution") == 80 * 3 * (5 + 8) + 3 * 32
    assert codec.bits(80, 32, "distribution") == codec.bits(80, 26, "distribution")
    assert codec.bits(80, 33, "distribution") == 80 * 3 * (6 + 8) + 3 * 32


def test_a_place_beyond_the_classes_is_refused():
    codec = parse_codec("topk:k=1")
    kept = codec.encode(some_labels("distribution"), "distribution")
    kept.arrays["labels.places"][:] = 255
    with pytest.raises(InputError, match="name class 7 of 6"):
        kept.decode()


# Low rank. --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_low_rank_leaves_what_singular_values_leave(rank):
    labels, metric = some_labels("scores"), some_metric()
    root = torch.linalg.cholesky(metric + 1e-12 * torch.eye(20))
    for options, seen, measure in (
        ({}, labels, torch.eye(20).double()),
        ({"metric": metric}, root.mT @ labels, metric),
    ):
        best = float(torch.linalg.svdvals(seen)[rank:].square().sum())
        error = stored(f"low-rank:rank={rank}", labels, "scores", **options) - labels
        assert metric_error(error, measure) == pytest.approx(best, rel=1e-2)


def test_full_rank_is_one_less_for_distributions():
    labels = some_labels("distribution")
    assert torch.allclose(stored("low-rank:rank=5", labels, "distribution"), labels, atol=1e-3)
    assert not torch.allclose(stored("low-rank:rank=4", labels, "distribution"), labels, atol=1e-2)


# Feedback. --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [6, 4])
def test_elimination_takes_the_metric_apart(rank):
    metric = some_metric(6, rank=rank)
    order, lower = _eliminate(metric)
    assert sorted(order) == list(range(6))
    taken = torch.linalg.inv(lower[:, order] + torch.eye(6))
    pivots = taken.mT @ metric[order][:, order] @ taken
    off = pivots - torch.diag(pivots.diagonal())
    assert float(off.abs().max()) < 1e-9 * float(metric.diagonal().max())


def every_rounding(labels, metric):
    """Return the least error of all ways to round entries up or down."""
    down = labels.floor()
    ways = itertools.product((0.0, 1.0), repeat=len(labels))
    rounded = [down + torch.tensor(way).double()[:, None] for way in ways]
    return min(metric_error(one - labels, metric) for one in rounded)


def test_feedback_comes_close_to_the_best_of_all_roundings():
    found, nearest, best = 0.0, 0.0, 0.0
    for seed in range(20):
        labels, metric = 3 * some_labels("scores", 8, 1, seed), some_metric(8, seed=seed)
        found += metric_error(round_rows(labels, metric, torch.round) - labels, metric)
        nearest += metric_error(labels.round() - labels, metric)
        best += every_rounding(labels, metric)
    assert found < 1.5 * best
    assert nearest > 4 * best


def test_without_rounding_feedback_changes_nothing():
    labels = some_labels("scores")
    assert torch.equal(round_rows(labels, some_metric(), lambda row: row), labels)


def test_rows_without_cost_hold_what_the_others_need():
    # Two rows that stand for one: their sum is all that matters.
    labels = torch.tensor([[0.3], [0.3], [5.2]], dtype=torch.float64)
    metric = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=torch.float64)
    rounded = round_rows(labels, metric, torch.round)
    assert float(rounded[:2].sum()) == 1.0
    assert float(rounded[2]) == 5.0


@pytest.mark.parametrize("spec", ["int4", "int2", "topk:k=2,values=int8"])
def test_a_metric_lowers_what_it_measures_by_much(spec):
    labels, metric = some_labels("scores", m=40), some_metric(40)
    plain = metric_error(stored(spec, labels, "scores") - labels, metric)
    assert metric_error(stored(spec, labels, "scores", metric=metric) - labels, metric) < plain / 2
