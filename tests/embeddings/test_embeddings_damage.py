"""Files that are damaged, contradict one another, or are of another kind: one clear line each."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from embeddings.writers import Embedded, arrow_column, place, save_quietly, write

from cvxdistill.embeddings import open_embeddings
from cvxdistill.errors import InputError

RANDOM = np.random.default_rng(0)
X = [RANDOM.standard_normal((rows, 4)).astype(np.float32) for rows in (60, 50)]
Y = [np.arange(len(x)) % 3 for x in X]


def refused(spec: str, match: str, **options) -> None:
    """Reading all rows must fail with one line that matches."""
    with pytest.raises(InputError, match=match) as caught:
        list(open_embeddings(spec, **options).rows())
    assert "\n" not in str(caught.value)


def cut(path: Path, *, keep: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


FILES = {
    "clip": ("img_emb/img_emb_0001.npy", "metadata/metadata_0001.parquet"),
    "hf": ("data-00001-of-00002.arrow",),
    "npy": ("features_1.npy", "labels_1.npy"),
    "npz": ("",),
    "parquet": ("part-1.parquet",),
    "safetensors": ("shard-1.safetensors",),
}
CASES = [(kind, file) for kind, files in FILES.items() for file in files]


@pytest.fixture(params=CASES, ids=[f"{kind} {file}" for kind, file in CASES])
def damaged(request, tmp_path) -> tuple[str, Path]:
    """A spec, and a file of its second shard."""
    kind, file = request.param
    spec = write(kind, tmp_path / "set", Embedded(X, Y))
    return spec, place(kind, tmp_path / "set") / file if file else place(kind, tmp_path / "set")


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.6, 0.97])
def test_truncated_files_are_named(damaged, keep):
    spec, path = damaged
    cut(path, keep=keep)
    refused(spec, rf"{path} cannot be read as")


def test_an_arrow_stream_without_its_end_is_named(tmp_path):
    """Cut off between two batches, all that is left can be read: rows would be missing silently."""
    spec = write("hf", tmp_path / "set", Embedded(X, Y))
    path = tmp_path / "set" / "data-00001-of-00002.arrow"
    path.write_bytes(path.read_bytes().removesuffix(b"\xff\xff\xff\xff\0\0\0\0"))
    refused(spec, rf"{path} cannot be read as an Arrow stream")


def test_files_of_another_kind_are_named(damaged):
    spec, path = damaged
    path.write_bytes(b"this is text, not an array\n" * 40)
    refused(spec, rf"{path} cannot be read as")


def test_a_file_that_vanishes_after_opening_is_named(damaged):
    spec, path = damaged
    reader = open_embeddings(spec)
    assert reader.layout.num_rows == 110
    path.unlink()
    with pytest.raises(InputError, match=str(path)):
        list(reader.rows())


@pytest.mark.parametrize("kind", sorted(FILES))
@pytest.mark.parametrize(
    ("second", "match"),
    [
        ({"features": X[1][:, :3]}, r"must be alike; got columns of features: 4 in .* and 3 in "),
        ({"features": X[1].astype(np.float64)}, r"features of type float32 in .* and float64 in"),
        ({"labels": Y[1].astype(float)}, r"labels of .* must be like those of "),
        ({"labels": Y[1].astype(str)}, r"labels of .* must be like those of "),
        ({"labels": np.eye(3)[Y[1]]}, r"labels of .* must be like those of "),
    ],
    ids=["d", "type", "real", "strings", "one-hot"],
)
def test_shards_that_contradict_one_another(kind, second, match, tmp_path):
    if kind == "hf":
        pytest.skip("`datasets` writes all shards of one table")
    if kind == "safetensors" and second.get("labels", X[1]).dtype.kind == "U":
        pytest.skip("safetensors hold no strings")
    both = {"features": X, "labels": Y}
    data = Embedded(**{name: [v[0], second.get(name, v[1])] for name, v in both.items()})
    refused(write(kind, tmp_path / "set", data), match)


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
@pytest.mark.parametrize(
    ("features", "match"),
    [
        (X[0][:, 0], r"must be \(n, d\); got shape \(60,\)"),
        (X[0].reshape(60, 2, 2), r"must be \(n, d\); got shape \(60, 2, 2\)"),
        (X[0].astype(np.int64), "must be one of float16, .*; got (int64|I64)"),
        (X[0][:, :0], "must have 1 column or more"),
        (X[0][:50], r"must have labels for each of its 50 rows; got labels of shape \(60,\)"),
    ],
    ids=["vector", "cube", "whole numbers", "no columns", "rows"],
)
def test_arrays_of_another_shape_or_type(kind, features, match, tmp_path):
    refused(write(kind, tmp_path / "set", Embedded([features], Y[:1])), match)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_pickles_are_refused_and_not_run(kind, tmp_path):
    class Canary:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    for data in (
        Embedded([np.array([[Canary()]], dtype=object)], [Y[0][:1]]),
        Embedded([X[0][:1]], [np.array([Canary()], dtype=object)]),
    ):
        refused(write(kind, tmp_path / "set", data), r"cannot be read as an? .*(objects|mapped)")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Canary()))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("dtype", ["complex64", "V8", "M8[s]"])
def test_arrays_of_types_that_are_no_numbers(kind, dtype, tmp_path):
    spec = write(kind, tmp_path / "set", Embedded([np.zeros((3, 2), dtype)], [Y[0][:3]]))
    refused(spec, "features of .* must be one of float16")
    spec = write(kind, tmp_path / "set", Embedded([X[0][:3]], [np.zeros(3, dtype)]))
    refused(spec, "labels of .* must be whole numbers or strings")


@pytest.mark.parametrize(
    ("spec", "file", "match"),
    [
        ("npy", "labels_1.npy", "features_1 has no partner"),
        ("npy", "features_1.npy", "labels_1 has no partner"),
        ("clip", "metadata/metadata_0001.parquet", r"img_emb_0001.npy has no partner"),
        ("clip", "img_emb/img_emb_0001.npy", r"metadata_0001.parquet has no partner"),
        ("hf", "data-00001-of-00002.arrow", r"data-00001-of-00002.arrow cannot be read"),
        ("hf", "state.json", r"save_to_disk.* .*state.json is not there"),
    ],
)
def test_missing_partners_are_named(spec, file, match, tmp_path):
    written = write(spec, tmp_path / "set", Embedded(X, Y))
    (tmp_path / "set" / file).unlink()
    if file == "state.json":
        (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    refused(written, match)


def test_names_of_shards_that_collide(tmp_path):
    spec = write("npy", tmp_path / "set", Embedded(X, Y))
    np.save(tmp_path / "set" / "features_01.npy", X[0])
    refused(spec, "`features_01` and `features_1` are the same shard")
    spec = write("clip", tmp_path / "clip", Embedded(X, Y))
    np.save(tmp_path / "clip" / "img_emb" / "img_emb_1.npy", X[0])
    refused(spec, "have the same number")


def write_table(path: Path, **columns) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return f"parquet:{path}"


def test_tables_without_the_columns_of_embeddings(tmp_path):
    import pyarrow as pa

    rows, path = arrow_column(X[0]), tmp_path / "a.parquet"
    whole = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(240)), 4)
    labels = pa.array(Y[0])
    refused(write_table(path, url=pa.array(["u"] * 60)), "must hold features named .*; got url")
    refused(write_table(path, features=labels), r"lists of float16.*got column `features` of int64")
    refused(write_table(path, features=whole), "lists of float16.*got column `features` of fixed_")
    refused(write_table(path, features=rows, emb=rows), "features; got features and emb")
    refused(write_table(path, a=rows, b=rows), "must hold features named .*; got a, b")
    refused(write_table(path, emb=rows, label=labels, y=labels), "kind of labels; got label and y")
    when = pa.array([0] * 60, pa.timestamp("s"))
    refused(write_table(path, emb=rows, label=when), "must be numbers, strings or lists of")
    refused(write_table(path, emb=rows, label=rows, weight=rows), "weights of .* must be a vector")
    refused(write_table(path, emb=rows), "must hold labels named `kind`; got emb", labels="kind")
    refused(write_table(path, emb=rows), "must hold features named `x`; got emb", features="x")


def test_nulls_and_ragged_lists_are_refused_with_their_row(tmp_path):
    """A null row would be left out, and every later row would get its neighbour's label."""
    import pyarrow as pa

    path, rows = tmp_path / "a.parquet", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    for kind in (pa.list_(pa.float32(), 2), pa.list_(pa.float32()), pa.large_list(pa.float32())):
        null_row = pa.array([*rows, None, rows[0]], kind)
        refused(write_table(path, emb=null_row), "features of .* no nulls; got one in row 4")
        null_entry = pa.array([*rows, [1.0, None]], kind)
        refused(write_table(path, emb=null_entry), "features of .* no nulls; got one in row 4")
    ragged = pa.array([*rows, [1.0], rows[0]], pa.list_(pa.float32()))
    refused(write_table(path, emb=ragged), "of one length; got 2 in row 0 and 1 in row 4")
    ragged = pa.array([*rows, [1.0, 2.0, 3.0], [4.0]], pa.list_(pa.float32()))
    refused(write_table(path, emb=ragged), "of one length; got 2 in row 0 and 3 in row 4")
    good = pa.array(rows, pa.list_(pa.float32()))
    for labels in ([0, 1, None, 0], ["a", "b", None, "a"]):
        refused(write_table(path, emb=good, label=labels), "labels of .* nulls; got one in row 2")


