"""One streaming pass gives the moments of the whole."""

import pytest
import torch
from artifact.makers import make_features, make_images
from cases import MERGE
from truths import relative_error

from cvxdistill.errors import InputError
from cvxdistill.features import (
    Preprocessing,
    draw_extractor,
    embed,
    embed_statistics,
    moments,
    parse_network,
)
from cvxdistill.statistics import TargetStatistics

# Sums of products in another order, of entries that do not cancel.
PARTS = ("feature_mean", "label_mean", "feature_scatter", "cross_scatter", "label_scatter")


def assert_equal_moments(one, other):
    assert one.count == other.count
    for name in PARTS:
        assert relative_error(getattr(one, name), getattr(other, name)) < MERGE, name


@pytest.mark.parametrize("n", [1, 7, 32, 33, 100])
def test_moments_of_batches_are_those_of_all_features(n):
    data = make_images(n)
    extractor = draw_extractor(parse_network("convnet:width=4"), data.shape, seed=0)
    ready = Preprocessing.fit(data)
    whole = TargetStatistics(extractor.num_features, 3).update(
        embed(extractor, data.images, preprocessing=ready), data.labels
    )
    streamed = embed_statistics(extractor, data, preprocessing=ready, device="cpu")
    assert_equal_moments(streamed, whole)
    assert streamed.class_counts.tolist() == data.class_counts.tolist()


def test_more_rows_than_are_gathered_at_once(monkeypatch):
    data = make_features(150, 4)
    extractor = draw_extractor(parse_network("pixels"), data.shape, seed=0)
    whole = TargetStatistics(4, 3).update(data.images, data.labels)
    monkeypatch.setattr(moments, "_ROWS", 40)
    streamed = embed_statistics(extractor, data, preprocessing=Preprocessing(), device="cpu")
    assert_equal_moments(streamed, whole)


def test_progress_counts_examples():
    data, seen = make_images(70), []
    extractor = draw_extractor(parse_network("pixels"), data.shape, seed=0)
    embed_statistics(
        extractor,
        data,
        preprocessing=Preprocessing(),
        device="cpu",
        progress=lambda *given: seen.append(given),
    )
    assert seen[-1] == ("embed", 70, 70)
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


def test_images_of_another_shape_are_refused():
    extractor = draw_extractor(parse_network("pixels"), (1, 8, 8), seed=0)
    with pytest.raises(InputError, match=r"takes images of shape \(1, 8, 8\); got \(1, 6, 6\)"):
        embed_statistics(
            extractor,
            make_images(shape=(1, 6, 6)),
            preprocessing=Preprocessing(),
            device="cpu",
        )


def test_a_cache_makes_no_pass_twice_and_mixes_nothing_up():
    cache, ready = moments.StatisticsCache(), Preprocessing()
    data, other = make_features(20, 4), make_features(20, 4, seed=5)
    pixels = draw_extractor(parse_network("pixels"), (4,), seed=0)
    wide = draw_extractor(parse_network("mlp:width=3"), (4,), seed=0)
    first = cache.statistics(pixels, data, preprocessing=ready)
    assert cache.statistics(pixels, data, preprocessing=ready) is first
    assert cache.statistics(wide, data, preprocessing=ready).num_features == 3
    assert_equal_moments(
        cache.statistics(pixels, other, preprocessing=ready),
        embed_statistics(pixels, other, preprocessing=ready, device="cpu"),
    )
    assert not torch.equal(
        cache.statistics(pixels, other, preprocessing=ready).feature_mean, first.feature_mean
    )
