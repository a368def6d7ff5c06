"""Embedding a stream of examples into shards on disk."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from cvxdistill.data.items import Items, ItemStream
from cvxdistill.embeddings.write import RowBlock, WriteReport, check_folder, write_embeddings
from cvxdistill.embeddings.written import EmbeddingManifest
from cvxdistill.errors import InputError
from cvxdistill.features.encoders import Content, Encoder
from cvxdistill.features.probe import check_features
from cvxdistill.features.threads import map_threads
from cvxdistill.progress import Progress, silent

DTYPES = ("float32", "float16", "bfloat16")
SHARD_ROWS = 16384


def embed_to_shards(
    encoder: Encoder,
    stream: ItemStream,
    folder: Path | str,
    *,
    storage: str = "npy",
    dtype: str = "float32",
    shard_rows: int = SHARD_ROWS,
    batch_size: int | None = None,
    metadata: bool = True,
    progress: Progress = silent,
) -> WriteReport:
    """Write the features of all examples of a stream into a folder, in shards.

    Choose it for targets larger than memory, and for features that are used more than once. While a
    batch is computed the next ones are read and decoded. A run that was interrupted goes on where
    it was: shards that are complete are not computed again. The manifest records extractor,
    preprocessing and source with their fingerprints; a folder begun with others is refused.

    Args:
        encoder: an `ImageEncoder` or `TextFeatures`.
        stream: the examples, as `DataSource.items` or `TextItems` give them.
        folder: where to; new, or begun by the same call.
        storage: a key of `WRITERS`: `npy`, `safetensors` or `parquet`.
        dtype: of the features as stored: `float32`, `float16` or, for safetensors, `bfloat16`.
        shard_rows: examples in a shard; what is held in memory and lost by an interrupt at most.
        batch_size: examples at once; what is quick on the device when not given.
        metadata: keep index, class, hash and source of every example in Parquet.
        progress: told how far the work is.

    Raises:
        InputError: an option out of range, examples that the encoder cannot take, a folder with
            other things, or features that are not finite or do not fit into `dtype`.

    Example:
        >>> import tempfile
        >>> from cvxdistill.data import open_source
        >>> from cvxdistill.features import ConvNet, ImageEncoder, Preprocessing, draw_extractor
        >>> stream = open_source("digits").items("all")
        >>> extractor = draw_extractor(ConvNet(width=4), (1, 8, 8), seed=0)
        >>> encoder = ImageEncoder(extractor, Preprocessing(), "cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = embed_to_shards(encoder, stream, folder, shard_rows=1000, metadata=False)
        >>> report.written, report.manifest.num_rows, report.manifest.num_features
        (2, 1797, 64)
    """
    if dtype not in DTYPES:
        raise InputError(f"`dtype` must be one of {', '.join(DTYPES)}; got `{dtype}`.")
    for name, value in (("shard_rows", shard_rows), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise InputError(f"`{name}` must be 1 or more; got {value}.")
    manifest = EmbeddingManifest(
        storage=storage,
        dtype=dtype,
        num_rows=len(stream),
        num_features=encoder.num_features,
        shard_rows=shard_rows,
        class_names=stream.class_names,
        metadata=metadata,
        extractor=encoder.spec(),
        preprocessing=encoder.preprocessing(),
        source={
            "name": stream.name,
            "split": stream.split,
            "fingerprint": stream.fingerprint(),
        },
        versions={"torch": str(torch.__version__)},
    )
    check_folder(Path(folder), manifest)
    encoder.check(stream)

    def compute(start: int, stop: int) -> Iterator[RowBlock]:
        return embed_items(encoder, stream, start, stop, batch_size=batch_size, progress=progress)

    return write_embeddings(folder, manifest, compute, progress=progress)


def embed_items(
    encoder: Encoder,
    stream: ItemStream,
    start: int = 0,
    stop: int | None = None,
    *,
    batch_size: int | None = None,
    progress: Progress = silent,
) -> Iterator[RowBlock]:
    """Yield the features of the examples `start <= i < stop` of a stream, a batch at a time.

    Batches begin at `start`, and are read in a thread beside the computing. On a GPU the next batch
    is on its way before the features of the last one are waited for.

    Args:
        encoder: computes the features.
        stream: the examples.
        start: first of them.
        stop: the one after the last; all when not given.
        batch_size: examples at once; what is quick on the device when not given.
        progress: told the number of examples done.

    Yields:
        Features on the CPU with labels, index, hash and source.

    Raises:
        InputError: an example that cannot be read or taken, or features that are not finite.
    """
    total = len(stream)
    stop = total if stop is None else stop
    size = batch_size or encoder.batch_size
    starts = range(start, stop, size)

    def read(first: int) -> Items:
        return stream.read(first, min(first + size, stop))

    def block(first: int, items: Items, features: Tensor) -> RowBlock:
        last = first + len(items)
        here = features.cpu()
        check_features(here, first)
        progress("embed", last, total)
        return RowBlock(
            here,
            None if stream.labels is None else stream.labels[first:last],
            {
                "index": stream.indices[first:last].tolist(),
                "hash": list(items.hashes),
                "source": list(items.sources),
            },
        )

    if encoder.threads:
        # Each thread reads what it computes: networks of our own on a CPU.
        def both(first: int) -> tuple[Items, Tensor]:
            items = read(first)
            return items, encoder.encode(encoder.load(items))

        results = map_threads(both, starts, workers=encoder.threads)
        for first, (items, features) in zip(starts, results, strict=True):
            yield block(first, items, features)
        return

    def load(first: int) -> tuple[Items, Content]:
        items = read(first)
        return items, encoder.load(items)

    waiting: list[tuple[int, Items, Tensor]] = []
    for first, (items, content) in zip(starts, map_threads(load, starts, workers=1), strict=True):
        waiting.append((first, items, encoder.encode(content)))
        if len(waiting) > 1:
            yield block(*waiting.pop(0))
    for one in waiting:
        yield block(*one)
