"""Turn the results of `python -m benchmarks.pool --only cross_entropy` into a page of markdown."""

from pathlib import Path
from typing import Any

from benchmarks.pool import summary
from benchmarks.pool.summary import over_bases, over_unseen, percent
from benchmarks.pool.text import origin, wrapped
from cvxdistill.evaluate import interval


def render_entropy(results: dict[str, Any], folder: Path) -> None:
    """Write `cross-entropy.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    first = results["datasets"][0]
    unseen = len(first["draws"][0]["entropy"]["accuracies"])
    lead = (
        f"Labels for 100 balanced random base examples, solved over {first['pool']} random "
        f"ConvNets of width {first['width']}, once with the squared loss and once with the "
        "cross-entropy; then the ridge head of freshly drawn ConvNets is fitted to them and read "
        f"on the test split. Mean in percent with 95 % interval over {unseen} unseen extractors "
        f"(of the mean over {len(first['draws'])} base draws). Penalty and temperature were "
        "chosen on validation images and held-out extractors at the first base draw, with the "
        "same grid of the penalty for all rows; of equals the first. `cifar10-jpeg` is a lossy "
        "copy of CIFAR-10, with ZCA: its numbers are not comparable with those of the original."
    )
    lines = ["# Cross-entropy against squared loss", "", *wrapped(lead), "", *origin(results)]
    lines.append("")
    lines += summary.verdict_lines(results["verdicts"])
    lines += [
        "",
        "| data | targets | labels | unseen extractors | l2 | temperature | largest proven gap | "
        "largest relative gradient | short of the full-data heads | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for dataset in results["datasets"]:
        lines += [_entropy_row(dataset, key) for key in ("true labels", "squared", "entropy")]
        full = dataset["full_data"]
        lines.append(
            f"| {dataset['dataset']} | {dataset['target_examples']:,} | ridge head of all targets "
            f"| {percent(interval(full['accuracies']))} | {full['l2']:g} | | | | | |"
        )
    lines += [
        "",
        *wrapped(
            "The proven gap bounds what any labels could still gain, relative to the objective. "
            "Short of the full-data heads: what the solved labels lack, on the pool's own "
            "extractors, of what those heads explain; known for the squared loss. Seconds of one "
            "solve, mean over base draws: the squared loss from moments, the cross-entropy from "
            "features."
        ),
    ]
    lines += ["", "Over base draws, with the paired difference of the two losses:", ""]
    lines += [
        "| data | squared loss | cross-entropy | difference over unseen extractors | "
        "difference over base draws |",
        "|---|---|---|---|---|",
    ]
    for dataset in results["datasets"]:
        draws = dataset["draws"]
        both = summary.ahead(draws, "entropy", "squared")
        means = [percent(over_bases(draws, key)) for key in ("squared", "entropy")]
        cells = [dataset["dataset"], *means, *map(percent, both)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Validation accuracy of every temperature and penalty of the cross-entropy:", ""]
    for dataset in results["datasets"]:
        lines += _grid(dataset)
    (folder / "cross-entropy.md").write_text("\n".join(lines).rstrip("\n") + "\n")


def _entropy_row(dataset: dict[str, Any], key: str) -> str:
    draws, settings = dataset["draws"], dataset["choices"][key]["settings"]
    title = {"squared": "squared loss", "entropy": "cross-entropy"}.get(key, key)
    start = f"| {dataset['dataset']} | {dataset['target_examples']:,} | {title} | "
    start += f"{percent(over_unseen(draws, key))} | {settings['l2']:g} | "
    if key == "true labels":
        return start + "| | | | |"
    temperature = f"{settings['temperature']:g}" if key == "entropy" else ""
    gaps = [draw[key]["gap_bound"] for draw in draws]
    gap = f"{max(gaps):.1e}" if gaps[0] is not None else "closed form"
    slope = max(draw[key]["optimality"] for draw in draws)
    seconds = sum(draw[key]["seconds"] for draw in draws) / len(draws)
    short = [draw[key]["relative_gap"] for draw in draws]
    above = f"{100 * max(short):.1f} %" if short[0] is not None else ""
    return f"{start}{temperature} | {gap} | {slope:.1e} | {above} | {seconds:.2g} |"


def _grid(dataset: dict[str, Any]) -> list[str]:
    tried = dataset["choices"]["entropy"]["tried"]
    penalties = sorted({one["l2"] for one in tried})
    lines = [
        f"| {dataset['dataset']}, temperature | {' | '.join(f'l2 = {l2:g}' for l2 in penalties)} |",
        "|---|" + "---|" * len(penalties),
    ]
    for temperature in sorted({one["temperature"] for one in tried}):
        row = {one["l2"]: one for one in tried if one["temperature"] == temperature}
        cells = [f"{100 * row[l2]['accuracy']:.2f}" for l2 in penalties]
        lines.append(f"| {temperature:g} | {' | '.join(cells)} |")
    return [*lines, ""]
