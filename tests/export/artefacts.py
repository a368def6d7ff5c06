"""Distilled sets of every kind that goes out, and files of every format, written anew by others."""

import csv
import json

import numpy as np
import torch
from artifact.makers import make_distilled, make_images
from cases import draw, draw_labels

from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet
from cvxdistill.features import Preprocessing
from cvxdistill.heads import LogisticHead
from cvxdistill.students import Recipe

ODD_NAMES = ("a/b", "a b", "été", "ETE\u0301", "..", "con", 'qu"ote,\nline', "漢字", "`{x}`: #")


def plain(images, *, classes=("a", "b", "c"), kind="scores", targets=None, **options) -> Distilled:
    """An artefact that no solve made, of given images or features."""
    m, targets = len(images), classes if targets is None else targets
    base = ImageSet(
        images,
        torch.arange(m) % len(classes),
        tuple(classes),
        name="some set",
        split="base",
        indices=torch.arange(m) * 7 + 3,
        source_split="train",
    )
    labels = (draw if kind == "scores" else draw_labels)(m, len(targets))
    return Distilled(base, labels, kind, tuple(targets), **options)


def bytes_of(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


def whitened():
    data = make_images(shape=(3, 8, 8))
    return make_distilled(data, preprocessing=Preprocessing.fit(data, zca=True))


ARTEFACTS = {
    "grey": make_distilled,
    "grey-distribution": lambda: make_distilled(method="smoothed"),
    "colour": lambda: plain(bytes_of(5, 3, 6, 4)),
    "colour-that-is-grey": lambda: plain(bytes_of(5, 1, 6, 4).repeat(1, 3, 1, 1)),
    "two-channels": lambda: plain(bytes_of(4, 2, 3, 3)),
    "one-image": lambda: plain(bytes_of(1, 1, 2, 2), kind="distribution"),
    "floats": lambda: plain(draw(4, 1, 3, 3).float(), kind="distribution"),
    "doubles": lambda: plain(draw(4, 3, 2, 3)),
    "halves": lambda: plain(draw(4, 3, 2, 3).half()),
    "brain-floats": lambda: plain(draw(4, 1, 2, 3).bfloat16()),
    "features": lambda: plain(draw(6, 5).float()),
    "double-features": lambda: plain(draw(6, 1), kind="distribution"),
    "other-classes": lambda: plain(bytes_of(6, 1, 4, 4), targets=("x", "y"), kind="distribution"),
    "odd-names": lambda: plain(bytes_of(18, 1, 4, 4), classes=ODD_NAMES),
    "same-names": lambda: plain(bytes_of(4, 1, 4, 4), classes=("a", "a"), targets=("b", "b", "b")),
    "whitened": whitened,
    "recipe-and-head": lambda: plain(
        bytes_of(4, 1, 4, 4),
        recipe=Recipe(
            checkpoints=(7,), optimiser="sgd", step_sizes=(0.2, 0.1), augment="flip-shift"
        ),
        head=LogisticHead(l2=0.25),
        provenance={"method": {"name": "own"}, "numbers": [1, 2.5, None], "ü": {"x": True}},
    ),
    "extreme-labels": lambda: extreme(),
}

# What a folder of PNG images cannot hold.
NO_PNG = {"two-channels", "floats", "doubles", "halves", "brain-floats", "features"}
REFUSED = {("image-folder", kind) for kind in (*NO_PNG, "double-features")}


def extreme():
    """Numbers that texts and other types lose first."""
    made = plain(bytes_of(2, 1, 4, 4))
    numbers = [[0.1 + 0.2, -0.0, 5e-324], [1.7976931348623157e308, -1e-17, 1 / 3]]
    return Distilled(
        made.base, torch.tensor(numbers, dtype=torch.float64), "scores", made.class_names
    )


# Files written anew without this package, as another program would. ------------------------------


def rewrite(name, path, change):
    """Read an exported file by its own library, `change(arrays, record)`, and write it again.

    Arrays are `labels`, `base_labels`, `base_indices` and, where they are not PNG, `examples`;
    `record` is the parsed JSON, in a list so that it may be replaced.
    """
    REWRITERS[name](path, change)


def rewrite_npz(path, change):
    with np.load(path) as archive:
        arrays = dict(archive)
    key = "features" if "features" in arrays else "images"
    record = [json.loads(str(arrays["manifest"]))]
    parts = {"examples": arrays.pop(key), **arrays}
    change(parts, record)
    parts[key] = parts.pop("examples")
    parts["manifest"] = np.array(text_of(record))
    np.savez(path, **parts)


def rewrite_torch(path, change):
    parts = torch.load(path, weights_only=True)
    record = [json.loads(parts.pop("manifest"))]
    arrays = {key: value.numpy() for key, value in parts.items()}
    change(arrays, record)
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    torch.save({**tensors, "manifest": text_of(record)}, path)


def rewrite_parquet(path, change):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table, texts = file.read(), dict(file.metadata.metadata)
    record = [json.loads(texts[b"cvxdistill.manifest"])]
    columns = {"label": "base_labels", "index": "base_indices", "soft_label": "labels"}
    first = table.schema.names[0]
    arrays = {
        new: np.array(table.column(old).to_pylist(), dtype=kind)
        for (old, new), kind in zip(columns.items(), (np.int64, np.int64, np.float64), strict=True)
    }
    image = table.column(first).combine_chunks()
    if first != "image":
        arrays["examples"] = np.array(image.to_pylist(), dtype=np.float32)
    change(arrays, record)
    count = min(len(value) for value in arrays.values())
    made = {
        first: fixed(pa, arrays["examples"]) if first != "image" else image[:count],
        "label": pa.array(arrays["base_labels"][:count]),
        "soft_label": fixed(pa, arrays["labels"][:count]),
        "index": pa.array(arrays["base_indices"][:count]),
    }
    texts[b"cvxdistill.manifest"] = text_of(record).encode()
    kept = {key: value for key, value in texts.items() if key != b"ARROW:schema"}
    pq.write_table(pa.table(made).replace_schema_metadata(kept), path)


def fixed(pa, array):
    flat = pa.array(array.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def rewrite_folder(path, change):
    with (path / "labels.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    record = [json.loads((path / "metadata.json").read_text(encoding="utf-8"))]
    arrays = {
        "base_labels": np.array([row[1] for row in rows], dtype=np.int64),
        "base_indices": np.array([row[3] for row in rows], dtype=np.int64),
        "labels": np.array([row[4:] for row in rows], dtype=np.float64),
    }
    change(arrays, record)
    with (path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        parts = (arrays[key].tolist() for key in ("base_labels", "base_indices", "labels"))
        for row, number, index, label in zip(rows, *parts, strict=False):
            writer.writerow([row[0], number, row[2], index, *label])
    (path / "metadata.json").write_text(text_of(record), encoding="utf-8")


def text_of(record):
    return record[0] if isinstance(record[0], str) else json.dumps(record[0])


REWRITERS = {
    "hub": lambda path, change: rewrite_parquet(main_file("hub", path), change),
    "image-folder": rewrite_folder,
    "npz": rewrite_npz,
    "parquet": rewrite_parquet,
    "torch": rewrite_torch,
}


def main_file(name, path):
    """The file that holds the labels."""
    inside = {"hub": "data/train-00000-of-00001.parquet", "image-folder": "labels.csv"}
    return path / inside[name] if name in inside else path


class Canary:
    """Whoever unpickles it leaves a mark."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return (open, (self.mark, "w"))


# Objects in the place of numbers, by each format's own means. -------------------------------------


def objects_npz(path, mark):
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["labels"] = np.array([Canary(mark), None], dtype=object)
    np.savez(path, allow_pickle=True, **arrays)


def objects_torch(path, mark):
    parts = torch.load(path, weights_only=True)
    torch.save({**parts, "labels": Canary(mark)}, path)


def objects_parquet(path, mark):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table, texts = file.read(), dict(file.metadata.metadata)
    words = pa.array([[{"a": "b"}]] * len(table))
    table = table.set_column(table.schema.names.index("soft_label"), "soft_label", words)
    kept = {key: value for key, value in texts.items() if key != b"ARROW:schema"}
    pq.write_table(table.replace_schema_metadata(kept), path)


def objects_folder(path, mark):
    file = path / "labels.csv"
    lines = file.read_text().splitlines()
    cells = lines[1].split(",")
    file.write_text("\n".join([lines[0], ",".join([*cells[:-1], "[object]"]), *lines[2:]]))


OBJECTS = {
    "hub": lambda path, mark: objects_parquet(main_file("hub", path), mark),
    "image-folder": objects_folder,
    "npz": objects_npz,
    "parquet": objects_parquet,
    "torch": objects_torch,
}
