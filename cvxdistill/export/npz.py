"""One `npz` archive: for NumPy, SciPy, JAX and whatever else reads its arrays."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from cvxdistill.embeddings.npz import open_npz
from cvxdistill.errors import InputError
from cvxdistill.export.base import Exporter
from cvxdistill.export.record import Contents, Record

_PREFIX = "preprocessing_"


@dataclasses.dataclass(frozen=True)
class Npz(Exporter):
    """Arrays by name, compressed, without pickle; choose it for code that knows NumPy alone.

    | array | shape, type |
    |---|---|
    | `images` or `features` | as in the artefact, `(m, c, h, w)` or `(m, d)`; bfloat16 as float32 |
    | `labels` | `(m, C)` float64 |
    | `class_names`, `base_class_names` | `(C,)`, `(C_base,)` strings |
    | `label_kind` | `distribution` or `scores` |
    | `base_labels`, `base_indices` | `(m,)` int64 |
    | `preprocessing_mean`, ... | what there is of them, float32 |
    | `manifest` | the record as one JSON string |
    """

    name = "npz"
    expected = "an npz archive that `cvxdistill export` wrote"
    suffix = ".npz"

    def _write(self, contents: Contents, place: Path) -> None:
        record = contents.record
        examples = contents.examples
        arrays: dict[str, Any] = {
            record.kind: (examples.float() if record.dtype == "bfloat16" else examples).numpy(),
            "labels": contents.labels.numpy(),
            "class_names": np.array(record.class_names, dtype=np.str_),
            "label_kind": np.array(record.label_kind),
            "base_labels": contents.base_labels.numpy(),
            "base_indices": contents.base_indices.numpy(),
            "base_class_names": np.array(record.base.class_names, dtype=np.str_),
            "manifest": np.array(record.text()),
        }
        arrays |= {_PREFIX + key: value.numpy() for key, value in contents.preprocessing.items()}
        # An open file, since numpy would add its ending to the temporary name.
        with place.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def _contents(self, path: Path) -> Contents:
        with open_npz(path) as archive:
            record = Record.parse(str(_array(archive, "manifest", kinds="U")))
            examples = _tensor(archive, record.kind)
            names = _array(archive, "class_names", kinds="U").tolist()
            kind = str(_array(archive, "label_kind", kinds="U"))
            if (tuple(names), kind) != (record.class_names, record.label_kind):
                raise InputError("`class_names` and `label_kind` are not those of its manifest.")
            return Contents(
                record=record,
                examples=examples.bfloat16() if record.dtype == "bfloat16" else examples,
                labels=_tensor(archive, "labels"),
                base_labels=_tensor(archive, "base_labels"),
                base_indices=_tensor(archive, "base_indices"),
                preprocessing={
                    name.removeprefix(_PREFIX): _tensor(archive, name)
                    for name in archive.files
                    if name.startswith(_PREFIX)
                },
            )


def _array(archive: NpzFile, name: str, *, kinds: str) -> np.ndarray[Any, Any]:
    if name not in archive.files:
        found = ", ".join(sorted(archive.files)[:8]) or "nothing"
        raise InputError(f"the archive must hold an array `{name}`; it holds {found}.")
    array = np.asarray(archive[name])
    if array.dtype.kind not in kinds:
        raise InputError(f"`{name}` must not be of type {array.dtype}.")
    return array


def _tensor(archive: NpzFile, name: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(_array(archive, name, kinds="fiu")))
