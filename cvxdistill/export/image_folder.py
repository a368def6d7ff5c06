"""PNG images in class folders, with their labels in a CSV file."""

import csv
import dataclasses
from pathlib import Path, PurePosixPath

import torch

from cvxdistill.errors import InputError
from cvxdistill.export.base import Exporter
from cvxdistill.export.names import folder_names
from cvxdistill.export.record import Contents, Record
from cvxdistill.export.table import decode_pngs, encode_png, holds_png

_RECORD = "metadata.json"
_LABELS = "labels.csv"
_TENSORS = "preprocessing.safetensors"
_COLUMNS = ("file", "class", "class_name", "index")


@dataclasses.dataclass(frozen=True)
class ImageFolder(Exporter):
    """`CLASS/00012.png` for each image; choose it to look at them, or for tools that read folders.

    Classes are the base examples' own, and images are numbered in the order of the artefact, so
    that `torchvision.datasets.ImageFolder` and `folder:PATH` here read images with true labels.
    The synthetic labels stand in `labels.csv`: `file`, `class` (number), `class_name`, `index` in
    the base data set, and one column `label:NAME` a class of the target, in digits that give the
    same float64 again. `metadata.json` is the record, and `preprocessing.safetensors` is there
    where images are to be normalised or whitened.

    PNG holds bytes, grey or of three channels; floating images and features are refused.
    """

    name = "image-folder"
    expected = "an image folder with labels.csv that `cvxdistill export` wrote"
    suffix = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether the folder has the labels and the record."""
        return (path / _LABELS).is_file() and (path / _RECORD).is_file()

    def check(self, contents: Contents) -> None:
        """Refuse what is no image of bytes.

        Raises:
            InputError: floating images, features, or other channels than one or three.
        """
        _check_record(contents.record)

    def _write(self, contents: Contents, place: Path) -> None:
        from safetensors.torch import save_file

        record = contents.record
        folders = folder_names(record.base.class_names)
        numbers = contents.base_labels.tolist()
        with (place / _LABELS).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_header(record))
            for row, (number, index, label) in enumerate(
                zip(numbers, contents.base_indices.tolist(), contents.labels.tolist(), strict=True)
            ):
                name = f"{folders[number]}/{row:05d}.png"
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_bytes(encode_png(contents.examples[row]))
                writer.writerow([name, number, record.base.class_names[number], index, *label])
        (place / _RECORD).write_text(record.text(), encoding="utf-8")
        if contents.preprocessing:
            save_file(dict(contents.preprocessing), place / _TENSORS)

    def _contents(self, path: Path) -> Contents:
        from safetensors.torch import load_file

        record = Record.parse((path / _RECORD).read_bytes())
        _check_record(record)
        with (path / _LABELS).open(newline="", encoding="utf-8") as file:
            header, *table = list(csv.reader(file)) or [[]]
        if header != _header(record):
            raise InputError(
                f"{path / _LABELS} must start with the columns {', '.join(_header(record))}; got "
                f"{', '.join(header)}."
            )
        for number, row in enumerate(table):
            if len(row) != len(header):
                raise InputError(
                    f"row {number} of {path / _LABELS} must have {len(header)} entries; got "
                    f"{len(row)}."
                )
        files = [(str(path / row[0]), _inside(path, row[0]).read_bytes()) for row in table]
        stored = path / _TENSORS
        return Contents(
            record=record,
            examples=decode_pngs(files, record),
            labels=torch.tensor(
                [[float(text) for text in row[len(_COLUMNS) :]] for row in table],
                dtype=torch.float64,
            ),
            base_labels=torch.tensor([int(row[1]) for row in table]),
            base_indices=torch.tensor([int(row[3]) for row in table]),
            preprocessing=load_file(stored) if stored.is_file() else {},
        )


def _check_record(record: Record) -> None:
    if not holds_png(record):
        raise InputError(
            "an image folder holds images of bytes, grey or of three channels; got "
            f"{record.dtype} {record.kind} of shape {record.shape}. Choose `parquet`, `npz` or "
            "`torch`."
        )


def _header(record: Record) -> list[str]:
    return [*_COLUMNS, *(f"label:{name}" for name in record.class_names)]


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file that is named in the table and lies in the folder.

    Raises:
        InputError: it lies elsewhere.
    """
    parts = PurePosixPath(name)
    found = folder / name
    if parts.is_absolute() or not found.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder / _LABELS} names `{name}`, which is not inside the folder.")
    return found
