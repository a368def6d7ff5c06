"""Embeddings as data sets in memory: feature vectors that need no extractor."""

import dataclasses
import functools
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.files import require_path, require_split
from cvxdistill.embeddings import READERS, EmbeddingReader
from cvxdistill.errors import InputError

_HALF = (torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True)
class EmbeddedSource(DataSource):
    """Embeddings of one format, read whole into memory, with classes as labels.

    For sets that fit; `cvxdistill.embeddings` reads larger ones a batch at a time, real targets and
    weights too. Half precision becomes float32, as computing on the features needs it.
    """

    needs_path: ClassVar[bool] = True

    def splits(self) -> tuple[str, ...]:
        """Return `("train", "test")`, with `"validation"` between, or `("all",)`.

        A single part is `all`; without a test part the validation part is that.

        Raises:
            InputError: nothing there.
        """
        return tuple(self._parts)

    def load(self, split: str) -> ImageSet:
        """Read `(n, d)` features of one split, shards one after another.

        Raises:
            InputError: damaged files, entries that are not finite, targets that are no classes,
                weights, or classes that the training part does not have.
        """
        require_split(self, split)
        first, reader = next(iter(self._parts.values())), self._parts[split]
        layout = reader.layout
        for part in {first, reader}:
            if part.layout.target_kind != "classes":
                raise InputError(
                    f"a data set needs labels of classes; {part.path} has targets of kind "
                    f"`{part.layout.target_kind}`. Use its moments: cvxdistill stats."
                )
        if layout.weighted:
            raise InputError(
                f"a data set in memory has no weights of examples; {reader.path} has. Rename them, "
                "or use its moments: cvxdistill stats."
            )
        if layout.num_features != first.layout.num_features:
            raise InputError(
                f"all parts of {reader.path} must have as many features; got "
                f"{first.layout.num_features} and {layout.num_features}. Correct one of them."
            )
        stored: torch.dtype = getattr(torch, layout.dtype)
        features = torch.empty(
            layout.num_rows, layout.num_features, dtype=torch.float32 if stored in _HALF else stored
        )
        labels = torch.empty(layout.num_rows, dtype=torch.int64)
        for rows in reader.rows():
            here = slice(rows.start, rows.start + len(rows))
            features[here] = rows.features
            assert rows.targets is not None
            labels[here] = rows.targets
        names = first.layout.target_names
        return ImageSet(
            images=features,
            labels=_renumber(labels, layout.target_names, names, place=str(reader.path)),
            class_names=names,
            name=f"{self.name}:{reader.path.stem}",
            split=split,
            source_split=split,
        )

    @functools.cached_property
    def _parts(self) -> dict[str, EmbeddingReader]:
        path = require_path(self, expected=f"embeddings ({self.name})")
        kind = READERS[self.name]
        found = kind(path).splits()
        if len(found) == 1:
            return {"all": kind(path)}
        readers = {split: kind(path, split=split) for split in found}
        if "test" not in readers and "validation" in readers:
            readers["test"] = readers.pop("validation")
        if not {"train", "test"} <= readers.keys():
            raise InputError(
                f"{path} must have parts train and test; got {', '.join(found)}. Rename them, or "
                "give the folder of one of them."
            )
        order = ("train", "validation", "test")
        return {split: readers[split] for split in order if split in readers}


class ClipFolder(EmbeddedSource):
    """A folder that clip-retrieval wrote, `clip:PATH`; see `cvxdistill.embeddings.clip`."""

    name = "clip"


class HuggingFaceFolder(EmbeddedSource):
    """A data set that `save_to_disk` wrote, `hf:PATH`; see `cvxdistill.embeddings.hf`."""

    name = "hf"


class ParquetFiles(EmbeddedSource):
    """Parquet files, `parquet:PATH`; see `cvxdistill.embeddings.parquet`."""

    name = "parquet"


class SafetensorsFiles(EmbeddedSource):
    """Files of safetensors, `safetensors:PATH`; see `cvxdistill.embeddings.safetensors`."""

    name = "safetensors"


def _renumber(
    labels: Tensor, own: tuple[str, ...], names: tuple[str, ...], *, place: str
) -> Tensor:
    """Return labels that count in `own` names as those that count in `names`."""
    if own == names:
        return labels
    where = {name: number for number, name in enumerate(names)}
    unknown = next((name for name in own if name not in where), None)
    if unknown is not None:
        raise InputError(
            f"labels of {place} must be among the {len(names)} classes of the training part; got "
            f"`{unknown}`. Correct the labels, or store class names."
        )
    return torch.tensor([where[name] for name in own])[labels]
