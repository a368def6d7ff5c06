"""What other programs make of the files: their own readers, no code of this package."""

import json

import numpy as np
import pytest
import torch
from artifact.makers import make_images
from cases import draw
from export.artefacts import ODD_NAMES, bytes_of, plain
from PIL import Image
from torch.utils.data import DataLoader

from cvxdistill.data import open_source
from cvxdistill.export import DistilledDataset, export_distilled, import_distilled
from cvxdistill.export.card import body, front_matter
from cvxdistill.export.record import Contents
from cvxdistill.features import Preprocessing


@pytest.fixture
def grey():
    return plain(bytes_of(9, 1, 6, 4), kind="distribution")


@pytest.fixture
def colour():
    return plain(bytes_of(9, 3, 6, 4))


# datasets. --------------------------------------------------------------------------------------


@pytest.fixture
def load_dataset(tmp_path, monkeypatch):
    """`datasets.load_dataset` without network, cache or bars outside this test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    datasets.disable_progress_bars()

    def load(*arguments, **options):
        cache = str(tmp_path / "cache")
        return datasets.load_dataset(*map(str, arguments), cache_dir=cache, **options)

    return load


def test_a_hub_folder_loads_without_code(load_dataset, tmp_path, colour):
    export_distilled(colour, tmp_path / "out", format="hub:license=mit")
    found = load_dataset(tmp_path / "out")
    assert list(found) == ["train"]
    rows = found["train"]
    assert rows.column_names == ["image", "label", "soft_label", "index"]
    assert rows.features["label"].names == list(colour.base.class_names)
    assert rows.features["soft_label"].length == 3
    assert rows.features["soft_label"].feature.dtype == "float64"
    assert np.array_equal(np.array(rows["soft_label"]), colour.labels.numpy())
    assert rows["label"] == colour.base.labels.tolist()
    assert rows["index"] == colour.base.indices.tolist()
    for row, image in zip(rows, colour.examples, strict=True):
        assert np.array_equal(np.asarray(row["image"]), image.permute(1, 2, 0).numpy())
    first = rows.with_format("torch")[0]
    assert torch.equal(first["image"], colour.examples[0])


def test_a_hub_folder_of_features_floats_and_odd_names_loads(load_dataset, tmp_path):
    features, floats = plain(draw(6, 5).float()), plain(draw(4, 3, 2, 3).half())
    odd = plain(bytes_of(9, 1, 4, 4), classes=ODD_NAMES)
    for made, column in ((features, "features"), (floats, "pixels"), (odd, "image")):
        folder = tmp_path / column
        export_distilled(made, folder, format="hub")
        rows = load_dataset(folder, split="train")
        assert rows.features["label"].names == list(made.base.class_names)
        if column != "image":
            found = np.array(rows[column]).reshape(made.examples.shape)
            assert np.array_equal(found, made.examples.numpy())
            assert str(made.examples.dtype).endswith(rows.features[column].feature.dtype)


def test_one_parquet_file_loads_with_what_columns_mean(load_dataset, tmp_path, grey):
    export_distilled(grey, tmp_path / "out.parquet")
    rows = load_dataset("parquet", data_files=str(tmp_path / "out.parquet"), split="train")
    assert rows.features["label"].names == ["a", "b", "c"]
    assert np.array_equal(np.asarray(rows[2]["image"]), grey.examples[2, 0].numpy())
    assert np.array_equal(np.array(rows["soft_label"]), grey.labels.numpy())


# The card. --------------------------------------------------------------------------------------


def test_the_card_is_one_that_the_hub_reads(tmp_path, grey):
    hub = pytest.importorskip("huggingface_hub")
    export_distilled(grey, tmp_path / "out", format="hub:license=cc-by-4.0")
    card = hub.DatasetCard.load(tmp_path / "out" / "README.md")
    known = card.data.to_dict()
    assert known["license"] == "cc-by-4.0"
    assert known["task_categories"] == ["image-classification"]
    assert known["size_categories"] == ["n<1K"]
    assert known["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*"}]
    assert known["dataset_info"]["splits"][0]["num_examples"] == 9
    for part in ("How to train", "Where the labels come from", "How it was evaluated", "Limits"):
        assert f"\n## {part}\n" in card.text
    assert "cross_entropy" in card.text
    assert "mse_loss" not in card.text


def test_the_card_shows_evaluation_preprocessing_and_what_kind_labels_are(colour):
    pytest.importorskip("huggingface_hub")
    data = make_images(shape=(3, 8, 8))
    ready = Preprocessing.fit(data, zca=True)
    made = plain(
        data.images[:4],
        preprocessing=ready,
        provenance={"method": {"name": "own"}, "certificate_text": "keeps | `all`"},
    )
    row = {
        "setting": "students", "network": "lenet", "labels": "distilled", "accuracy": 0.91234,
        "accuracy_ci": [0.9, 0.92], "values": [0.9, 0.92], "main": True,
    }  # fmt: skip
    failed = {**row, "accuracy": None, "labels": "hard"}
    text = body(Contents.of(made, {"rows": [row, failed]}))
    line = "| trained from scratch | `lenet` | distilled labels | 0.9123 | 0.9000 to 0.9200 | 2 |"
    assert line in text.splitlines()
    assert "hard labels" not in text
    assert "mse_loss" in text
    assert "whitened" in text
    assert f"{float(ready.mean[0]):.6g}" in text
    assert "| certificate | `keeps \\| 'all'` |" in text.splitlines()
    plain_text = body(Contents.of(colour))
    assert "No evaluation came" in plain_text
    assert "normalise" not in plain_text


def test_names_cannot_break_the_card(tmp_path):
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("huggingface_hub")
    names = (*ODD_NAMES, "---", "```\n## x", "no", "1", "~", "")
    contents = Contents.of(plain(bytes_of(len(names), 1, 4, 4), classes=names))
    matter = yaml.safe_load(front_matter(contents, license="mit", data_bytes=1))
    label = matter["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]
    assert list(label.values()) == list(names)
    text = body(contents)
    assert "\n## x" not in text
    assert json.loads(text.split("```json\n")[1].split("\n```")[0]) == list(names)


# torchvision, folders, tables. ------------------------------------------------------------------


def test_torchvision_reads_the_image_folder(tmp_path, colour):
    datasets = pytest.importorskip("torchvision.datasets")
    export_distilled(colour, tmp_path / "out", format="image-folder")
    found = datasets.ImageFolder(str(tmp_path / "out"))
    assert found.classes == ["a", "b", "c"]
    order = torch.argsort(colour.base.labels, stable=True)
    assert found.targets == colour.base.labels[order].tolist()
    for (image, _), row in zip(found, order, strict=True):
        assert np.array_equal(np.asarray(image), colour.examples[row].permute(1, 2, 0).numpy())


def test_our_own_source_of_folders_reads_it(tmp_path, grey):
    export_distilled(grey, tmp_path / "out", format="image-folder")
    found = open_source(f"folder:{tmp_path / 'out'}").load("all")
    order = torch.argsort(grey.base.labels, stable=True)
    assert torch.equal(found.images, grey.examples[order])
    assert torch.equal(found.labels, grey.base.labels[order])
    assert found.class_names == ("a", "b", "c")


def test_pandas_reads_the_labels_of_the_folder(tmp_path, grey):
    pandas = pytest.importorskip("pandas")
    export_distilled(grey, tmp_path / "out", format="image-folder")
    table = pandas.read_csv(tmp_path / "out" / "labels.csv")
    # Its own parser may be off by the last bit.
    assert np.allclose(table.filter(like="label:"), grey.labels, rtol=1e-15, atol=0)
    assert table["index"].tolist() == grey.base.indices.tolist()
    assert table["class_name"].tolist() == [grey.base.class_names[k] for k in grey.base.labels]
    with Image.open(tmp_path / "out" / table["file"][4]) as image:
        assert np.array_equal(np.asarray(image), grey.examples[4, 0].numpy())


def test_pandas_reads_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    made = plain(draw(6, 5).float())
    export_distilled(made, tmp_path / "out.parquet")
    table = pandas.read_parquet(tmp_path / "out.parquet")
    assert np.array_equal(np.stack(table["features"]), made.examples.numpy())
    assert np.array_equal(np.stack(table["soft_label"]), made.labels.numpy())


def test_numpy_alone_reads_npz(tmp_path, grey):
    export_distilled(grey, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert np.array_equal(found["images"], grey.examples.numpy())
        assert np.array_equal(found["labels"], grey.labels.numpy())
        assert found["class_names"].tolist() == ["a", "b", "c"]
        assert str(found["label_kind"]) == "distribution"
        assert json.loads(str(found["manifest"]))["base"]["name"] == "some set"


def test_images_that_a_program_packed_as_grey_are_still_the_same(tmp_path):
    made = plain(bytes_of(4, 1, 5, 5).repeat(1, 3, 1, 1))
    export_distilled(made, tmp_path / "out", format="image-folder")
    for file in (tmp_path / "out").rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert torch.equal(import_distilled(tmp_path / "out").examples, made.examples)


# PyTorch. ---------------------------------------------------------------------------------------


def test_torch_alone_reads_its_file(tmp_path, grey):
    export_distilled(grey, tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(found["examples"], grey.examples)
    assert torch.equal(found["labels"], grey.labels)
    assert json.loads(found["manifest"])["class_names"] == ["a", "b", "c"]


def test_a_view_is_not_saved_with_all_that_it_looks_into(tmp_path):
    large = bytes_of(2000, 1, 30, 30)
    export_distilled(plain(large[5:8]), tmp_path / "out.pt")
    assert (tmp_path / "out.pt").stat().st_size < 30_000


def test_the_data_set_gives_what_as_dataset_gives():
    data = make_images()
    made = plain(data.images[:7], preprocessing=Preprocessing.fit(data))
    found, expected = DistilledDataset(made), made.as_dataset()
    assert len(found) == len(expected) == 7
    for (image, label), (wanted, wanted_label) in zip(found, expected, strict=True):
        assert torch.equal(image, wanted)
        assert torch.equal(label, wanted_label)


def test_transforms_of_torchvision_see_each_example(colour):
    v2 = pytest.importorskip("torchvision.transforms.v2")
    flip = v2.RandomHorizontalFlip(p=1.0)
    found = DistilledDataset(colour, transform=flip, preprocess=False)
    images, labels = next(iter(DataLoader(found, batch_size=4)))
    assert torch.equal(images, colour.examples[:4].flip(-1))
    assert torch.equal(labels, colour.labels[:4].float())
    assert DistilledDataset(colour, preprocess=False)[0][0].dtype == torch.uint8