def test_lists_that_change_their_length_between_batches(tmp_path):
    import pyarrow as pa

    rows = [[1.0, 2.0]] * 4 + [[1.0, 2.0, 3.0]] * 4
    spec = write_table(tmp_path / "a.parquet", emb=pa.array(rows, pa.list_(pa.float32())))
    with pytest.raises(InputError, match=r"a.parquet must have 2 columns .* got 3 from row 4 on"):
        list(open_embeddings(spec).rows(batch_rows=4))


def test_weights_that_were_told_must_be_there(tmp_path):
    for kind in ("npy", "npz", "parquet", "safetensors", "clip", "hf"):
        spec = write(kind, tmp_path / kind, Embedded(X, Y))
        refused(spec, r"must hold .*`mass`", weights="mass")
        refused(spec, r"mass", labels="mass")


def test_saved_data_sets_that_are_damaged(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    spec = write("hf", tmp_path / "set", Embedded(X, Y))
    state = tmp_path / "set" / "state.json"
    text = state.read_text()
    for content, match in (
        ("{", "state.json cannot be read as JSON"),
        ("[]", "not a JSON object"),
        ("{}", "state.json cannot be read as the state"),
        ('{"_data_files": []}', "must hold rows; got no files"),
        (text.replace("{", '{"_indices_files": [{"filename": "i.arrow"}],', 1), "flatten_indices"),
    ):
        state.write_text(content)
        refused(spec, match)
    save_quietly(datasets.Dataset.from_dict({"text": ["a", "b"]}), tmp_path / "text")
    refused(f"hf:{tmp_path / 'text'}", "must hold features named .*; got text")


def test_safetensors_without_features(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "a.safetensors"
    save_file({"weight": torch.zeros(3, 2)}, file)
    refused(str(file), "must hold features named features, .*; got weight")
    bad = torch.zeros(3, 2, dtype=torch.bfloat16)
    bad[1, 1] = torch.nan
    save_file({"features": bad}, file)
    refused(str(file), "must be finite; got NaN or infinity in row 1")
    save_file({"features": torch.zeros(3, 2)}, file, metadata={"class_names": "no list"})
    refused(str(file), "cannot be read as safetensors")


def test_names_that_do_not_fit(tmp_path):
    spec = write("npy", tmp_path / "set", Embedded(X, Y))
    names = tmp_path / "set" / "class_names.json"
    for content, match in (
        ('{"a": 1}', "cannot be read as class names"),
        ('["a", "a", "b"]', "must differ"),
        ('["a", "b"]', r"labels of .*features_0.npy must lie in 0..1, .* got 2 in row 2"),
    ):
        names.write_text(content)
        refused(spec, match)
    (tmp_path / "set" / "class_names.txt").write_text("a\nb\nc\n")
    refused(spec, "must hold one file of class names; got class_names.json and class_names.txt")


def test_parts_and_whole_together_are_refused(tmp_path):
    spec = write("parquet", tmp_path / "set", Embedded(X, Y))
    (tmp_path / "set" / "test").mkdir()
    (tmp_path / "set" / "part-0.parquet").rename(tmp_path / "set" / "test" / "part-0.parquet")
    refused(spec, "either of train, validation and test or undivided; got both")


def test_more_classes_than_moments_could_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("cvxdistill.embeddings.targets.MAX_CLASSES", 50)
    spec = write("npy", tmp_path / "set", Embedded(X, [np.arange(60), np.arange(50)]))
    refused(spec, r"labels of .*features_0.npy must be classes; got more than 50 distinct ones")
