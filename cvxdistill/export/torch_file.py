"""One PyTorch file that `torch.load(path, weights_only=True)` opens, and its data set."""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.export.base import Exporter
from cvxdistill.export.record import Contents, Record

_ARRAYS = ("examples", "labels", "base_labels", "base_indices")
_PREFIX = "preprocessing."
_RECORD = "manifest"


@dataclasses.dataclass(frozen=True)
class TorchFile(Exporter):
    """A dictionary of tensors and one JSON text; choose it for training code in PyTorch.

    `torch.load(path, weights_only=True)` gives `examples` as they are stored in the artefact,
    `labels` `(m, C)` float64, `base_labels` and `base_indices` `(m,)` int64, the tensors of the
    preprocessing as `preprocessing.mean` and so on, and the record as JSON under `manifest`.
    [DistilledDataset][cvxdistill.export.DistilledDataset] is the `Dataset` over it.
    """

    name = "torch"
    expected = "a PyTorch file that `cvxdistill export` wrote"
    suffix = ".pt"

    def _write(self, contents: Contents, place: Path) -> None:
        parts: dict[str, Tensor | str] = {name: getattr(contents, name) for name in _ARRAYS}
        parts |= {_PREFIX + key: value for key, value in contents.preprocessing.items()}
        # A tensor that is a view would be saved with all of the memory that it looks into.
        whole = {k: v.clone() if isinstance(v, Tensor) else v for k, v in parts.items()}
        torch.save({**whole, _RECORD: contents.record.text()}, place)

    def _contents(self, path: Path) -> Contents:
        try:
            parts = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # What torch raises here is of many kinds, and often advises to load it unsafely.
            raise InputError(
                f"{path} is damaged or holds more than dense tensors and text, and is not opened. "
                "Check or replace the file."
            ) from error
        if not isinstance(parts, dict) or not isinstance(parts.get(_RECORD), str):
            raise InputError(f"{path} must hold tensors by name and the text `{_RECORD}`.")
        record = Record.parse(parts.pop(_RECORD))
        names = {*_ARRAYS, *(name for name in parts if str(name).startswith(_PREFIX))}
        if set(parts) != names:
            differing = sorted(str(name) for name in set(parts) ^ names)
            raise InputError(f"{path} holds other tensors than it should: {differing[0]}.")
        for name, value in parts.items():
            if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
                raise InputError(f"`{name}` in {path} must be a dense tensor.")
        return Contents(
            record=record,
            examples=parts["examples"].contiguous(),
            labels=parts["labels"].contiguous(),
            base_labels=parts["base_labels"].contiguous(),
            base_indices=parts["base_indices"].contiguous(),
            preprocessing={
                name.removeprefix(_PREFIX): value
                for name, value in parts.items()
                if name.startswith(_PREFIX)
            },
        )
