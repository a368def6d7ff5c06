"""`cvxdistill compress`: a run with its labels in few bits, and what that costs."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_positive
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.cli.evaluate import recorded_parts
from cvxdistill.codecs import LabelCodec, parse_codec
from cvxdistill.compress import Compression, choose_codec
from cvxdistill.compress.choose import MAX_LOSS
from cvxdistill.errors import InputError
from cvxdistill.features import parse_network
from cvxdistill.files import atomic_file
from cvxdistill.manifest import check_replaceable
from cvxdistill.report import draw_sheet
from cvxdistill.report.table import SETTINGS


def compress_command(
    run: opt.Run,
    out: opt.NewRun,
    codec: opt.Codec = None,
    bits: opt.LabelBits = None,
    total_bytes: opt.LabelBytes = None,
    max_loss: opt.MaxLoss = MAX_LOSS,
    feedback: opt.Feedback = True,
    data_root: opt.DataRoot = None,
    download: opt.Download = False,
    unseen: opt.Unseen = None,
    seeds: opt.Seeds = 3,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
) -> int:
    """Store the labels of a run in fewer bits: the best codec on validation, within a budget."""
    place, tried = common.choose_device(device), parse_codecs(codec)
    network = parse_network(unseen) if unseen else None
    if seeds < 1:
        raise InputError(f"`--seeds` must be 1 or more; got {seeds}.")
    check_replaceable(out)
    distilled = Distilled.load(run)
    if out.exists() and out.resolve() == run.resolve():
        raise InputError("`--out` must be another folder than that of the run, which is kept.")
    budget = budget_bits(distilled, bits, total_bytes)
    parts = recorded_parts(distilled, run, data_root, download)
    with common.progress_bars() as progress:
        found = choose_codec(
            distilled,
            parts.validation,
            train=parts.train if feedback else None,
            codecs=tried,
            budget_bits=budget,
            max_loss=max_loss,
            unseen=network,
            seeds=seeds,
            seed=seed,
            device=place,
            progress=progress,
        )
    found.distilled.save(out)
    draw_sheet(found.distilled, out / "labels.png")
    summary = _summary(run, out, found)
    with atomic_file(out / "compression.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    if as_json:
        common.write_json(summary)
    else:
        _print(found, out)
    return 0


def parse_codecs(text: str | None) -> list[LabelCodec] | None:
    """Return the codecs of `--codec`, or `None` for a selection.

    Raises:
        InputError: an unknown codec or option.
    """
    if text is None:
        return None
    return [parse_codec(part) for part in text.split(";")]


def budget_bits(
    distilled: Distilled, bits: float | None, total_bytes: float | None
) -> float | None:
    """Return the bits that all labels may take, or `None` where no budget is given.

    Raises:
        InputError: two budgets, or one that is not above zero.
    """
    if bits is not None and total_bytes is not None:
        raise InputError("give `--bits` an entry or `--bytes` in all; got both.")
    if bits is not None:
        return check_positive("--bits", bits) * distilled.labels.numel()
    return None if total_bytes is None else 8 * check_positive("--bytes", total_bytes)


def _summary(run: Path, out: Path, found: Compression) -> dict[str, Any]:
    bits = found.distilled.bits
    return {
        "run": str(out),
        "from": str(run),
        **found.chosen.record(),
        "bits_of_images": bits.images,
        "uncompressed": found.rows[0].record(),
        "rows": [row.record() for row in found.rows],
    }


def _print(found: Compression, out: Path) -> None:
    settings = list(found.rows[0].accuracy)
    table = Table(title="labels stored in fewer bits, validation accuracy, %", title_justify="left")
    table.add_column("codec")
    names = [SETTINGS.get(setting, setting) for setting in settings]
    for name in ("feedback", "bits an entry", "largest error", *names, "agreement", "loses"):
        table.add_column(name, justify="right")
    for row in sorted(found.rows, key=lambda row: -row.bits):
        table.add_row(
            row.codec,
            "yes" if row.feedback else "",
            f"{row.bits_per_entry:.2f}",
            f"{row.max_error:.1e}",
            *(f"{100 * row.accuracy[setting]:.2f}" for setting in settings),
            f"{100 * row.agreement:.2f}",
            f"{100 * row.loss:.2f}",
            style="bold" if row == found.chosen else None,
        )
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(table)
    how = " with feedback" if found.chosen.feedback else ""
    console.print(
        f"chosen: {found.chosen.codec}{how}, {found.chosen.bits:,} bits of labels in the place of "
        f"{found.rows[0].bits:,}; run folder {out}",
        soft_wrap=True,
    )
