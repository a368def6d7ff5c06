"""`cvxdistill embed`: features of images or texts, in shards on disk."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cvxdistill.checks import check_choice
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.data import DataSource, ImageSet, ItemStream, open_source
from cvxdistill.data.texts import TextItems, is_text_file
from cvxdistill.embeddings.write import WriteReport
from cvxdistill.errors import InputError
from cvxdistill.features import (
    Encoder,
    Extractor,
    ImageEncoder,
    Preprocessing,
    TextFeatures,
    draw_extractor,
    embed_to_shards,
    load_extractor,
    parse_network,
    parse_text_model,
)
from cvxdistill.features.shards import SHARD_ROWS
from cvxdistill.files import find_path

SPLITS = ("train", "validation", "test", "all")
_TEXT = "text:"


@dataclasses.dataclass(frozen=True)
class EmbedRequest:
    """What is to be embedded, and with what."""

    target: str
    data_root: str | None
    download: bool
    split: str | None
    extractor: str | None
    weights: Path | None
    zca: bool
    seed: int
    text_column: str | None
    label_column: str | None
    device: torch.device

    def check(self) -> None:
        """Find out before anything is read what cannot be meant.

        Raises:
            InputError: no extractor or two, an unknown split, or options that do not go together.
        """
        if (self.extractor is None) == (self.weights is None):
            raise InputError(
                "give one of --extractor, such as torchvision:resnet18 or convnet:width=64, and "
                f"--extractor-weights; got {'neither' if self.extractor is None else 'both'}."
            )
        if self.split is not None:
            check_choice("--split", self.split, SPLITS)
        texts = is_text_file(self.target)
        if not texts and (self.text_column or self.label_column):
            raise InputError(
                f"--text-column and --label-column are for files of texts; `{self.target}` is none."
            )

    def pairs(self) -> Iterator[tuple[Encoder, ItemStream]]:
        """Yield each split with what embeds it.

        Raises:
            InputError: data or an extractor that cannot be had, or that do not go together.
        """
        spec = self.extractor or ""
        if is_text_file(self.target):
            yield self._text_encoder(spec), self._texts()
            return
        if spec.startswith(_TEXT):
            raise InputError(
                f"`{spec}` takes texts; `{self.target}` must be a .txt, .csv, .tsv, .jsonl or "
                ".parquet file."
            )
        network = None if self.weights else parse_network(spec)
        source = open_source(self.target, data_root=self.data_root, download=self.download)
        splits = self._splits(source)
        if network is not None and network.prepares:
            streams = [source.items(split) for split in splits]
            shape = _first_shape(streams[0])
            extractor = draw_extractor(network, shape, seed=self.seed)
            outside = ImageEncoder(extractor, Preprocessing(), self.device)
            yield from ((outside, stream) for stream in streams)
            return
        train = source.load(source.splits()[0])
        encoder = self._own_encoder(train)
        for split in splits:
            data = train if split == train.split else source.load(split)
            yield encoder, data.items()

    def _splits(self, source: DataSource) -> tuple[str, ...]:
        known = source.splits()
        if self.split is None or self.split == "all":
            return known if self.split == "all" else known[:1]
        return (check_choice(f"split of {source.name}", self.split, known),)

    def _own_encoder(self, train: ImageSet) -> Encoder:
        """Return an extractor of our own, with the preprocessing fitted to the training part."""
        if len(train.shape) == 1:
            raise InputError(f"`{train.name}` holds features already; there is nothing to embed.")
        extractor: Extractor
        if self.weights is not None:
            extractor = load_extractor(self.weights)
        else:
            network = parse_network(self.extractor or "")
            extractor = draw_extractor(network, train.shape, seed=self.seed)
        ready = Preprocessing.fit(train, zca=self.zca)
        return ImageEncoder(extractor, ready, self.device)

    def _text_encoder(self, spec: str) -> Encoder:
        if not spec.startswith(_TEXT):
            raise InputError(
                f"`{self.target}` holds texts; use --extractor text:MODEL, not `{spec}`."
            )
        return TextFeatures(parse_text_model(spec).load(self.device), self.device)

    def _texts(self) -> ItemStream:
        root = None if self.data_root is None else Path(self.data_root).expanduser()
        path = find_path(self.target, root)
        if path is None:
            raise InputError(f"`{self.target}` must be a file of texts; nothing exists there.")
        return TextItems(path, text_column=self.text_column, label_column=self.label_column)


def _first_shape(stream: ItemStream) -> tuple[int, ...]:
    if not len(stream):
        raise InputError(f"`{stream.name}` has no examples in its {stream.split} part.")
    first = stream.read(0, 1).content[0]
    assert isinstance(first, torch.Tensor)
    return tuple(first.shape)


def embed_command(
    target: opt.Target = "digits",
    out: opt.Shards = Path("embeddings"),
    extractor: opt.EmbedExtractor = None,
    extractor_weights: opt.ExtractorWeights = None,
    split: opt.EmbedSplit = None,
    data_root: opt.DataRoot = None,
    download: opt.Download = False,
    storage: opt.Storage = "npy",
    dtype: opt.FeatureType = "float32",
    shard_rows: opt.ShardRows = SHARD_ROWS,
    batch_size: opt.BatchSize = None,
    metadata: opt.Metadata = True,
    zca: opt.Zca = False,
    text_column: opt.TextColumn = None,
    label_column: opt.LabelColumn = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
) -> int:
    """Write the features of images or texts in shards; go on where an earlier run was stopped."""
    request = EmbedRequest(
        target,
        data_root,
        download,
        split,
        extractor,
        extractor_weights,
        zca,
        seed,
        text_column,
        label_column,
        common.choose_device(device),
    )
    request.check()
    reports: dict[str, WriteReport] = {}
    with common.progress_bars() as progress:
        pairs = list(request.pairs())
        for encoder, stream in pairs:
            # Several splits lie in folders of their own, as readers of divided sets expect them.
            folder = out / stream.split if len(pairs) > 1 else out
            reports[stream.split] = embed_to_shards(
                encoder,
                stream,
                folder,
                storage=storage,
                dtype=dtype,
                shard_rows=shard_rows,
                batch_size=batch_size,
                metadata=metadata,
                progress=progress,
            )
    _publish(out, reports, as_json=as_json)
    return 0


def _publish(out: Path, reports: dict[str, WriteReport], *, as_json: bool) -> None:
    """Print what was done as one JSON object or as lines."""
    parts = list(reports.values())
    first = parts[0].manifest
    seconds = sum(part.seconds for part in parts)
    embedded = sum(part.rows_written for part in parts)
    summary: dict[str, Any] = {
        "out": str(out),
        "rows": sum(part.manifest.num_rows for part in parts),
        "features": first.num_features,
        "classes": None if first.class_names is None else len(first.class_names),
        "format": first.storage,
        "dtype": first.dtype,
        "extractor": first.extractor["network"],
        "fingerprint": first.extractor["fingerprint"],
        "splits": {split: part.manifest.num_rows for split, part in reports.items()},
        "shards_written": sum(part.written for part in parts),
        "shards_skipped": sum(part.skipped for part in parts),
        "seconds": round(seconds, 4),
        "images_per_second": round(embedded / seconds, 1) if embedded else None,
    }
    if as_json:
        common.write_json(summary)
        return
    console = Console(highlight=False)
    rate = f", {summary['images_per_second']} a second" if embedded else ""
    console.print(
        f"{summary['rows']:,} rows of {first.num_features} features ({first.dtype}) by "
        f"{summary['extractor']} in {out}: {summary['shards_written']} shards written, "
        f"{summary['shards_skipped']} there already; {seconds:.1f} s{rate}",
        soft_wrap=True,
    )
