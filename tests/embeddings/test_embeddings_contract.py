"""What every registered reader promises, checked against files of known content."""

import numpy as np
import pytest
import torch
from embeddings.writers import WRITERS, Embedded, place, write, write_splits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvxdistill.embeddings import READERS, open_embeddings
from cvxdistill.errors import InputError

SIZES = (11, 2, 8)
ROWS = sum(SIZES)


def shards(values: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(part) for part in np.split(values, np.cumsum(SIZES)[:-1])]


def features(dtype: str = "float32", d: int = 5) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((ROWS, d)).astype(dtype)


def joined(reader, **options) -> dict[str, torch.Tensor]:
    batches = list(reader.rows(**options))
    columns = {}
    for name in ("features", "targets", "weights"):
        parts = [getattr(batch, name) for batch in batches]
        columns[name] = None if parts[0] is None else torch.cat(parts)
    return columns


@pytest.fixture(params=sorted(READERS))
def kind(request) -> str:
    return request.param


def test_registry_is_sorted_and_named_after_its_readers():
    assert list(READERS) == sorted(READERS)
    assert all(reader.name == name for name, reader in READERS.items())
    assert WRITERS.keys() == READERS.keys()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_reads_exactly_what_was_written(kind, dtype, tmp_path):
    x, y = features(dtype), np.arange(ROWS) % 3
    w = np.random.default_rng(2).uniform(size=ROWS)
    names = ("no", "so", "yes")
    data = Embedded(shards(x), shards(y), shards(w), names)
    reader = open_embeddings(write(kind, tmp_path / "set", data))
    layout = reader.layout
    assert (layout.num_rows, layout.num_features, layout.dtype) == (ROWS, 5, dtype)
    assert (layout.target_kind, layout.target_names, layout.num_targets) == ("classes", names, 3)
    assert layout.weighted
    # `datasets` divides rows among its files itself.
    assert kind == "hf" or tuple(shard.rows for shard in layout.shards) == SIZES
    assert len(layout.shards) == len(SIZES)
    for batch_rows in (1, 4, 1000):
        read = joined(reader, batch_rows=batch_rows)
        assert read["features"].dtype == getattr(torch, dtype)
        np.testing.assert_array_equal(read["features"].numpy(), x)
        assert read["targets"].tolist() == y.tolist()
        assert read["targets"].dtype == torch.int64
        np.testing.assert_array_equal(read["weights"].numpy(), w)
        assert read["weights"].dtype == torch.float64


@pytest.mark.parametrize(
    ("labels", "names", "told", "coded"),
    [
        (np.arange(ROWS) % 4, None, ("0", "1", "2", "3"), np.arange(ROWS) % 4),
        (np.arange(ROWS) % 3 * 5 - 5, None, ("-5", "0", "5"), np.arange(ROWS) % 3),
        (np.where(np.arange(ROWS) % 2, 10, 9), None, ("9", "10"), np.arange(ROWS) % 2),
        (np.array(["b", "ä", "c"])[np.arange(ROWS) % 3], None, ("b", "c", "ä"), [0, 2, 1] * 7),
        (np.arange(ROWS) % 2, ("a", "b", "never"), ("a", "b", "never"), np.arange(ROWS) % 2),
    ],
    ids=["from 0", "gaps", "as numbers", "strings", "stored names"],
)
def test_classes_are_numbered_over_all_shards(kind, labels, names, told, coded, tmp_path):
    data = Embedded(shards(features()), shards(labels), names=names)
    reader = open_embeddings(write(kind, tmp_path / "set", data))
    assert reader.layout.target_names == told
    assert not reader.layout.weighted
    read = joined(reader)
    assert read["targets"].tolist() == list(coded)
    assert read["weights"] is None


