"""Base examples by number."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cvxdistill.choose.base import BaseRequest, Chooser, Indices
from cvxdistill.errors import InputError
from cvxdistill.files import reading


@dataclasses.dataclass(frozen=True)
class ByIndices(Chooser):
    """The examples that the user names, in that order.

    Choose it to use a base set again: indices count in the order of `data.source_split`, as an
    artefact records them, and so mean the same images whatever the division into parts.

    Example:
        >>> from cvxdistill.data import load_splits
        >>> data = load_splits("digits").train
        >>> request = BaseRequest(data, indices=data.indices[[7, 3]])
        >>> ByIndices().choose(request).tolist()
        [7, 3]
    """

    name: ClassVar[str] = "indices"

    def choose(self, request: BaseRequest) -> Tensor:
        """Return the positions of `request.indices`.

        Raises:
            InputError: none given, not the number asked for, repeated, or not in the data.
        """
        data = request.data
        if request.indices is None:
            raise InputError('how="indices" needs `indices` (--indices LIST|FILE); got none.')
        wanted = _parse(request.indices)
        if request.examples not in (None, len(wanted)):
            raise InputError(
                f"`examples` must be left out or equal the {len(wanted)} `indices`; got "
                f"{request.examples}."
            )
        in_order = wanted.sort().values
        repeated = in_order[1:][in_order[1:] == in_order[:-1]]
        if len(repeated):
            raise InputError(f"`indices` must differ; {int(repeated[0])} comes twice.")
        order = torch.argsort(data.indices)
        known = data.indices[order]
        slots = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
        absent = wanted[known[slots] != wanted]
        if len(absent):
            raise InputError(
                f"`indices` must be among the {len(data):,} examples of the {data.split} part of "
                f"{data.name} ({int(known[0])} to {int(known[-1])}, other parts left out); got "
                f"{int(absent[0])}."
            )
        return order[slots]


def _parse(indices: Indices) -> Tensor:
    """Read indices from numbers, a comma list or a file into an int64 vector."""
    values = _read(indices) if isinstance(indices, str | Path) else np.asarray(indices)
    if values.ndim != 1 or values.dtype.kind not in "iu" or values.size == 0:
        raise InputError(
            "`indices` must be a vector of one or more whole numbers; got shape "
            f"{values.shape} of {values.dtype}."
        )
    return torch.from_numpy(values.astype(np.int64))


def _read(text: str | Path) -> np.ndarray:
    path = Path(text)
    if path.suffix == ".npy":
        with reading(path, expected="a .npy file of indices"):
            return np.asarray(np.load(path, allow_pickle=False))
    source = "`indices`"
    if path.is_file():
        source = str(path)
        with reading(path, expected="a text file of indices"):
            text = path.read_text(encoding="utf-8")
    words = str(text).replace(",", " ").split()
    try:
        return np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        shown = " ".join(words)[:60]
        raise InputError(
            f"{source} must be whole numbers with commas between them, or an existing .npy or "
            f"text file of them; got `{shown}`."
        ) from None
