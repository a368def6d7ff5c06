"""One Parquet file: for pandas, Polars, DuckDB, Spark and `datasets`."""

import base64
import dataclasses
from pathlib import Path

from cvxdistill.errors import InputError
from cvxdistill.export.base import Exporter
from cvxdistill.export.record import Contents, Record
from cvxdistill.export.table import arrow, rows, tensors

_RECORD = b"cvxdistill.manifest"
_PREPROCESSING = b"cvxdistill.preprocessing"
# Readers refuse a footer whose texts are larger than 100 MB together.
_FOOTER_BYTES = 64_000_000


@dataclasses.dataclass(frozen=True)
class Parquet(Exporter):
    """One row an example; choose it for tables, queries and large feature sets.

    Columns: `image` (PNG bytes and file name, as `datasets` stores images), or `pixels` or
    `features` (lists of fixed length; images in the order `c, h, w`); `label`, the base example's
    own class; `soft_label`, `C` doubles; `index` in the base example's data set. The record and
    the tensors of the preprocessing (base64 of safetensors) are texts in the file's metadata,
    `cvxdistill.manifest` and `cvxdistill.preprocessing`.
    """

    name = "parquet"
    expected = "a Parquet file that `cvxdistill export` wrote"
    suffix = ".parquet"

    def check(self, contents: Contents) -> None:
        """Refuse a whitening matrix that the footer of the file cannot hold.

        Raises:
            InputError: it is too large, or pyarrow is not installed.
        """
        arrow()
        size = sum(value.nbytes for value in contents.preprocessing.values()) * 4 // 3
        if size > _FOOTER_BYTES:
            raise InputError(
                f"a Parquet file holds at most {_FOOTER_BYTES // 10**6} MB of preprocessing; this "
                f"whitening takes {size // 10**6} MB. Choose `torch` or `npz`."
            )

    def _write(self, contents: Contents, place: Path) -> None:
        from safetensors.torch import save

        table = rows(contents)
        blob = base64.b64encode(save(dict(contents.preprocessing)))
        with arrow().parquet.ParquetWriter(place, table.schema, compression="zstd") as writer:
            writer.write_table(table)
            # Not in the schema: pyarrow would store it twice there.
            writer.add_key_value_metadata(
                {_RECORD: contents.record.text().encode(), _PREPROCESSING: blob}
            )

    def _contents(self, path: Path) -> Contents:
        from safetensors.torch import load

        with arrow().parquet.ParquetFile(path) as file:
            texts = file.metadata.metadata or {}
            if not {_RECORD, _PREPROCESSING} <= texts.keys():
                raise InputError(
                    f"{path} lacks the metadata `{_RECORD.decode()}`: `cvxdistill export` did not "
                    "write it, or another program wrote it anew."
                )
            record = Record.parse(texts[_RECORD])
            table = file.read()
        parts = tensors(table, record)
        blob = base64.b64decode(texts[_PREPROCESSING], validate=True)
        return Contents(
            record=record,
            examples=parts["examples"],
            labels=parts["labels"],
            base_labels=parts["base_labels"],
            base_indices=parts["base_indices"],
            preprocessing=load(blob),
        )
