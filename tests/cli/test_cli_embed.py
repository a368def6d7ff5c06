import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvxdistill.cli import main
from cvxdistill.data import content_hashes, load_splits, open_source
from cvxdistill.embeddings import open_embeddings
from cvxdistill.embeddings.written import read_embedding_manifest
from cvxdistill.features import ImageEncoder, parse_network, rebuild_extractor
from cvxdistill.seeding import derive_seed

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `arrow`)")

OWN = ("--extractor", "convnet:width=4", "--device", "cpu")
TINY = ("--extractor", "module:tiny_nets.tiny@second,size=8,channels=3", "--device", "cpu")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *words):
    code = main(["embed", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def embed(capsys, *words):
    code, out, err = run(capsys, *words, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    return json.loads(out)


def refused(capsys, match, *words):
    code, out, err = run(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert match in err


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def read(spec):
    rows = list(open_embeddings(spec).rows())
    return torch.cat([row.features for row in rows]), torch.cat([row.targets for row in rows])


def write_photos(folder, sizes=((12, 9), (30, 20), (8, 8), (15, 40), (9, 31))):
    """Two classes of pictures of several sizes, one of them grey; returns them by file."""
    draw = np.random.default_rng(0)
    pictures = {}
    for split in ("train", "test"):
        for position, (height, width) in enumerate(sizes):
            name = f"{split}/{('owl', 'cat')[position % 2]}/{position}.png"
            shape = (height, width) if position == 2 else (height, width, 3)
            pixels = draw.integers(0, 256, shape, dtype=np.uint8)
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            pictures[name] = torch.tensor(pixels.reshape(height, width, -1)).permute(2, 0, 1)
    return pictures


def test_from_images_to_labels(capsys):
    """Digits embedded, read back, and distilled as features with their class names."""
    summary = embed(capsys, *OWN, "--target", "digits", "--out", "shards", "--shard-rows", "700")
    assert {key: summary[key] for key in ("out", "rows", "features", "dtype", "format")} == {
        "out": "shards",
        "rows": 1797,
        "features": 64,
        "dtype": "float32",
        "format": "npy",
    }
    assert (summary["shards_written"], summary["shards_skipped"]) == (3, 0)
    assert summary["images_per_second"] > 0
    source = open_source("digits").load("all")
    features, labels = read("npy:shards")
    assert torch.equal(labels, source.labels)
    known = read_embedding_manifest(Path("shards"))
    assert known.extractor["fingerprint"] == summary["fingerprint"]
    extractor = rebuild_extractor(known.extractor)
    want = extractor.module(load_splits("digits").train.images[:0].float())
    assert features.shape == (1797, want.shape[1])
    back = open_source("npy:shards").load("all")
    assert back.class_names == source.class_names
    torch.testing.assert_close(back.images, features)
    words = ["--target", "npy:shards", "--test-fraction", "0.25", "--students", "none", "--json"]
    assert main(["distill", *words, "--out", "run", "--device", "cpu"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]["same_extractor"]
    assert accuracy["distilled"] > accuracy["hard"]


@pytest.mark.parametrize(
    ("storage", "dtype"), [("safetensors", "bfloat16"), ("parquet", "float16")]
)
def test_other_formats_hold_the_same_features(storage, dtype, capsys):
    embed(capsys, *OWN, "--out", "plain")
    embed(capsys, *OWN, "--out", "other", "--format", storage, "--dtype", dtype)
    (plain, labels), (other, also) = read("plain"), read("other")
    assert torch.equal(plain.to(getattr(torch, dtype)), other)
    assert torch.equal(labels, also)
    assert open_embeddings("other").layout.target_names == tuple("0123456789")


def test_what_is_embedded_are_the_features_of_each_picture(capsys):
    pictures = write_photos("photos")
    words = ("--target", "photos", *TINY, "--batch-size", "3", "--shard-rows", "4")
    summary = embed(capsys, *words, "--split", "train", "--out", "shards")
    assert (summary["rows"], summary["shards_written"]) == (5, 2)
    reader = open_embeddings("shards")
    assert reader.layout.target_names == ("cat", "owl")
    features, labels = read("shards")
    files = sorted(name for name in pictures if name.startswith("train"))
    assert labels.tolist() == [("cat", "owl").index(name.split("/")[1]) for name in files]
    network = parse_network(TINY[1]).build((3, 8, 8), torch.Generator())
    with torch.no_grad():
        want = torch.cat([network(pictures[name][None]) for name in files])
    torch.testing.assert_close(features, want, rtol=1e-4, atol=1e-5)
    import pyarrow.parquet as pq

    table = pq.read_table("shards/metadata_0.parquet")
    assert table.column("source").to_pylist() == files[:4]
    assert table.column("hash").to_pylist() == [
        content_hashes(pictures[name][None])[0] for name in files[:4]
    ]
    # A network of our own wants one size, and says so.
    refused(capsys, "all images must have one size", "--target", "photos", *OWN, "--out", "own")


def test_a_plain_tar_is_streamed_like_its_folder(capsys):
    import tarfile

    write_photos("photos")
    for name, mode in (("photos.tar", "w"), ("photos.tar.gz", "w:gz")):
        with tarfile.open(name, mode) as archive:
            archive.add("photos/train", "train")
            archive.add("photos/test", "test")
    for target in ("photos", "photos.tar"):
        embed(capsys, "--target", target, *TINY, "--split", "test", "--out", f"of-{target}")
    assert torch.equal(read("of-photos")[0], read("of-photos.tar")[0])
    # A compressed one is loaded whole, which needs one size.
    refused(capsys, "must have one size", "--target", "photos.tar.gz", *TINY, "--out", "gz")


def test_all_splits_lie_in_folders_of_their_own(capsys):
    write_photos("photos", sizes=[(9, 9)] * 6)
    summary = embed(capsys, "--target", "photos", *TINY, "--split", "all", "--out", "both")
    assert summary["splits"] == {"train": 6, "test": 6}
    source = open_source("both")
    assert source.splits() == ("train", "test")
    assert source.load("test").class_names == ("cat", "owl")
    assert len(open_embeddings("npy:both@test").layout.shards) == 1


def test_an_interrupted_run_goes_on_without_computing_again(capsys, monkeypatch):
    words = (*TINY, "--target", "digits", "--shard-rows", "500", "--batch-size", "100")
    embed(capsys, *words, "--out", "whole")
    encoded = []
    keep = ImageEncoder.encode

    def encode(self, content):
        encoded.append(len(content))
        if len(encoded) == 8:
            raise KeyboardInterrupt
        return keep(self, content)

    monkeypatch.setattr(ImageEncoder, "encode", encode)
    code, out, _ = run(capsys, *words, "--out", "cut")
    assert (code, out) == (130, "")
    encoded.clear()
    monkeypatch.setattr(
        ImageEncoder, "encode", lambda self, x: (encoded.append(len(x)), keep(self, x))[1]
    )
    summary = embed(capsys, *words, "--out", "cut")
    assert (summary["shards_skipped"], summary["shards_written"]) == (1, 3)
    assert sum(encoded) == 1797 - 500
    assert contents("cut") == contents("whole")
    encoded.clear()
    summary = embed(capsys, *words, "--out", "cut")
    assert (encoded, summary["shards_written"], summary["images_per_second"]) == ([], 0, None)


def test_another_extractor_or_data_set_is_refused(capsys):
    embed(capsys, *OWN, "--out", "shards")
    before = contents("shards")
    other = ("--extractor", "convnet:width=5", "--device", "cpu")
    refused(capsys, "another extractor: network convnet:width=4", *other, "--out", "shards")
    refused(capsys, "another extractor", *OWN, "--seed", "1", "--out", "shards")
    refused(capsys, "another preprocessing", *OWN, "--zca", "--out", "shards")
    np.savez("toy.npz", images=np.zeros((3, 8, 8), np.uint8), labels=np.arange(3))
    refused(capsys, "another source", *OWN, "--target", "toy.npz", "--out", "shards")
    assert contents("shards") == before


def test_the_seed_is_that_of_draw_extractor(capsys):
    embed(capsys, *OWN, "--seed", "7", "--out", "shards")
    known = read_embedding_manifest(Path("shards"))
    assert known.extractor["seed"] == derive_seed(7, "extractor", 0)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((), "give one of --extractor"),
        ((*OWN, "--extractor-weights", "x"), "got both"),
        (("--extractor-weights", "x.safetensors"), "not a readable extractor file"),
        ((*OWN, "--split", "tset"), "Did you mean `test`"),
        ((*OWN, "--split", "train"), "split of digits"),
        ((*OWN, "--format", "npz"), "`format` must be one of"),
        ((*OWN, "--dtype", "float64"), "`dtype` must be one of float32"),
        ((*OWN, "--dtype", "bfloat16"), "Use --format safetensors"),
        ((*OWN, "--shard-rows", "0"), "`shard_rows` must be 1 or more"),
        ((*OWN, "--batch-size", "-1"), "`batch_size` must be 1 or more"),
        ((*OWN, "--text-column", "text"), "are for files of texts"),
        ((*OWN, "--target", "nothing.txt"), "use --extractor text:MODEL"),
        (("--extractor", "text:model"), "must be a .txt, .csv"),
        (("--extractor", "module:tiny_nets.tiny"), "cannot take images of shape (1, 8, 8)"),
    ],
)
def test_wrong_use_is_one_line(words, match, capsys):
    refused(capsys, match, *words, "--out", "shards")
    assert not Path("shards").exists()


@pytest.mark.gpu
def test_a_gpu_writes_the_same_features(capsys):
    write_photos("photos")
    for device in ("cpu", "cuda"):
        words = (*TINY[:2], "--device", device, "--target", "photos", "--batch-size", "2")
        embed(capsys, *words, "--out", device)
    torch.testing.assert_close(read("cpu")[0], read("cuda")[0], rtol=1e-3, atol=1e-4)


def test_features_are_not_embedded_again(capsys):
    embed(capsys, *OWN, "--out", "shards")
    refused(capsys, "holds features already", *OWN, "--target", "npy:shards", "--out", "again")


def test_an_extractor_that_depends_on_the_batch_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("tiny_nets.tiny", BatchCentred)
    refused(capsys, "with the rest of its batch", TINY[0], "module:tiny_nets.tiny", "--out", "x")
    assert not Path("x").exists()


class BatchCentred(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1) - images.flatten(1).mean(0)
