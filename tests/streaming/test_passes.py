"""The pass over embeddings against moments of all rows in memory, in two passes of numpy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from embedded import CLASSES, SHARDS, WIDTH, Written, write
from hypothesis import given, settings
from hypothesis import strategies as st

from cvxdistill.embeddings import EmbeddingLayout, open_embeddings
from cvxdistill.errors import InputError
from cvxdistill.statistics import TargetStatistics
from cvxdistill.streaming import EmbeddingSets, Ranks, passes, stream_statistics
from cvxdistill.streaming.sets import fingerprint

TOLERANCE = 1e-12
ROWS = sum(SHARDS)


def two_passes(written: Written, weights=None, part=slice(None)) -> dict[str, np.ndarray]:
    """Means first, then products of what is left, with extended precision for the means."""
    z, t = (x[part].astype(np.longdouble) for x in (written.features, written.targets))
    w = np.ones(len(z)) if weights is None else weights[part]
    mean, label_mean = (w @ z / w.sum()), (w @ t / w.sum())
    z, t = z - mean, t - label_mean
    return {
        "feature_mean": mean,
        "label_mean": label_mean,
        "feature_scatter": (z.T * w) @ z,
        "cross_scatter": (z.T * w) @ t,
        "label_scatter": (t.T * w) @ t,
    }


def assert_close(stats: TargetStatistics, expected, tolerance=TOLERANCE):
    for name, value in expected.items():
        got = getattr(stats, name).numpy()
        value = value.numpy() if isinstance(value, torch.Tensor) else value.astype(np.float64)
        assert np.abs(got - value).max() <= tolerance * np.abs(value).max(), name


def moments_of(stats: TargetStatistics) -> dict[str, torch.Tensor]:
    return {
        name: getattr(stats, name)
        for name in (
            "feature_mean",
            "label_mean",
            "feature_scatter",
            "cross_scatter",
            "label_scatter",
        )
    }


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("mean", "dtype"), [(0.0, np.float16), (1000.0, np.float64)])
@pytest.mark.parametrize("batch_rows", [None, 7])
def test_a_pass_is_the_moments_of_all_rows(tmp_path, real, weighted, mean, dtype, batch_rows):
    written = write(tmp_path, real=real, weighted=weighted, mean=mean, dtype=dtype)
    stats = stream_statistics(open_embeddings(str(tmp_path)), batch_rows=batch_rows)
    assert stats.count == ROWS
    assert stats.weight == pytest.approx(ROWS if not weighted else written.weights.sum(), rel=1e-13)
    assert stats.target_names == ("ant", "bee", "cow")
    assert stats.target_kind == ("real" if real else "classes")
    if not real:
        assert stats.class_counts.tolist() == np.bincount(written.labels).tolist()
    assert_close(stats, two_passes(written, written.weights))


def test_blocks_within_a_batch_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "BLOCK_BYTES", 8 * WIDTH * 4)
    monkeypatch.setattr(passes, "_FEWEST_ROWS", 4)
    for real in (False, True):
        written = write(
            tmp_path / str(real), real=real, weighted=True, mean=1000.0, dtype=np.float64
        )
        stats = stream_statistics(open_embeddings(str(written.path)))
        assert_close(stats, two_passes(written, written.weights))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Written:
    return write(tmp_path_factory.mktemp("shards"), weighted=True)


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(1, ROWS - 1), max_size=4), batch_rows=st.integers(1, 50))
def test_slices_add_up_wherever_they_are_cut(shards, cuts, batch_rows):
    reader = open_embeddings(str(shards.path))
    bounds = [0, *sorted(set(cuts)), ROWS]
    total = TargetStatistics(WIDTH, CLASSES)
    for start, stop in pairwise(bounds):
        total = total + stream_statistics(reader, start=start, stop=stop, batch_rows=batch_rows)
    assert_close(total, two_passes(shards, shards.weights))
    [source] = total.sources
    assert source.complete
    assert source.shards == tuple((f"features_{k}.npy", n) for k, n in enumerate(SHARDS) if n)


def test_a_slice_counts_its_rows_and_says_which(shards):
    reader = open_embeddings(str(shards.path))
    stats = stream_statistics(reader, start=2, stop=50)
    assert_close(stats, two_passes(shards, shards.weights, slice(2, 50)))
    [source] = stats.sources
    assert (source.start, source.stop, source.total, source.complete) == (2, 50, ROWS, False)
    assert source.shards == (
        ("features_0.npy", 1),
        ("features_1.npy", 1),
        ("features_2.npy", 40),
        ("features_3.npy", 6),
    )
    with pytest.raises(InputError, match="rows must be counted once; got rows 40 to 50"):
        stats + stream_statistics(reader, start=40, stop=60)


@given(st.integers(1, ROWS + 5))
def test_ranks_share_all_rows_evenly(size):
    shares = [Ranks(rank, size).share(0, ROWS) for rank in range(size)]
    assert [row for start, stop in shares for row in range(start, stop)] == list(range(ROWS))
    lengths = {stop - start for start, stop in shares}
    assert max(lengths) - min(lengths) <= 1


def test_several_sets_are_one(tmp_path):
    one, other = write(tmp_path / "a"), write(tmp_path / "b", seed=1, shards=(20, 30))
    readers = [open_embeddings(str(part.path)) for part in (one, other)]
    both = stream_statistics(readers)
    apart = stream_statistics(readers[0]) + stream_statistics(readers[1])
    assert both.count == ROWS + 50
    assert_close(both, moments_of(apart))
    assert both.sources == apart.sources
    assert [source.total for source in both.sources] == [ROWS, 50]
    sliced = stream_statistics(readers, start=ROWS - 5, stop=ROWS + 5)
    assert [(s.start, s.stop) for s in sliced.sources] == [(ROWS - 5, ROWS), (0, 5)]


@pytest.mark.parametrize("weighted", [False, True])
def test_balanced_classes_weigh_alike(tmp_path, weighted):
    from sklearn.utils.class_weight import compute_sample_weight

    written = write(tmp_path, weighted=weighted)
    weights = compute_sample_weight("balanced", written.labels)
    if weighted:
        weights = weights * written.weights
    reader = open_embeddings(str(tmp_path))
    stats = stream_statistics(reader, class_weight="balanced")
    assert_close(stats, two_passes(written, weights))
    # A slice weighs classes as the whole does.
    parts = [
        stream_statistics(reader, start=a, stop=b, class_weight="balanced")
        for a, b in ((0, 60), (60, ROWS))
    ]
    assert_close(parts[0] + parts[1], moments_of(stats))
    with pytest.raises(InputError, match="weigh classes in one way"):
        parts[0] + stream_statistics(reader, start=60, stop=ROWS)


def test_balancing_real_targets_is_refused(tmp_path):
    write(tmp_path, real=True)
    with pytest.raises(InputError, match="class weights need classes"):
        stream_statistics(open_embeddings(str(tmp_path)), class_weight="balanced")
    with pytest.raises(InputError, match="`class_weight` must be one of none, balanced"):
        stream_statistics(open_embeddings(str(tmp_path)), class_weight="balance")


def test_sets_without_labels_or_that_differ_are_refused(tmp_path):
    bare, real, plain = (tmp_path / name for name in ("bare", "real", "plain"))
    bare.mkdir()
    np.save(bare / "features_0.npy", np.ones((3, WIDTH)))
    write(real, real=True)
    write(plain)
    with pytest.raises(InputError, match=r"moments need labels; .*bare"):
        stream_statistics(open_embeddings(str(bare)))
    with pytest.raises(InputError, match=r"must agree; got target_kind classes in .* and real in"):
        EmbeddingSets.of([open_embeddings(str(plain)), open_embeddings(str(real))])
    with pytest.raises(InputError, match="got none"):
        EmbeddingSets.of([])


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (-1, 4), (0, ROWS + 1), (7, 3)])
def test_rows_outside_are_refused(shards, start, stop):
    with pytest.raises(InputError, match=f"rows must be some of the {ROWS}"):
        stream_statistics(open_embeddings(str(shards.path)), start=start, stop=stop)


def test_a_shard_damaged_after_opening_is_named(tmp_path):
    write(tmp_path)
    reader = open_embeddings(str(tmp_path))
    assert reader.layout.num_rows == ROWS
    bad = np.load(tmp_path / "features_7.npy")
    bad[3, 1] = np.nan
    np.save(tmp_path / "features_7.npy", bad)
    with pytest.raises(InputError, match=r"features_7\.npy must be finite.*row 3"):
        stream_statistics(reader)
    (tmp_path / "features_7.npy").unlink()
    with pytest.raises(InputError, match=r"features_7\.npy"):
        stream_statistics(reader)


def test_a_pass_reports_progress_and_leaves_threads_as_they_were(shards):
    told, threads = [], torch.get_num_threads()
    stream_statistics(
        open_embeddings(str(shards.path)),
        batch_rows=30,
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    assert told[0] == ("moments", 3, ROWS)
    assert told[-1] == ("moments", ROWS, ROWS)
    assert torch.get_num_threads() == threads


def test_equal_passes_give_equal_bits(shards):
    one, other = (stream_statistics(open_embeddings(str(shards.path))) for _ in range(2))
    for name, value in moments_of(one).items():
        assert torch.equal(value, getattr(other, name))


def test_a_fingerprint_knows_a_set_wherever_it_lies(tmp_path):
    prints = {
        name: fingerprint(open_embeddings(str(write(tmp_path / name, **options).path)))
        for name, options in {
            "a": {},
            "copy": {},
            "later": {"seed": 1},
            "cut": {"shards": (100, 100)},
        }.items()
    }
    assert prints["a"] == prints["copy"]
    assert len(set(prints.values())) == 3


@pytest.mark.parametrize(("width", "workers", "threads"), [(256, 8, 1), (4096, 1, 8), (1500, 8, 1)])
def test_many_features_leave_fewer_workers_with_more_threads(monkeypatch, width, workers, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    layout = EmbeddingLayout((), width, "float16", "classes", ("a", "b"))
    assert passes._workers(layout, torch.device("cpu")) == (workers, threads)
    assert passes._workers(layout, torch.device("cuda")) == (1, 8)


@pytest.mark.gpu
@pytest.mark.parametrize("real", [False, True])
def test_a_gpu_finds_the_same(tmp_path, real):
    written = write(tmp_path, real=real, weighted=True, mean=100.0)
    stats = stream_statistics(open_embeddings(str(tmp_path)), device="cuda", batch_rows=50)
    assert stats.device.type == "cuda"
    assert_close(stats.to("cpu"), two_passes(written, written.weights))
