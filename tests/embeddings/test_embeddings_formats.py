"""What is particular to a format: layouts, names, types, and what users told."""

import sys

import numpy as np
import pytest
import torch
from embeddings.writers import (
    Embedded,
    arrow_column,
    hf_dataset,
    save_quietly,
    write,
    write_clip,
    write_npz,
    write_parquet,
)

from cvxdistill.embeddings import open_embeddings
from cvxdistill.embeddings.arrow import as_matrix
from cvxdistill.embeddings.places import natural_order
from cvxdistill.errors import InputError

X = np.random.default_rng(0).standard_normal((23, 5)).astype(np.float32)
Y = np.arange(23) % 3


def read(spec: str, **options):
    """The reader, and all features and targets as numpy holds them."""
    reader = open_embeddings(str(spec), **options)
    batches = list(reader.rows(batch_rows=4))
    targets = None if batches[0].targets is None else torch.cat([b.targets for b in batches])
    return reader, torch.cat([b.features for b in batches]).numpy(), targets


@pytest.mark.parametrize("dtype", ["<f2", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_in_any_order_of_bytes_and_axes(kind, order, dtype, tmp_path):
    x = np.asarray(X.astype(dtype), order=order)
    reader, features, targets = read(write(kind, tmp_path / "set", Embedded([x], [Y])))
    np.testing.assert_array_equal(features, x)
    assert reader.layout.dtype == f"float{8 * x.dtype.itemsize}"
    assert targets.tolist() == Y.tolist()


def test_a_pair_of_npy_files_without_numbers(tmp_path):
    np.save(tmp_path / "features.npy", X)
    np.save(tmp_path / "labels.npy", np.array(["b", "a", "c"])[Y])
    reader, features, targets = read(tmp_path)
    assert (len(reader.layout.shards), reader.layout.target_names) == (1, ("a", "b", "c"))
    np.testing.assert_array_equal(features, X)
    assert targets.tolist() == np.array([1, 0, 2])[Y].tolist()


@pytest.mark.parametrize("suffix", ["npy", "txt"])
def test_class_names_beside_arrays(tmp_path, suffix):
    np.save(tmp_path / "features.npy", X)
    np.save(tmp_path / "labels.npy", Y)
    names = ("zebra", "ant bear", "fox")
    if suffix == "npy":
        np.save(tmp_path / "class_names.npy", np.array(names))
    else:
        (tmp_path / "class_names.txt").write_text("zebra\nant bear\nfox\n")
    assert open_embeddings(f"npy:{tmp_path}").layout.target_names == names


def test_arrays_under_names_that_were_told(tmp_path):
    for k, part in enumerate(np.split(np.arange(23), [9])):
        np.save(tmp_path / f"clip_{k}.npy", X[part])
        np.save(tmp_path / f"dino_{k}.npy", 2 * X[part])
        np.save(tmp_path / f"kind_{k}.npy", Y[part])
        np.save(tmp_path / f"mass_{k}.npy", np.ones(len(part)))
    told = {"labels": "kind", "weights": "mass"}
    reader, features, _ = read(tmp_path, features="dino", **told)
    np.testing.assert_array_equal(features, 2 * X)
    assert reader.layout.weighted
    with pytest.raises(InputError, match="must hold features, embeddings or x; got clip_0"):
        read(tmp_path)


def test_splits_in_the_names_of_arrays(tmp_path):
    for split, part in (("train", slice(0, 9)), ("val", slice(9, 12)), ("test", slice(12, 23))):
        np.save(tmp_path / f"{split}_features_0.npy", X[part])
    assert open_embeddings(str(tmp_path)).splits() == ("train", "validation", "test")
    for name in ("validation", "val"):
        np.testing.assert_array_equal(read(f"npy:{tmp_path}@{name}")[1], X[9:12])


@pytest.mark.parametrize("compressed", [True, False])
def test_archives_packed_or_not(tmp_path, compressed):
    write_npz(tmp_path / "a.npz", Embedded([X[:9], X[9:]], [Y[:9], Y[9:]]), compressed=compressed)
    _, features, targets = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(features, X)
    assert targets.tolist() == Y.tolist()


def write_table(path, columns: dict, metadata=None, **options):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, **options)
    return path


@pytest.mark.parametrize("kind", ["fixed", "list", "large"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_lists_of_every_kind(tmp_path, kind, dtype):
    import pyarrow as pa

    x = X.astype(dtype)
    column = arrow_column(x, fixed=kind == "fixed")
    if kind == "large":
        column = column.cast(pa.large_list(column.type.value_type))
    path = write_table(tmp_path / "a.parquet", {"emb": column, "class": pa.array(Y)})
    reader, features, targets = read(path)
    assert (reader.layout.num_features, reader.layout.dtype) == (5, dtype)
    np.testing.assert_array_equal(features, x)
    assert targets.tolist() == Y.tolist()


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize(("start", "length"), [(0, 23), (7, 5), (22, 1), (4, 0)])
def test_slices_of_arrow_arrays_keep_their_offset(fixed, start, length):
    """The values of a sliced array are still all there: only `flatten` skips those before it."""
    array = arrow_column(X, fixed=fixed).slice(start, length)
    matrix = as_matrix(array, what="features", name="toy", start=start)
    np.testing.assert_array_equal(matrix.reshape(-1, 5), X[start : start + length])


def test_tables_made_of_slices(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"vector": arrow_column(X), "label": pa.array(Y)})
    pq.write_table(table.slice(5, 11), tmp_path / "a.parquet", row_group_size=4)
    _, features, targets = read(tmp_path / "a.parquet")
    np.testing.assert_array_equal(features, X[5:16])
    assert targets.tolist() == Y[5:16].tolist()


def test_the_only_column_of_floating_lists_is_that_of_features(tmp_path):
    columns = {"my_net": arrow_column(X), "tokens": arrow_column(np.zeros((23, 2), np.int64))}
    reader, features, targets = read(write_table(tmp_path / "a.parquet", columns))
    np.testing.assert_array_equal(features, X)
    assert targets is None
    reader, _, targets = read(tmp_path / "a.parquet", labels="tokens")
    assert (reader.layout.target_kind, targets.shape) == ("real", (23, 2))


def test_dictionaries_of_strings(tmp_path):
    import pyarrow as pa

    labels = pa.array(np.array(["b", "a", "c"])[Y].tolist()).dictionary_encode()
    path = write_table(tmp_path / "a.parquet", {"emb": arrow_column(X), "label": labels})
    reader, _, targets = read(path)
    assert reader.layout.target_names == ("a", "b", "c")
    assert targets.tolist() == np.array([1, 0, 2])[Y].tolist()


def test_class_names_of_a_field(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = arrow_column(X)
    names = pa.field("label", pa.int64(), metadata={"class_names": '["z", "y", "x"]'})
    schema = pa.schema([pa.field("emb", kind.type), names])
    pq.write_table(pa.table([kind, pa.array(Y)], schema=schema), tmp_path / "a.parquet")
    assert open_embeddings(str(tmp_path / "a.parquet")).layout.target_names == ("z", "y", "x")


def test_shards_in_natural_order_and_some_without_rows(tmp_path):
    parts = {"part-10": X[9:], "part-2": X[:9], "part-3": X[:0]}
    for name, x in parts.items():
        for fixed in (True, False):
            kind = "fixed" if fixed else "list"
            write_table(tmp_path / kind / f"{name}.parquet", {"emb": arrow_column(x, fixed=fixed)})
    (tmp_path / "fixed" / "_metadata.parquet").write_bytes(b"passed over")
    for kind in ("fixed", "list"):
        reader, features, _ = read(tmp_path / kind)
        assert [shard.rows for shard in reader.layout.shards] == [9, 0, 14]
        np.testing.assert_array_equal(features, X)
        assert len(reader.read(1, 0, 0)) == 0
    assert natural_order([tmp_path / "b10", tmp_path / "b9"])[0].name == "b9"


def test_a_snapshot_of_a_hub(tmp_path):
    """Files of splits side by side in `data`, with the metadata that `datasets` writes."""
    datasets = pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    datasets.disable_progress_bars()
    whole = hf_dataset(Embedded([X], [Y], names=("no", "so", "yes")))
    (tmp_path / "data").mkdir()
    whole.select(range(9)).to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    whole.select(range(9, 12)).to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    whole.select(range(12, 23)).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    reader, features, targets = read(f"{tmp_path}@train")
    assert (reader.name, reader.splits()) == ("parquet", ("train", "test"))
    assert reader.layout.target_names == ("no", "so", "yes")
    np.testing.assert_array_equal(features, X[:12])
    assert targets.tolist() == Y[:12].tolist()


def test_clip_folders_of_other_numbers_and_columns(tmp_path):
    import pyarrow as pa

    for k, part in ((0, slice(0, 4)), (2, slice(4, 9)), (10, slice(9, 23))):
        for word in ("img_emb", "text_emb"):
            (tmp_path / word).mkdir(exist_ok=True)
            np.save(tmp_path / word / f"{word}_{k}.npy", X[part] * (1 if word == "img_emb" else 2))
        columns = {"class": pa.array(Y[part]), "similarity": pa.array(np.ones(len(X[part])))}
        write_table(tmp_path / "metadata" / f"metadata_{k}.parquet", columns)
    reader, features, targets = read(f"clip:{tmp_path}")
    assert not reader.layout.weighted
    np.testing.assert_array_equal(features, X)
    assert targets.tolist() == Y.tolist()
    told = {"features": "text_emb", "weights": "similarity"}
    reader, features, _ = read(f"clip:{tmp_path}", **told)
    assert reader.layout.weighted
    np.testing.assert_array_equal(features, 2 * X)
    for file in (tmp_path / "metadata").iterdir():
        file.unlink()
    assert read(tmp_path)[2] is None


def test_clip_metadata_must_have_a_row_for_each_embedding(tmp_path):
    write_clip(tmp_path, Embedded([X], [Y]))
    np.save(tmp_path / "img_emb" / "img_emb_0000.npy", X[:20])
    with pytest.raises(InputError, match=r"img_emb_0000.npy must have .*each of its 20 rows"):
        read(tmp_path)


def test_bfloat16_is_kept(tmp_path):
    from safetensors.torch import save_file

    x = torch.from_numpy(X).bfloat16()
    file = tmp_path / "a.safetensors"
    weights = torch.ones(23, dtype=torch.bfloat16)
    save_file({"embeddings": x, "y": torch.from_numpy(Y), "weights": weights}, file)
    reader = open_embeddings(str(file))
    rows = reader.read(0, 3, 9)
    assert reader.layout.dtype == "bfloat16"
    assert torch.equal(rows.features, x[3:9])
    assert rows.weights.tolist() == [1.0] * 6


def test_tensors_under_names_that_were_told(tmp_path):
    from safetensors.torch import save_file

    tensors = {"clip": torch.from_numpy(X), "kind": torch.from_numpy(Y), "labels": torch.zeros(23)}
    save_file(tensors, tmp_path / "a.safetensors")
    _, features, targets = read(tmp_path, features="clip", labels="kind")
    np.testing.assert_array_equal(features, X)
    assert targets.tolist() == Y.tolist()


def test_saved_data_sets_of_many_batches_and_other_columns(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    x = np.random.default_rng(0).standard_normal((2500, 3)).astype(np.float32)
    kinds = {"emb": datasets.Sequence(datasets.Value("float32")), "text": datasets.Value("string")}
    columns = {"emb": list(x), "text": [str(i) for i in range(2500)]}
    whole = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    picked = whole.select(range(2499, 0, -1))
    save_quietly(datasets.DatasetDict({"train": whole, "odd": picked}), tmp_path / "set")
    np.testing.assert_array_equal(read(f"hf:{tmp_path / 'set'}@train")[1], x)
    reader = open_embeddings(f"{tmp_path / 'set'}@odd")
    assert [len(batch) for batch in reader.rows(batch_rows=1700)] == [1700, 799]
    np.testing.assert_array_equal(reader.read(0, 995, 1010).features.numpy(), x[1504:1489:-1])
    assert reader.splits() == ("train", "odd")


def test_saved_data_sets_are_read_without_their_library(tmp_path, monkeypatch):
    spec = write("hf", tmp_path / "set", Embedded([X], [Y]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    np.testing.assert_array_equal(read(spec)[1], X)


@pytest.mark.parametrize("kind", ["clip", "hf", "parquet"])
def test_without_pyarrow_the_message_says_what_to_install(kind, tmp_path, monkeypatch):
    spec = write(kind, tmp_path / "set", Embedded([X], [Y]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r'pip install "cvxdistill\[arrow\]"') as caught:
        read(spec)
    assert "\n" not in str(caught.value)


def test_paths_with_colons_and_ats(tmp_path):
    for name in ("a:b", "a@b"):
        write_parquet(tmp_path / name, Embedded([X]))
        np.testing.assert_array_equal(read(tmp_path / name)[1], X)
        np.testing.assert_array_equal(read(f"parquet:{tmp_path / name}")[1], X)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("parket:x", r"must be one of clip, hf, .*; got `parket`. Did you mean `parquet`"),
        ("parquet:", r"`parquet:` must be KIND:PATH with one of clip"),
        ("", "must be KIND:PATH"),
        ("/no/such/place", "nothing exists at /no/such/place"),
        ("npy:/no/such/place@train", "nothing exists at /no/such/place"),
    ],
)
def test_specs_that_cannot_be_understood(spec, match):
    with pytest.raises(InputError, match=match):
        open_embeddings(spec)


def test_two_formats_in_one_folder_need_a_kind(tmp_path):
    data = Embedded([X], [Y])
    for kind in ("npy", "safetensors", "parquet"):
        write(kind, tmp_path / "set", data)
    with pytest.raises(InputError, match=r"looks like npy and safetensors. Write KIND:"):
        read(tmp_path / "set")
    for kind in ("npy", "safetensors", "parquet"):
        np.testing.assert_array_equal(read(f"{kind}:{tmp_path / 'set'}")[1], X)
