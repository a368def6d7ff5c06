"""Damaged, changed and hostile files: one clear line that names the path, and nothing is run."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from artifact.makers import make_distilled, make_images
from cases import draw
from export.artefacts import OBJECTS, Canary, bytes_of, main_file, plain, rewrite
from PIL import Image
from torch import nn

from cvxdistill.errors import InputError
from cvxdistill.export import EXPORTERS, export_distilled, import_distilled

# The label JSON has its own library: none.
FORMATS = [*EXPORTERS, "authors"]
PARTS = ("train", "test")


@pytest.fixture(scope="module", params=FORMATS)
def intact(request, tmp_path_factory):
    """The format, a folder with one intact file of it, and what reading it needs."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    if name in ("hub", "parquet"):
        pytest.importorskip("pyarrow")
    if name == "hub":
        pytest.importorskip("huggingface_hub")
    if name == "authors":
        return name, folder, authors_json(folder)
    path = folder / f"out{EXPORTERS[name].suffix or ''}"
    export_distilled(small(), path, format=name)
    return name, folder, {}


def small():
    return plain(bytes_of(6, 1, 8, 8))


def authors_json(folder):
    data = make_images(40)
    arrays = {"images": data.images.numpy()[:, 0], "labels": data.labels.numpy()}
    np.savez(folder / "target.npz", **{f"{k}_{s}": v for k, v in arrays.items() for s in PARTS})
    known = {
        "labels": [draw(6, 3).softmax(1).tolist()],
        "base_example_labels": [float(k % 3) for k in range(6)],
    }
    (folder / "out.json").write_text(json.dumps(known))
    return {"target": f"npz:{folder}/target.npz", "indices": "0,1,2,3,4,5"}


@pytest.fixture
def file(intact, tmp_path):
    """A copy of the intact file."""
    name, folder, options = intact
    suffix = ".json" if name == "authors" else EXPORTERS[name].suffix or ""
    path = tmp_path / f"out{suffix}"
    source = folder / path.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, path)
    return name, path, options


def refused(file, *, match=None):
    name, path, options = file
    with pytest.raises(InputError, match=match) as caught:
        import_distilled(path, format=name, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text or str(path.name) in text
    assert "allow_pickle=True" not in text
    assert "weights_only" not in text


def test_the_intact_file_is_read(file):
    name, path, options = file
    assert len(import_distilled(path, format=name, **options)) == 6


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.995])
def test_truncated(file, share):
    name, path, _ = file
    main = main_file(name, path)
    content = main.read_bytes()
    main.write_bytes(content[: int(share * len(content))])
    refused(file)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"PK\x03\x04 nothing", b"PAR1xxxxPAR1"])
def test_other_bytes(file, content):
    name, path, _ = file
    main_file(name, path).write_bytes(content)
    refused(file)


def test_a_pickle_is_not_opened(file, tmp_path):
    name, path, _ = file
    mark = tmp_path / "mark"
    main_file(name, path).write_bytes(pickle.dumps({"labels": Canary(mark)}))
    refused(file)
    assert not mark.exists()


def test_objects_are_refused_and_not_made(file, tmp_path):
    name, path, _ = file
    mark = tmp_path / "mark"
    if name == "authors":
        change_json(path, lambda known: known.update(labels=[[[{"a": 1}]] * 6]))
    else:
        OBJECTS[name](path, mark)
    refused(file)
    assert not mark.exists()


# Wrong contents in a sound file. ----------------------------------------------------------------


def change_json(path, change):
    known = json.loads(path.read_text())
    change(known)
    path.write_text(json.dumps(known))


def labels(change):
    def apply(arrays, record):
        arrays["labels"] = change(arrays["labels"])

    return apply


def cell(value):
    def change(array):
        array[0, 0] = value
        return array

    return change


def other(key, change):
    def apply(arrays, record):
        change(arrays[key])

    return apply


def in_record(change):
    def apply(arrays, record):
        change(record)

    return apply


def drop(key):
    return in_record(lambda record: record[0].pop(key))


def put(key, value):
    return in_record(lambda record: record[0].update({key: value}))


