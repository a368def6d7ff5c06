"""Several sets of embeddings as one: rows counted through, and what they have in common."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cvxdistill.embeddings import EmbeddingLayout, EmbeddingReader, Rows
from cvxdistill.embeddings.written import MANIFEST, read_embedding_manifest
from cvxdistill.errors import InputError
from cvxdistill.statistics import Source, TargetStatistics
from cvxdistill.statistics.agree import agreed_extractor

# Rows at either end of a set that its fingerprint looks at.
_LOOKED_AT = 64


@dataclasses.dataclass(frozen=True)
class EmbeddingSets:
    """One or several sets of embeddings, one after the other.

    Attributes:
        readers: of the sets, which agree in features and targets.
    """

    readers: tuple[EmbeddingReader, ...]

    @classmethod
    def of(
        cls, readers: "EmbeddingSets | EmbeddingReader | Sequence[EmbeddingReader]"
    ) -> "EmbeddingSets":
        """Open the sets and find out whether moments of all of them make sense.

        Raises:
            InputError: no set, one without labels, or sets that differ in features or targets.
        """
        if isinstance(readers, EmbeddingSets):
            return readers
        chosen = (readers,) if isinstance(readers, EmbeddingReader) else tuple(readers)
        if not chosen:
            raise InputError("moments need a set of embeddings; got none.")
        first = chosen[0].layout
        for reader in chosen:
            layout = reader.layout
            if layout.target_kind == "none":
                raise InputError(
                    f"moments need labels; `{reader.path}` has none. Put labels beside its "
                    "features, or name them."
                )
            for what in ("num_features", "target_kind", "target_names"):
                here, there = getattr(first, what), getattr(layout, what)
                if here != there:
                    raise InputError(
                        f"sets of embeddings must agree; got {what} {_short(here)} in "
                        f"`{chosen[0].path}` and {_short(there)} in `{reader.path}`. Store class "
                        "names beside both, or give sets that belong together."
                    )
        return cls(chosen)

    @property
    def layout(self) -> EmbeddingLayout:
        """The layout of the first set; all agree in features and targets."""
        return self.readers[0].layout

    @property
    def num_rows(self) -> int:
        """Number of rows of all sets."""
        return sum(reader.layout.num_rows for reader in self.readers)

    def parts(self, start: int, stop: int) -> Iterator[tuple[EmbeddingReader, int, int]]:
        """Yield each set that has rows `start` to `stop`, with first and last in its own count."""
        first = 0
        for reader in self.readers:
            rows = reader.layout.num_rows
            low, high = max(start - first, 0), min(stop - first, rows)
            if low < high:
                yield reader, low, high
            first += rows

    def rows(self, start: int, stop: int, *, batch_rows: int) -> Iterator[Rows]:
        """Yield rows `start` to `stop`, a batch at a time.

        Raises:
            InputError: a shard that cannot be read.
        """
        for reader, low, high in self.parts(start, stop):
            yield from reader.rows(low, high, batch_rows=batch_rows)

    def part(self, number: int, of: int) -> tuple[int, int]:
        """Return first row and row after the last of part `number`, from 1, of `of` equal ones.

        Raises:
            InputError: no such part, or one without rows.
        """
        if not 1 <= number <= of <= self.num_rows:
            raise InputError(
                f"a slice must be K/N with K in 1..N and N at most the {self.num_rows} rows; got "
                f"{number}/{of}."
            )
        return self.num_rows * (number - 1) // of, self.num_rows * number // of

    def empty(
        self, start: int, stop: int, *, class_weight: str = "none", device: torch.device | str
    ) -> TargetStatistics:
        """Return moments of nothing, with all else that those of rows `start` to `stop` will have.

        Raises:
            InputError: a shard that cannot be read, or sets of two extractors.
        """
        extractor = None
        for reader in self.readers:
            extractor = agreed_extractor(extractor, extractor_of(reader))
        stats = TargetStatistics(
            self.layout.num_features,
            self.layout.num_targets,
            device=device,
            target_names=self.layout.target_names,
            extractor=extractor,
        )
        stats.sources = self.sources(start, stop, class_weight=class_weight)
        return stats

    def class_counts(self) -> Tensor:
        """Return the number of rows of each class `(C,)`, int64; reads labels alone.

        Raises:
            InputError: targets that are no classes.
        """
        layout = self.layout
        if layout.target_kind != "classes":
            raise InputError(
                f"class weights need classes; `{self.readers[0].path}` has {layout.num_targets} "
                "real targets. Leave --class-weight out, or store weights beside the rows."
            )
        counts = torch.zeros(layout.num_targets, dtype=torch.int64)
        for reader in self.readers:
            for classes in reader.targets():
                counts += torch.bincount(classes, minlength=len(counts))
        return counts

    def sources(self, start: int, stop: int, *, class_weight: str = "none") -> tuple[Source, ...]:
        """Return what moments of rows `start` to `stop` remember of where they come from.

        Raises:
            InputError: a shard that cannot be read.
        """
        return tuple(
            Source(
                name=str(reader.path),
                fingerprint=fingerprint(reader),
                start=low,
                stop=high,
                total=reader.layout.num_rows,
                shards=tuple(_shards(reader, low, high)),
                class_weight=class_weight,
            )
            for reader, low, high in self.parts(start, stop)
        )


def fingerprint(reader: EmbeddingReader) -> str:
    """Return a SHA-256 that is equal for one set wherever it lies, and hardly for another.

    It covers sizes, names of targets, rows of every shard, and the first and last rows. Paths are
    left out: parts of one set may be read on machines that see it in different places.

    Raises:
        InputError: a shard that cannot be read.
    """
    layout, total = reader.layout, reader.layout.num_rows
    facts = [layout.num_features, layout.dtype, layout.target_kind, layout.target_names]
    digest = hashlib.sha256(json.dumps([*facts, [s.rows for s in layout.shards]]).encode())
    for start in {0, max(total - _LOOKED_AT, 0)}:
        for rows in reader.rows(start, min(start + _LOOKED_AT, total), batch_rows=_LOOKED_AT):
            digest.update(rows.features.to(torch.float64).numpy().tobytes())
            digest.update(b"" if rows.targets is None else rows.targets.numpy().tobytes())
    return digest.hexdigest()


def extractor_of(reader: EmbeddingReader) -> str | None:
    """Return the fingerprint of what made the features, where a manifest beside them tells.

    Raises:
        InputError: embeddings that are not complete, yet or any more.
    """
    if not (reader.path / MANIFEST).is_file():
        return None
    try:
        manifest = read_embedding_manifest(reader.path)
    except InputError:
        # Other programs call their files so, too.
        return None
    if not manifest.complete:
        raise InputError(
            f"embeddings must be complete; `{reader.path}` has {len(manifest.shards)} of "
            f"{manifest.num_shards} shards. Go on with the `cvxdistill embed` that began them."
        )
    if manifest.num_rows != reader.layout.num_rows:
        raise InputError(
            f"`{reader.path}` must have the {manifest.num_rows} rows that its `{MANIFEST}` tells; "
            f"got {reader.layout.num_rows}. A shard is missing: put it back, or embed again."
        )
    parts = manifest.extractor.get("fingerprint"), manifest.preprocessing.get("fingerprint")
    return "+".join(str(part) for part in parts if part) or None


def _shards(reader: EmbeddingReader, start: int, stop: int) -> Iterator[tuple[str, int]]:
    """Yield the name within the set, and the rows between `start` and `stop`, of each shard."""
    first = 0
    for shard in reader.layout.shards:
        rows = min(stop - first, shard.rows) - max(start - first, 0)
        if rows > 0:
            inside = shard.name.startswith(str(reader.path) + os.sep)
            yield os.path.relpath(shard.name, reader.path) if inside else shard.name, rows
        first += shard.rows


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
