"""Texts with or without classes, from plain text, CSV, JSON lines or Parquet."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvxdistill.checks import check_choice
from cvxdistill.data.items import Items, ItemStream
from cvxdistill.embeddings.arrow import load_pyarrow
from cvxdistill.embeddings.targets import as_class_values, name_classes, number_labels
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_TEXT_COLUMNS = ("text", "sentence", "content", "document")


class TextItems(ItemStream):
    """The texts of one file, in memory: texts are small beside their features.

    Args:
        path: `.txt` with one text a line and no classes, or `.csv`, `.tsv`, `.jsonl` or `.parquet`
            with columns; all but the first need pyarrow.
        text_column: name of the column of texts; one of the usual names if unset.
        label_column: name of the column of classes, whole numbers or strings; none if unset.
        class_names: names that the classes are numbered by, as those of the training part; the
            distinct labels, sorted, if unset.

    Raises:
        InputError: an unreadable file, no such column, or entries that are no texts.
    """

    kind = "texts"

    def __init__(
        self,
        path: Path,
        *,
        text_column: str | None = None,
        label_column: str | None = None,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        if not path.is_file():
            raise InputError(f"texts must be a file; nothing readable at {path}.")
        self.name = f"texts:{path.name}"
        self.split = "all"
        self._path = path
        if path.suffix.lower() == ".txt":
            if text_column or label_column:
                raise InputError(
                    f"{path} has no columns. Use .csv, .jsonl or .parquet for classes."
                )
            with reading(path, expected="UTF-8 text"):
                # Not `splitlines`, which divides at further characters that texts have in them.
                self._texts = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            self.class_names, self.labels = None, None
        else:
            table = _read_table(path)
            self._texts = _texts(table, text_column, path)
            self.class_names, self.labels = _labels(table, label_column, class_names, path)
        if not self._texts:
            raise InputError(f"{path} must hold texts; got none.")
        self.indices = torch.arange(len(self._texts))

    def read(self, start: int, stop: int) -> Items:
        """Return the texts `start <= i < stop`."""
        texts = self._texts[start:stop]
        hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        return Items(texts, hashes, [f"{self._path.name}:{i}" for i in range(start, stop)])

    def fingerprint(self) -> str:
        """SHA-256 of texts and classes."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for text in self._texts:
            digest.update(f"{len(text)}:{text}".encode())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


def is_text_file(spec: str) -> bool:
    """Whether a target is to be read as texts, by the ending of its name."""
    return Path(spec).suffix.lower() in (".txt", *_READERS)


def _read_csv(path: Path) -> Any:
    from pyarrow import csv

    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    # Texts have line breaks in them.
    options = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    return csv.read_csv(path, parse_options=options)


def _read_jsonl(path: Path) -> Any:
    from pyarrow import json

    return json.read_json(path)


def _read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".tsv": _read_csv,
}


def _read_table(path: Path) -> Any:
    suffix = check_choice("ending of a file of texts", path.suffix.lower(), (".txt", *_READERS))
    load_pyarrow()
    with reading(path, expected=f"a {suffix} table"):
        return _READERS[suffix](path)


def _column(table: Any, name: str, path: Path) -> Any:
    if name not in table.column_names:
        raise InputError(
            f"{path} has no column `{name}`; it has {', '.join(table.column_names[:12])}."
        )
    column = table.column(name)
    if column.null_count:
        raise InputError(f"column `{name}` of {path} must be full; got {column.null_count} nulls.")
    return column


def _texts(table: Any, name: str | None, path: Path) -> list[str]:
    if name is None:
        found = [column for column in _TEXT_COLUMNS if column in table.column_names]
        if not found:
            raise InputError(
                f"{path} has none of the columns {', '.join(_TEXT_COLUMNS)}; it has "
                f"{', '.join(table.column_names[:12])}. Name the one of texts (--text-column)."
            )
        name = found[0]
    texts: list[str] = _column(table, name, path).to_pylist()
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"column `{name}` of {path} must hold texts; got a {type(text).__name__} in row "
                f"{row}. Name another one (--text-column)."
            )
    return texts


def _labels(
    table: Any, name: str | None, known: tuple[str, ...] | None, path: Path
) -> tuple[tuple[str, ...] | None, torch.Tensor | None]:
    if name is None:
        return None, None
    where = f"column `{name}` of {path}"
    values = as_class_values(np.array(_column(table, name, path).to_pylist()), name=where)
    names = known or name_classes(values, None, name=where)
    return names, number_labels(values, names, positions=False, name=where)