CHANGES = {
    "nan": labels(cell(np.nan)),
    "infinite": labels(cell(np.inf)),
    "column-missing": labels(lambda array: array[:, :-1].copy()),
    "row-missing": labels(lambda array: array[:-1].copy()),
    "label-changed": labels(lambda array: array[::-1].copy()),
    "class-out-of-range": other("base_labels", lambda array: array.put(0, 99)),
    "class-changed": other("base_labels", lambda array: array.put(0, 2)),
    "index-changed": other("base_indices", lambda array: array.put(0, 29)),
    "key-missing": drop("class_names"),
    "key-unknown": put("surprise", 1),
    "other-format": put("format", "cvxdistill.export/9"),
    "record-no-json": in_record(lambda record: record.__setitem__(0, "{no json")),
    "other-shape": put("shape", [1, 4, 16]),
    "other-dtype": put("dtype", "float32"),
    "code-as-dtype": put("dtype", "load"),
    "one-class-more": put("class_names", ["a", "b", "c", "d"]),
    "other-head": put("head", {"name": "nothing", "options": {}}),
    "hash-changed": in_record(lambda record: record[0]["content_hashes"].reverse()),
    "preprocessing-changed": in_record(
        lambda record: record[0]["preprocessing"].update(fingerprint="0")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("intact", EXPORTERS, indirect=True)
def test_other_contents(file, change):
    name, path, _ = file
    rewrite(name, path, CHANGES[change])
    refused(file)


@pytest.mark.parametrize("intact", EXPORTERS, indirect=True)
def test_written_anew_without_a_change_it_is_read(file):
    name, path, _ = file
    rewrite(name, path, lambda arrays, record: None)
    assert len(import_distilled(path)) == 6


@pytest.mark.parametrize("name", ["npz", "parquet", "torch"])
def test_numbers_of_features_are_looked_at(name, tmp_path):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"out{EXPORTERS[name].suffix}"
    export_distilled(plain(draw(6, 5).float()), path)
    file = (name, path, {})
    rewrite(name, path, other("examples", lambda array: array.put(3, np.nan)))
    refused(file, match="finite")
    export_distilled(plain(draw(6, 5).float()), path)
    rewrite(name, path, other("examples", lambda array: array.put(3, 1.5)))
    refused(file, match="changed")


# What only one format can have. -----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    export_distilled(small(), tmp_path / "out", format="image-folder")
    return tmp_path / "out"


def test_a_table_cannot_name_files_outside_its_folder(folder):
    outside = folder.parent / "secret.png"
    Image.new("L", (8, 8)).save(outside)
    table = (folder / "labels.csv").read_text()
    first = table.splitlines()[1].split(",")[0]
    for name in ("../secret.png", str(outside), "a/../../secret.png"):
        (folder / "labels.csv").write_text(table.replace(first, name))
        refused(("image-folder", folder, {}), match="not inside")
    (folder / "labels.csv").write_text(table)
    (folder / first).unlink()
    (folder / first).symlink_to(outside)
    refused(("image-folder", folder, {}), match="not inside")


def test_images_that_are_missing_damaged_or_others(folder):
    first = next(folder.rglob("*.png"))
    whole, file = first.read_bytes(), ("image-folder", folder, {})
    first.write_bytes(whole[:40])
    refused(file, match="image")
    Image.new("L", (9, 8)).save(first)
    refused(file, match="one size")
    Image.new("L", (8, 8)).save(first)
    refused(file, match="changed")
    Image.new("I;16", (8, 8)).save(first)
    refused(file, match="8 bits")
    first.unlink()
    refused(file, match=first.name)


def test_a_hub_folder_without_its_data(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "out" / "data").mkdir(parents=True)
    (tmp_path / "out" / "README.md").write_text("---\n---\n")
    refused(("hub", tmp_path / "out", {}), match="must hold")


def test_parquet_that_other_programs_wrote(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "out.parquet"
    pq.write_table(pa.table({"x": [1, 2]}), path)
    refused(("parquet", path, {}), match="metadata")
    export_distilled(small(), path)
    with pq.ParquetFile(path) as file:
        table, texts = file.read(), dict(file.metadata.metadata)
    kept = {key: value for key, value in texts.items() if key != b"ARROW:schema"}
    empty = pa.array([None] * len(table), type=table.schema.field("label").type)
    holed = table.set_column(1, "label", empty).replace_schema_metadata(kept)
    pq.write_table(holed, path)
    refused(("parquet", path, {}), match="empty entries")
    pq.write_table(table.drop_columns(["index"]).replace_schema_metadata(kept), path)
    refused(("parquet", path, {}), match="`index` must be of type int64; got no such column")


def test_a_whitening_too_large_for_parquet_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("cvxdistill.export.parquet._FOOTER_BYTES", 100)
    with pytest.raises(InputError, match="Choose `torch` or `npz`"):
        export_distilled(make_distilled(preprocessing=zca()), tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


def zca():
    from cvxdistill.features import Preprocessing

    return Preprocessing.fit(make_images(), zca=True)


@pytest.mark.parametrize("thing", [[1, 2], {"manifest": 3}, {"a": torch.zeros(2)}])
def test_torch_files_of_other_kinds(thing, tmp_path):
    torch.save(thing, tmp_path / "out.pt")
    refused(("torch", tmp_path / "out.pt", {}), match="manifest")


def test_a_whole_module_is_not_opened(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "out.pt")
    refused(("torch", tmp_path / "out.pt", {}), match="not opened")


@pytest.mark.parametrize("extra", ["more", "fewer", "sparse"])
def test_torch_files_with_other_tensors(extra, tmp_path):
    path = tmp_path / "out.pt"
    export_distilled(small(), path)
    parts = torch.load(path, weights_only=True)
    if extra == "more":
        parts["surprise"] = torch.zeros(1)
    elif extra == "fewer":
        del parts["base_labels"]
    else:
        parts["labels"] = parts["labels"].to_sparse()
    torch.save(parts, path)
    refused(("torch", path, {}))
