"""The columns of a distilled set as an Arrow table: one row an example."""

import importlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.data.images import decode_images
from cvxdistill.embeddings.arrow import load_pyarrow
from cvxdistill.errors import InputError
from cvxdistill.export.record import Contents, Record

# Kinds of channels for which PNG has a mode that every reader gives back as it was.
_PNG_CHANNELS = (1, 3)


def arrow() -> Any:
    """Import and return pyarrow, with its Parquet module.

    Raises:
        InputError: it is not installed.
    """
    found = load_pyarrow()
    importlib.import_module("pyarrow.parquet")
    return found


def holds_png(record: Record) -> bool:
    """Whether examples are images that PNG holds without loss: bytes, grey or of three channels."""
    return record.kind == "images" and record.dtype == "uint8" and record.shape[0] in _PNG_CHANNELS


def encode_png(image: Tensor) -> bytes:
    """Return a `(1, h, w)` or `(3, h, w)` uint8 image as the bytes of a PNG file."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def decode_pngs(files: Sequence[tuple[str, bytes]], record: Record) -> Tensor:
    """Return images from the bytes of files, with the number of channels that the record says.

    Raises:
        InputError: a file that cannot be decoded, or sizes that differ.
    """
    images = decode_images(((k, name, data) for k, (name, data) in enumerate(files)), len(files))
    # A set of three channels may have images that a program saved as grey, all of them even.
    grey = images.shape[1] == 1 and record.shape[0] == 3
    return images.repeat(1, 3, 1, 1) if grey else images


def column_of(record: Record) -> str:
    """Return the name of the column with the examples: `image`, `pixels` or `features`."""
    if record.kind == "features":
        return "features"
    return "image" if holds_png(record) else "pixels"


def schema(record: Record) -> Any:
    """Return the Arrow schema of the rows, with what `datasets` reads of their meaning.

    `image` is a struct of PNG bytes and file name, `pixels` and `features` are lists of fixed
    length, images in the order `c, h, w`; `label` is the base example's own class, `soft_label`
    the synthetic label, `index` the base example's index in its own data set.
    """
    pa = arrow()
    stored = "float32" if record.dtype == "bfloat16" else record.dtype
    size = int(np.prod(record.shape))
    example = pa.list_(_number(stored), size)
    if holds_png(record):
        example = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    classes = len(record.class_names)
    fields = [
        (column_of(record), example),
        ("label", pa.int64()),
        ("soft_label", pa.list_(pa.float64(), classes)),
        ("index", pa.int64()),
    ]
    names = list(record.base.class_names)
    label = {"dtype": "int64", "_type": "Value"}
    if len(set(names)) == len(names):
        label = {"names": names, "_type": "ClassLabel"}  # type: ignore[dict-item]
    meaning = {
        column_of(record): (
            {"_type": "Image"} if holds_png(record) else _sequence(stored, length=size)
        ),
        "label": label,
        "soft_label": _sequence("float64", length=classes),
        "index": {"dtype": "int64", "_type": "Value"},
    }
    hint = json.dumps({"info": {"features": meaning}})
    return pa.schema(fields, metadata={"huggingface": hint})


def rows(contents: Contents) -> Any:
    """Return the Arrow table of a distilled set."""
    pa = arrow()
    record, kinds = contents.record, schema(contents.record)
    if holds_png(record):
        examples = pa.array(
            [
                {"bytes": encode_png(image), "path": f"{row:05d}.png"}
                for row, image in enumerate(contents.examples)
            ],
            type=kinds.field("image").type,
        )
    else:
        plain = contents.examples
        examples = _fixed(plain.float() if record.dtype == "bfloat16" else plain)
    columns = [
        examples,
        pa.array(contents.base_labels.numpy()),
        _fixed(contents.labels),
        pa.array(contents.base_indices.numpy()),
    ]
    return pa.table(columns, schema=kinds)


def tensors(table: Any, record: Record) -> dict[str, Tensor]:
    """Return examples, labels, base classes and indices of a table that `rows` made.

    Raises:
        InputError: columns missing, of other types, or with empty entries.
    """
    expected = schema(record)
    if table.schema.names != expected.names or table.schema.types != expected.types:
        found = dict(zip(table.schema.names, table.schema.types, strict=True))
        for field in expected:
            if found.get(field.name) != field.type:
                raise InputError(
                    f"column `{field.name}` must be of type {field.type}; got "
                    f"{found.get(field.name, 'no such column')}."
                )
        raise InputError(f"columns must be {', '.join(expected.names)}; got {', '.join(found)}.")
    name = column_of(record)
    if holds_png(record):
        column = table.column(name).combine_chunks()
        contents = column.field("bytes").to_pylist()
        if column.null_count or None in contents:
            raise InputError(f"column `{name}` must not have empty entries.")
        files = [(f"image {row}", data) for row, data in enumerate(contents)]
        examples = decode_pngs(files, record)
    else:
        examples = _plain(table, name).reshape(-1, *record.shape)
        examples = examples.bfloat16() if record.dtype == "bfloat16" else examples
    return {
        "examples": examples,
        "labels": _plain(table, "soft_label"),
        "base_labels": _plain(table, "label"),
        "base_indices": _plain(table, "index"),
    }


def _fixed(values: Tensor) -> Any:
    pa = arrow()
    flat = values.reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.numpy().reshape(-1)), flat.shape[1])


def _plain(table: Any, name: str) -> Tensor:
    """Return a column of numbers `(m,)`, or of lists of one length `(m, k)`."""
    column = table.column(name).combine_chunks()
    values = column.flatten() if hasattr(column.type, "list_size") else column
    if column.null_count or values.null_count:
        raise InputError(f"column `{name}` must not have empty entries.")
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    made = torch.from_numpy(array.copy())
    return made.reshape(len(column), -1) if values is not column else made


def _sequence(dtype: str, *, length: int) -> dict[str, Any]:
    return {"feature": {"dtype": dtype, "_type": "Value"}, "length": length, "_type": "Sequence"}


def _number(dtype: str) -> Any:
    pa = arrow()
    return pa.from_numpy_dtype(np.dtype(dtype))