@pytest.mark.parametrize("names", [None, ("wind", "sun")])
@pytest.mark.parametrize("labels", ["real", "multi-label", "one"])
def test_real_targets(kind, labels, names, tmp_path):
    y = np.random.default_rng(3).standard_normal((ROWS, 2))
    if labels == "multi-label":
        y = (y > 0).astype(np.int64)
    if labels == "one":
        y, names = y[:, 0], None if names is None else names[:1]
    data = Embedded(shards(features()), shards(y), names=names)
    reader = open_embeddings(write(kind, tmp_path / "set", data))
    assert reader.layout.target_kind == "real"
    columns = y.reshape(ROWS, -1)
    # `datasets` has no place for the names of real targets.
    stored = None if kind == "hf" else names
    assert reader.layout.target_names == (stored or tuple("01"[: columns.shape[1]]))
    targets = joined(reader, batch_rows=4)["targets"]
    assert targets.dtype == torch.float64
    np.testing.assert_array_equal(targets.numpy(), columns)


def test_without_labels(kind, tmp_path):
    reader = open_embeddings(write(kind, tmp_path / "set", Embedded(shards(features()))))
    assert (reader.layout.target_kind, reader.layout.target_names) == ("none", ())
    assert joined(reader)["targets"] is None


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A reader of each kind, over one set, and its truth."""
    x, y = features(), np.arange(ROWS) % 3
    root = tmp_path_factory.mktemp("written")
    return {
        kind: open_embeddings(write(kind, root / kind, Embedded(shards(x), shards(y))))
        for kind in READERS
    }, (x, y)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    ends=st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)).map(sorted),
    batch_rows=st.integers(1, ROWS + 3),
)
def test_any_range_in_any_batches(kind, written, ends, batch_rows):
    readers, (x, y) = written
    reader, (start, stop) = readers[kind], ends
    at = start
    firsts = np.cumsum([0, *(shard.rows for shard in reader.layout.shards)])
    for batch in reader.rows(start, stop, batch_rows=batch_rows):
        assert batch.start == at
        assert 0 < len(batch) <= batch_rows
        assert firsts[batch.shard] <= at
        at += len(batch)
        assert at <= firsts[batch.shard + 1]
        np.testing.assert_array_equal(batch.features.numpy(), x[batch.start : at])
        assert batch.targets.tolist() == y[batch.start : at].tolist()
    assert at == stop


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(data=st.data())
def test_any_range_of_a_shard(kind, written, data):
    readers, (x, _) = written
    reader = readers[kind]
    shard = data.draw(st.integers(0, 2))
    sizes = [part.rows for part in reader.layout.shards]
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, sizes[shard])] * 2)))
    rows = reader.read(shard, start, stop)
    first = sum(sizes[:shard])
    np.testing.assert_array_equal(rows.features.numpy(), x[first + start : first + stop])
    assert (rows.start, rows.shard, len(rows.targets)) == (first + start, shard, stop - start)


def test_ranges_outside_are_refused(kind, written):
    reader = written[0][kind]
    for start, stop, size in ((-1, 2, 1), (3, 2, 1), (0, ROWS + 1, 1), (0, 1, 0)):
        with pytest.raises(InputError, match=rf"must lie in 0..{ROWS}"):
            list(reader.rows(start, stop, batch_rows=size))
    with pytest.raises(InputError, match=r"rows of .* must lie in 0..\d+; got 0 to 100"):
        reader.read(1, 0, 100)


def test_rows_own_their_memory(kind, written):
    """Writing to them changes neither file nor later reading, and keeping them keeps no shard."""
    reader, x = written[0][kind], written[1][0]
    kept = reader.read(0, 0, 2).features
    assert kept.untyped_storage().nbytes() == kept.numel() * kept.itemsize
    kept.zero_()
    np.testing.assert_array_equal(reader.read(0, 0, 2).features.numpy(), x[:2])


def test_kind_of_a_path_is_recognised(kind, tmp_path):
    spec = write(kind, tmp_path / "set", Embedded(shards(features())))
    path = place(kind, tmp_path / "set")
    assert type(open_embeddings(spec)) is READERS[kind]
    assert type(open_embeddings(str(path))) is READERS[kind]
    assert type(open_embeddings(path.name, data_root=tmp_path)) is READERS[kind]
    assert [name for name, reader in READERS.items() if reader.recognises(path)] == [kind]
    assert not READERS[kind].recognises(tmp_path / "nothing")


def test_splits_are_named_or_asked_for(kind, tmp_path):
    x = features()
    parts = {"train": Embedded([x[:9], x[9:12]]), "test": Embedded([x[12:]])}
    spec = write_splits(kind, tmp_path / "set", parts)
    assert open_embeddings(spec).splits() == ("train", "test")
    with pytest.raises(InputError, match=r"holds the splits train, test; say which .*@train"):
        _ = open_embeddings(spec).layout
    with pytest.raises(InputError, match="must be one of train, test; got `tset`"):
        _ = open_embeddings(f"{spec}@tset").layout
    for split, rows in (("train", x[:12]), ("test", x[12:])):
        read = joined(open_embeddings(f"{spec}@{split}"))["features"]
        np.testing.assert_array_equal(read.numpy(), rows)
    assert [name for name, r in READERS.items() if r.recognises(place(kind, tmp_path / "set"))] == [
        kind
    ]


def test_nothing_there_is_one_clear_line(kind, tmp_path):
    with pytest.raises(InputError, match="nothing exists at") as caught:
        open_embeddings(f"{kind}:{tmp_path / 'nothing'}")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"not there|no such folder"):
        READERS[kind](tmp_path / "nothing").splits()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expects|must hold") as caught:
        _ = open_embeddings(f"{kind}:{tmp_path / 'empty'}").layout
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="looks like none of"):
        open_embeddings(str(tmp_path / "empty"))


def test_no_rows_are_refused(kind, tmp_path):
    data = Embedded([features()[:0]], [np.arange(0)])
    with pytest.raises(InputError, match="must hold rows"):
        _ = open_embeddings(write(kind, tmp_path / "set", data)).layout


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_named(kind, bad, tmp_path):
    """Opening passes, for it reads no features; reading names the shard and the row."""
    x = features("float16")
    x[16, 3] = bad
    reader = open_embeddings(write(kind, tmp_path / "set", Embedded(shards(x))))
    assert reader.layout.num_rows == ROWS
    sizes = np.cumsum([0, *(shard.rows for shard in reader.layout.shards)])
    where = int(np.searchsorted(sizes, 16, side="right")) - 1
    name, row = reader.layout.shards[where].name, 16 - sizes[where]
    for batch_rows in (2, 100):
        with pytest.raises(InputError, match="must be finite") as caught:
            list(reader.rows(batch_rows=batch_rows))
        assert f"features of {name} must be finite" in str(caught.value)
        assert f"in row {row}," in str(caught.value)
        assert "\n" not in str(caught.value)


def test_large_half_precision_is_finite(kind, tmp_path):
    """The sum of these overflows half precision, and single precision where there are more."""
    x = np.full((ROWS, 5), 60000.0, np.float16)
    reader = open_embeddings(write(kind, tmp_path / "set", Embedded(shards(x))))
    np.testing.assert_array_equal(joined(reader)["features"].numpy(), x)


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_bad_weights_are_named(kind, bad, tmp_path):
    w = np.ones(ROWS)
    w[12] = bad
    data = Embedded(shards(features()), None, shards(w))
    reader = open_embeddings(write(kind, tmp_path / "set", data))
    with pytest.raises(InputError, match=rf"weights of .* not negative; got {bad} in row \d+"):
        list(reader.rows(batch_rows=1))


def test_bad_real_targets_are_named(kind, tmp_path):
    y = np.zeros((ROWS, 2))
    y[12, 1] = np.nan
    reader = open_embeddings(write(kind, tmp_path / "set", Embedded(shards(features()), shards(y))))
    with pytest.raises(InputError, match=r"labels of .* must be finite; .* in row \d+"):
        list(reader.rows())


def test_labels_outside_the_names_are_named(kind, tmp_path):
    y = np.zeros(ROWS, np.int64)
    y[12] = 2
    data = Embedded(shards(features()), shards(y), names=("a", "b"))
    if kind == "hf":
        pytest.skip("`datasets` refuses to write such labels")
    with pytest.raises(InputError, match=r"labels of .* must lie in 0..1, .* got 2 in row 1"):
        _ = open_embeddings(write(kind, tmp_path / "set", data)).layout
