"""`cvxdistill stats`: moments of embeddings, by one process or many, and their sums."""

import functools
import operator
import sys
import time
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from cvxdistill.checks import check_choice
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.embeddings import open_embeddings
from cvxdistill.errors import CvxDistillError, InputError
from cvxdistill.progress import Progress, silent
from cvxdistill.statistics import TargetStatistics
from cvxdistill.streaming import (
    CLASS_WEIGHTS,
    EmbeddingSets,
    Ranks,
    joined_ranks,
    stream_statistics,
)


class _ComputeFirst(TyperGroup):
    """`stats PATH ...` is `stats compute PATH ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["compute", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


stats_app = typer.Typer(
    cls=_ComputeFirst,
    help="Moments of embeddings: all that solving for labels needs. `stats PATH --out FILE` is "
    "short for `stats compute PATH --out FILE`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@stats_app.command("compute")
def stats_command(
    paths: opt.Embeddings,
    out: opt.MomentsOut = None,
    add_to: opt.AddTo = None,
    class_weight: opt.ClassWeight = "none",
    slice_: opt.Slice = None,
    features: opt.Features = None,
    labels: opt.Labels = None,
    weights: opt.Weights = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
) -> int:
    """Compute the moments of embeddings in one pass, alone or as one rank of torchrun."""
    place = common.choose_device(device)
    with joined_ranks(place) as ranks:
        try:
            began = time.perf_counter()
            with ranks.agreeing():
                check_choice("--class-weight", class_weight, CLASS_WEIGHTS)
                written = _checked_out(out or add_to)
                names = {"features": features, "labels": labels, "weights": weights}
                sets = EmbeddingSets.of(
                    [open_embeddings(path, data_root=data_root, **names) for path in paths]
                )
                start, stop = (0, sets.num_rows) if slice_ is None else sets.part(*_numbers(slice_))
                before = None
                if add_to is not None and ranks.first:
                    before = TargetStatistics.load(add_to)
                    # Whether they can be added shows before the pass.
                    _ = before + sets.empty(start, stop, class_weight=class_weight, device="cpu")
            stats = _computed(sets, start, stop, class_weight, ranks)
            with ranks.agreeing():
                if ranks.first:
                    total = stats if before is None else before + stats.to("cpu")
                    total.save(written)
        except CvxDistillError as error:
            if ranks.size == 1:
                raise
            if ranks.first:
                common.complain(str(error))
            ranks.leave()
            return 2 if isinstance(error, InputError) else 1
    if ranks.first:
        seconds = time.perf_counter() - began
        speed = {
            "seconds": round(seconds, 4),
            "rows_read": stats.count,
            "rows_per_second": round(stats.count / seconds, 1),
            "ranks": ranks.size,
            "device": str(stats.device),
        }
        publish({**describe(total, written), **speed}, as_json=as_json)
    return 0


@stats_app.command("merge")
def merge_command(
    files: opt.MomentFiles, out: opt.MomentsOut = None, as_json: opt.Json = False
) -> int:
    """Add the moments of several files, such as those of the jobs of an array."""
    written = _checked_out(out)
    total = functools.reduce(operator.add, map(TargetStatistics.load, files))
    total.save(written)
    publish(describe(total, written), as_json=as_json)
    return 0


def describe(stats: TargetStatistics, path: Path) -> dict[str, Any]:
    """Return what a file of moments holds, in JSON types."""
    counts = stats.class_counts
    return {
        "file": str(path),
        "rows": stats.count,
        "weight": stats.weight,
        "features": stats.num_features,
        "target_kind": stats.target_kind,
        "targets": stats.num_classes,
        "target_names": list(stats.target_names),
        "class_counts": None if counts is None else [int(count) for count in counts.tolist()],
        "extractor": stats.extractor,
        "sources": [
            {**source.model_dump(exclude={"shards"}), "shards": len(source.shards)}
            for source in stats.sources
        ],
        "complete": all(source.complete for source in stats.sources),
    }


def publish(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print what moments hold, as one JSON object or as a table."""
    if as_json:
        common.write_json(facts)
        return
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        if key == "sources":
            for source in value:
                rows = f"rows {source['start']} to {source['stop']} of {source['total']}"
                table.add_row("source", f"{source['name']}, {rows}")
        elif isinstance(value, list):
            shown = ", ".join(map(str, value[:8]))
            table.add_row(key, f"{shown}, ..." if len(value) > 8 else shown or "-")
        else:
            table.add_row(key, "-" if value is None else str(value))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


def _computed(
    sets: EmbeddingSets, start: int, stop: int, class_weight: str, ranks: Ranks
) -> TargetStatistics:
    def compute(progress: Progress) -> TargetStatistics:
        return stream_statistics(
            sets,
            start=start,
            stop=stop,
            class_weight=class_weight,
            device=ranks.device,
            ranks=ranks,
            progress=progress,
        )

    if not ranks.first:
        return compute(silent)
    with common.progress_bars() as progress:
        return compute(progress)


def _checked_out(out: Path | None) -> Path:
    if out is None:
        raise InputError("moments need a file to be written to; got none. Give --out FILE.")
    if out.is_dir() or not out.absolute().parent.is_dir():
        what = "it is a folder" if out.is_dir() else "its folder does not exist"
        raise InputError(f"`--out` must name a file in an existing folder; got `{out}`: {what}.")
    return out


def _numbers(part: str) -> tuple[int, int]:
    number, slash, of = part.partition("/")
    if not (slash and number.strip().isdecimal() and of.strip().isdecimal()):
        raise InputError(f"`--slice` must be K/N, such as 1/8 to 8/8; got `{part}`.")
    return int(number), int(of)
