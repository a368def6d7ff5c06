"""Writing embeddings in shards: each whole or not there, those that are done passed over."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.embeddings.arrow import load_pyarrow
from cvxdistill.embeddings.writers import WRITERS, ShardRows, ShardWriter
from cvxdistill.embeddings.written import (
    MANIFEST,
    EmbeddingManifest,
    ShardRecord,
    check_same,
    read_embedding_manifest,
)
from cvxdistill.errors import InputError
from cvxdistill.progress import Progress, silent


@dataclasses.dataclass(frozen=True, eq=False)
class RowBlock:
    """Some consecutive rows as they are computed.

    Attributes:
        features: `(n, d)` floating.
        labels: `(n,)` int64 classes, or `None`.
        metadata: columns of further facts, one entry a row.
    """

    features: Tensor
    labels: Tensor | None
    metadata: Mapping[str, list[Any]]


Compute = Callable[[int, int], Iterator[RowBlock]]
"""Yields the rows from one number to another in order, in blocks of any size."""


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """What `write_embeddings` did.

    Attributes:
        manifest: as it is now in the folder.
        written: shards written now.
        skipped: shards that were there already.
        rows_written: rows written now.
        seconds: that it took.
    """

    manifest: EmbeddingManifest
    written: int
    skipped: int
    rows_written: int
    seconds: float


def write_embeddings(
    folder: Path | str,
    manifest: EmbeddingManifest,
    compute: Compute,
    *,
    progress: Progress = silent,
) -> WriteReport:
    """Write rows in shards into a folder, or go on where an earlier call was interrupted.

    After every shard the manifest says that it is complete; a shard that it names and whose files
    have the sizes that it says is neither computed nor written again. Whatever interrupts a call, a
    further one with the same arguments leaves the same files as a call that nothing interrupted.

    Args:
        folder: where to; new, empty, or begun by a call with the same manifest.
        manifest: what is to be written; its shards are found out here.
        compute: gives the rows of a shard; not called for shards that are there.
        progress: told the number of rows done.

    Returns:
        What was done.

    Raises:
        InputError: a folder with other things, a type that the format lacks, rows of another
            number or width than the manifest says, or features that their type does not hold.
    """
    started = time.perf_counter()
    folder = Path(folder)
    writer = WRITERS[check_choice("format", manifest.storage, WRITERS)]()
    if manifest.dtype not in writer.dtypes:
        raise InputError(
            f"format `{writer.name}` has no {manifest.dtype}; it has {', '.join(writer.dtypes)}. "
            "Use --format safetensors for bfloat16."
        )
    done = _begin(folder, manifest, writer)
    skipped = len(done)
    rows_written = 0
    for shard in range(manifest.num_shards):
        start, stop = manifest.bounds(shard)
        if shard not in done:
            names = _names(writer, shard, manifest)
            _remove_leftovers(folder, names)
            rows = _collect(compute(start, stop), stop - start, manifest)
            writer.write(folder, shard, rows)
            sizes = {name: (folder / name).stat().st_size for name in names}
            done[shard] = ShardRecord(rows=stop - start, files=sizes)
            _with_shards(manifest, done).save(folder)
            rows_written += stop - start
        progress("shards", stop, manifest.num_rows)
    return WriteReport(
        _with_shards(manifest, done),
        written=len(done) - skipped,
        skipped=skipped,
        rows_written=rows_written,
        seconds=time.perf_counter() - started,
    )


def check_folder(folder: Path, manifest: EmbeddingManifest) -> None:
    """Find out before any work whether a call with this manifest may write into `folder`.

    Raises:
        InputError: a file, a folder with other things in it, or one with other embeddings.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"`{folder}` is a file; give a folder for the shards.")
    if (folder / MANIFEST).exists():
        check_same(read_embedding_manifest(folder), manifest, folder)
        return
    others = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
    if others:
        raise InputError(
            f"`{folder}` holds other files ({', '.join(others[:3])}) and is left as it is. Choose "
            "a new folder (--out)."
        )


def _begin(
    folder: Path, manifest: EmbeddingManifest, writer: ShardWriter
) -> dict[int, ShardRecord]:
    """Check or make the folder, and return the shards that are complete."""
    check_folder(folder, manifest)
    if manifest.metadata:
        load_pyarrow()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make `{folder}`: {error.strerror}. Choose another place (--out)."
        ) from error
    done: dict[int, ShardRecord] = {}
    if (folder / MANIFEST).exists():
        for shard, record in read_embedding_manifest(folder).shards.items():
            start, stop = manifest.bounds(shard)
            expected = set(_names(writer, shard, manifest))
            whole = all(_size(folder / name) == size for name, size in record.files.items())
            if whole and record.rows == stop - start and set(record.files) == expected:
                done[shard] = record
    else:
        _remove_leftovers(folder, (MANIFEST,))
    # The manifest comes first, so that a folder that was begun is known for what it is.
    _with_shards(manifest, done).save(folder)
    writer.begin(folder, manifest.class_names or ())
    return done


def _names(writer: ShardWriter, shard: int, manifest: EmbeddingManifest) -> tuple[str, ...]:
    labelled = manifest.class_names is not None
    return writer.files(shard, labelled=labelled, metadata=manifest.metadata)


def _with_shards(manifest: EmbeddingManifest, done: dict[int, ShardRecord]) -> EmbeddingManifest:
    return manifest.model_copy(update={"shards": dict(sorted(done.items()))})


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _remove_leftovers(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the temporary files that a killed run could not remove itself."""
    for name in names:
        for path in folder.glob(f".{name}.*"):
            path.unlink(missing_ok=True)


def _collect(blocks: Iterator[RowBlock], count: int, manifest: EmbeddingManifest) -> ShardRows:
    """Return the rows of one shard, in the type in which they are stored."""
    dtype: torch.dtype = getattr(torch, manifest.dtype)
    features = torch.empty(count, manifest.num_features, dtype=dtype)
    labels: list[Tensor] = []
    metadata: dict[str, list[Any]] = {}
    at = 0
    for block in blocks:
        stop = at + len(block.features)
        if stop > count or block.features.shape[1] != manifest.num_features:
            raise InputError(
                f"a shard must get {count} rows of {manifest.num_features} features; got "
                f"{stop} of {block.features.shape[1]}."
            )
        features[at:stop] = block.features
        if not bool(torch.isfinite(features[at:stop]).all()):
            raise InputError(
                f"features up to {float(block.features.abs().max()):.3g} do not fit into "
                f"{manifest.dtype}. Use --dtype float32 or bfloat16."
            )
        if block.labels is not None:
            labels.append(block.labels)
        for name, values in block.metadata.items() if manifest.metadata else ():
            metadata.setdefault(name, []).extend(values)
        at = stop
    if at != count:
        raise InputError(f"a shard must get {count} rows; got {at}.")
    return ShardRows(
        features,
        torch.cat(labels).cpu() if labels else None,
        metadata,
        manifest.class_names or (),
    )
