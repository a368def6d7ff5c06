"""Which columns or tensors hold features, labels and weights, by their names."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvxdistill.embeddings.arrow import (
    as_feature_tensor,
    as_labels,
    as_matrix,
    is_floating,
    list_width,
)
from cvxdistill.embeddings.places import names_from_json
from cvxdistill.embeddings.stored import ShardHeader, StoredRows
from cvxdistill.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE_COLUMNS = (
    "features",
    "feature",
    "embeddings",
    "embedding",
    "emb",
    "image_embedding",
    "image_embeddings",
    "vector",
    "x",
)
LABEL_COLUMNS = ("labels", "label", "class", "classes", "target", "targets", "y")
WEIGHT_COLUMNS = ("weights", "weight", "sample_weight")


def pick_column(
    names: Sequence[str],
    told: str | None,
    guesses: Sequence[str],
    *,
    what: str,
    place: str,
    needed: bool = False,
) -> str | None:
    """Return the name of the column, tensor or array of `what`.

    Args:
        names: those that there are.
        told: the one that the user told, which must be there, or `None`.
        guesses: usual names, of which only one may be there.
        what: `features`, `labels` or `weights`, which is also the word by which it is told.
        place: where, for messages.
        needed: whether there must be one.

    Returns:
        The name; `None` where there is none and none is needed.

    Raises:
        InputError: none where one is needed or told, or several.

    Example:
        >>> pick_column(["emb", "url"], None, ["features", "emb"], what="features", place="a.file")
        'emb'
    """
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "nothing"
    if told is not None:
        if told not in names:
            raise InputError(f"{place} must hold {what} named `{told}`; got {listed}.")
        return told
    present = [name for name in names if name.lower() in guesses]
    if len(present) > 1:
        raise InputError(
            f"{place} must hold one kind of {what}; got {' and '.join(present)}. Say which with "
            f"`{what}`."
        )
    if not present and needed:
        raise InputError(
            f"{place} must hold {what} named {', '.join(guesses)}; got {listed}. Say which with "
            f"`{what}`."
        )
    return present[0] if present else None


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table that are read.

    Attributes:
        features: a column of lists of floating-point numbers, or `None` where they lie elsewhere.
        labels: of labels, or `None`.
        weights: of numbers, or `None`.
    """

    features: str | None
    labels: str | None
    weights: str | None

    @property
    def names(self) -> list[str]:
        """Those that there are."""
        return [name for name in (self.features, self.labels, self.weights) if name is not None]


def find_columns(
    schema: "pa.Schema",
    *,
    features: str | None,
    labels: str | None,
    weights: str | None,
    place: str,
) -> Columns:
    """Find the columns of features, labels and weights.

    Features are the column so named, or the only column of lists of floating-point numbers.

    Args:
        schema: of the table.
        features: name that the user told, or `None`.
        labels: the same for labels.
        weights: the same for weights.
        place: the file, for messages.

    Raises:
        InputError: a column that is not there, or several to choose from.
    """
    labelled = pick_column(schema.names, labels, LABEL_COLUMNS, what="labels", place=place)
    weighted = pick_column(schema.names, weights, WEIGHT_COLUMNS, what="weights", place=place)
    taken = {labelled, weighted}
    lists = [
        field.name
        for field in schema
        if field.name not in taken and list_width(field.type) is not None
    ]
    floating = [name for name in lists if is_floating(schema.field(name).type.value_type)]
    named = [name for name in schema.names if name.lower() in FEATURE_COLUMNS]
    if features is None and not named and len(floating) == 1:
        features = floating[0]
    chosen = pick_column(
        schema.names, features, FEATURE_COLUMNS, what="features", place=place, needed=True
    )
    assert chosen is not None
    kind = schema.field(chosen).type
    if list_width(kind) is None or not is_floating(kind.value_type):
        raise InputError(
            f"features of {place} must be lists of float16, float32 or float64; got column "
            f"`{chosen}` of {kind}. Say which with `features`."
        )
    return Columns(chosen, labelled, weighted)


def schema_class_names(schema: "pa.Schema", labels: str | None) -> tuple[str, ...] | None:
    """Return the class names that the metadata of a schema holds.

    They are a JSON list under `class_names`, of the schema or of the field of labels; or those of a
    `ClassLabel` in what the library `datasets` writes under `huggingface`.

    Args:
        schema: of the table.
        labels: the column of labels, or `None`.

    Raises:
        ValueError: metadata that cannot be read.
    """
    if labels is None:
        return None
    for metadata in (schema.field(labels).metadata, schema.metadata):
        if metadata and b"class_names" in metadata:
            return names_from_json(metadata[b"class_names"].decode("utf-8"))
    stored = (schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return None
    columns = json.loads(stored).get("info", {}).get("features", {})
    column = columns.get(labels) if isinstance(columns, dict) else None
    names = column.get("names") if isinstance(column, dict) else None
    return None if names is None else names_from_json(json.dumps(names))


def values(
    batch: "pa.RecordBatch", column: str | None, *, what: str, name: str, start: int
) -> NDArray[Any] | None:
    """Return a column of a batch as `as_labels` does; `None` where there is no such column."""
    if column is None:
        return None
    return as_labels(batch.column(column), what=what, name=name, start=start)


def stored_rows(batch: "pa.RecordBatch", columns: Columns, *, name: str, start: int) -> StoredRows:
    """Return the rows of a record batch.

    Args:
        batch: of Arrow.
        columns: which ones are read; features must be among them.
        name: the shard, for messages.
        start: number of the first row, for messages.

    Raises:
        InputError: nulls, or lists of different lengths.
    """
    return StoredRows(
        features=as_feature_tensor(batch.column(columns.features), name=name, start=start),
        labels=values(batch, columns.labels, what="labels", name=name, start=start),
        weights=values(batch, columns.weights, what="weights", name=name, start=start),
    )


def column_header(
    schema: "pa.Schema",
    columns: Columns,
    first: Iterator["pa.RecordBatch"],
    *,
    name: str,
    rows: int,
) -> ShardHeader:
    """Return the header of a shard with a column of features.

    Args:
        schema: of the table.
        columns: which ones are read.
        first: gives the first row, where the schema does not say how long its list is.
        name: the shard.
        rows: number of rows.

    Raises:
        InputError: a first row that is null.
    """
    kind = schema.field(columns.features).type
    width = list_width(kind) or 0
    if not width and rows:
        column = next(first).column(columns.features)
        width = as_matrix(column, what="features", name=name, start=0).shape[1]
    return ShardHeader(
        name=name,
        rows=rows,
        num_features=width,
        dtype=str(np.dtype(kind.value_type.to_pandas_dtype())),
        labelled=columns.labels is not None,
        weighted=columns.weights is not None,
    )
