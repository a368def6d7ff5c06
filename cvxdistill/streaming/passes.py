"""One pass over embeddings into moments."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.embeddings import EmbeddingLayout, EmbeddingReader, Rows
from cvxdistill.errors import InputError
from cvxdistill.progress import Progress, silent
from cvxdistill.statistics import Batch, TargetStatistics, gram_of, mean_row
from cvxdistill.streaming.ranks import Ranks
from cvxdistill.streaming.sets import EmbeddingSets
from cvxdistill.streaming.workers import library_threads, map_in_order

CLASS_WEIGHTS = ("none", "balanced")
# Of the float64 copy of a batch, if it were made as a whole, and of the copies that are made: of
# blocks that a processor's cache nearly holds, and on a GPU of the whole batch.
BATCH_BYTES = 1 << 26
BLOCK_BYTES = 1 << 23
# Of the moments of all workers together.
WORKER_BYTES = 1 << 29
# Fewer rows would make adding a block's moments, a few passes over `d^2` numbers, count.
_FEWEST_ROWS = 1024


def stream_statistics(
    readers: EmbeddingSets | EmbeddingReader | Sequence[EmbeddingReader],
    *,
    start: int = 0,
    stop: int | None = None,
    class_weight: str = "none",
    device: torch.device | str = "cpu",
    batch_rows: int | None = None,
    ranks: Ranks | None = None,
    progress: Progress = silent,
) -> TargetStatistics:
    """Return the moments of embeddings on disk, in one pass that holds a few batches at a time.

    Rows are cast to float64 and centred about a mean before any product, so that no digits are
    lost in features with a large mean; nearly all the work is one symmetric product a block. On a
    CPU every thread that PyTorch may use works on a batch of its own while the next is read.

    Args:
        readers: of one set of embeddings, or of several that belong together.
        start: first row, counted through all sets.
        stop: row after the last; all rows when not given. Moments of disjoint slices add up by `+`.
        class_weight: `none`, or `balanced`: a row of class `c` weighs `n / (C n_c)`, with `n_c` of
            the `n` rows of all sets in it, so that rare classes count as much as common ones.
            Weights that are stored beside the rows multiply it.
        device: where the products are computed and the moments are kept; with `ranks` the device
            of the rank.
        batch_rows: rows in a batch at most; by the number of features when not given.
        ranks: the processes that share the work; this one alone when not given. All return the
            moments of all rows.
        progress: told the rows done, under the stage `moments`.

    Raises:
        InputError: sets that do not belong together or have no labels, rows outside them, or, on
            all ranks, a shard that one of them cannot read.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from cvxdistill.embeddings import open_embeddings
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/features_0.npy", np.eye(4, dtype=np.float16))
        ...     np.save(f"{folder}/labels_0.npy", np.array(["cat", "dog", "cat", "cow"]))
        ...     stats = stream_statistics(open_embeddings(folder), class_weight="balanced")
        >>> stats.target_names, stats.class_counts.tolist()
        (('cat', 'cow', 'dog'), [2.0, 1.0, 1.0])
        >>> [round(float(share), 6) for share in stats.label_mean]
        [0.333333, 0.333333, 0.333333]
    """
    check_choice("class_weight", class_weight, CLASS_WEIGHTS)
    ranks = Ranks() if ranks is None else ranks
    with ranks.agreeing():
        sets = EmbeddingSets.of(readers)
        last = sets.num_rows if stop is None else stop
        if not 0 <= start < last <= sets.num_rows:
            raise InputError(
                f"rows must be some of the {sets.num_rows} that are there; got {start} to {last}."
            )
        whole = sets.empty(start, last, class_weight=class_weight, device=ranks.place(device))
    seen = "".join(source.fingerprint for source in whole.sources)
    ranks.require_same(f"{seen}{whole.extractor}", what="embeddings")
    with ranks.agreeing():
        scale = _balanced(sets.class_counts()) if class_weight == "balanced" else None
        stats = _pass(
            sets,
            *ranks.share(start, last),
            scale=scale,
            device=whole.device,
            batch_rows=batch_rows,
            ranks=ranks,
            progress=progress,
        )
    total = ranks.merge(stats)
    if total.count != last - start:
        raise InputError(
            f"every row must be counted once; got {total.count} rows of {last - start}. Do not "
            "change the files during the pass."
        )
    whole += total
    return whole


def _pass(
    sets: EmbeddingSets,
    start: int,
    stop: int,
    *,
    scale: Tensor | None,
    device: torch.device,
    batch_rows: int | None,
    ranks: Ranks,
    progress: Progress,
) -> TargetStatistics:
    """Return the moments of the rows that this process takes."""
    row_bytes = 8 * sets.layout.num_features
    size = batch_rows or max(BATCH_BYTES // row_bytes, _FEWEST_ROWS)
    block = max(BLOCK_BYTES // row_bytes, _FEWEST_ROWS) if device.type == "cpu" else size
    summing = _Summing(sets.layout, scale, device, block)
    stats = summing.empty()
    workers, threads = _workers(sets.layout, device)
    with library_threads(threads):
        batches = sets.rows(start, stop, batch_rows=size)
        for part in map_in_order(summing, batches, workers=workers):
            stats += part
            progress("moments", stats.count, stop - start)
            ranks.check()
    return stats


@dataclasses.dataclass(frozen=True)
class _Summing:
    """What a worker does with a batch of rows.

    Attributes:
        layout: of the sets.
        scale: `(C,)` weights of classes, or `None`.
        device: where the products are computed.
        block_rows: rows whose float64 copy is made at a time.
    """

    layout: EmbeddingLayout
    scale: Tensor | None
    device: torch.device
    block_rows: int

    def empty(self) -> TargetStatistics:
        """Return moments of nothing."""
        layout = self.layout
        return TargetStatistics(layout.num_features, layout.num_targets, device=self.device)

    def __call__(self, rows: Rows) -> TargetStatistics:
        """Return the moments of some rows."""
        assert rows.targets is not None, "checked by EmbeddingSets.of"
        stats, size = self.empty(), min(self.block_rows, len(rows))
        # Moved as they are stored, and cast there; the copy of each block in the same memory.
        features, targets = rows.features.to(self.device), rows.targets.to(self.device)
        weights = self._weights(rows, targets)
        kept = torch.empty(size, features.shape[1], dtype=torch.float64, device=self.device)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            block = kept[: len(features[part])].copy_(features[part])
            labels, w = targets[part], None if weights is None else weights[part]
            # Any shift near the mean serves, and the mean so far costs nothing.
            shift = stats.feature_mean.clone() if stats.weight else mean_row(block, w)
            block.sub_(shift)
            if self.layout.target_kind == "classes":
                batch = Batch.of_classes(block, shift, labels, self.layout.num_targets, w)
            else:
                moved = stats.label_mean.clone() if stats.weight else mean_row(labels, w)
                batch = Batch.of_targets(block, shift, labels, moved, w)
            stats.add_batch(batch, gram_of(block))
        return stats

    def _weights(self, rows: Rows, targets: Tensor) -> Tensor | None:
        weights = None if rows.weights is None else rows.weights.to(self.device)
        if self.scale is None:
            return weights
        each = self.scale.to(self.device)[targets]
        return each if weights is None else weights * each


def _balanced(counts: Tensor) -> Tensor:
    """Return `n / (C n_c) (C,)`, zero for classes without rows."""
    each = counts.to(torch.float64)
    return torch.where(counts > 0, each.sum() / (len(each) * each.clamp_min(1.0)), 0.0)


def _workers(layout: EmbeddingLayout, device: torch.device) -> tuple[int, int]:
    """Return how many threads work on batches, and how many each of their products may use.

    One thread a product is best: threads that share a small product wait for one another. Many
    workers need much memory where there are many features or targets: each has moments of its own,
    those of the block at hand, and a product.
    """
    d, c = layout.num_features, layout.num_targets
    threads = torch.get_num_threads()
    if device.type != "cpu":
        return 1, threads
    fitting = WORKER_BYTES // (8 * (3 * d * d + 2 * d * c + 2 * c * c))
    workers = max(min(threads, fitting), 1)
    return workers, max(threads // workers, 1)
