"""Turn results of `python -m benchmarks.pool --only pool` into a page of markdown and a figure."""

from pathlib import Path
from typing import Any

from benchmarks.pool import summary
from benchmarks.pool.figure import draw_figure
from benchmarks.pool.labels import L2, PULLS, WEIGHTS
from benchmarks.pool.summary import over_bases, over_unseen, percent, title
from benchmarks.pool.text import origin, wrapped
from cvxdistill.evaluate import interval

GIVEN = ("true labels", "smoothed labels", "teachers")
SOLVED = ("squared", "taught", "entropy")
SERIES = [f"{kind}{prior}" for kind in SOLVED for prior in ("", ", prior")]


def render_pool(results: dict[str, Any], folder: Path) -> None:
    """Write `pool.md` and `pool.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_figure(results, folder / "pool.png")
    verdicts = summary.verdict_lines(results["verdicts"])
    parts = [
        ["# Labels for extractors that the solve never saw", "", *_about(results)],
        verdicts,
        ["![Accuracy on unseen extractors against the size of the pool](pool.png)"],
        _accuracy_table(results),
        _draw_table(results),
        _prior_table(results),
        _settings_table(results),
        _ideas_table(results),
        _seconds_table(results),
    ]
    (folder / "pool.md").write_text("\n\n".join("\n".join(part) for part in parts) + "\n")


def _about(results: dict[str, Any]) -> list[str]:
    teachers, options = results["teachers"], results["options"]
    text = (
        f"MNIST, 100 balanced random base examples, {results['target_examples']:,} target "
        f"examples, ConvNets of width {results['width']} with random weights. Labels are solved "
        "over a pool of them; then the ridge head of freshly drawn ConvNets, which neither the "
        "solve nor any choice has seen, is fitted to those labels and read on the test split. The "
        f"teachers are {teachers['count']} networks `{teachers['network']}`, each trained for "
        f"{teachers['steps']} batches of 256 on the whole training part; as an ensemble they get "
        f"{100 * teachers['validation_accuracy']:.1f} % on validation. The prior pulls the labels "
        "towards their centred logits, scaled to the labels of the plain solve by least squares. "
        "Penalty of the head, weight of the prior, temperature: chosen for every label set and "
        f"pool size on 5,000 validation images and {options['held_out']} extractors that are "
        "neither in the pool nor among the unseen ones, at the first base draw, and used for all "
        "base draws. The head's penalty, trace-scaled, is one of "
        f"{', '.join(f'{l2:g}' for l2 in L2)} for every label set, but the cross-entropy leaves "
        "out the smallest; a cross-entropy over more than 8 extractors keeps the settings of 8. Of "
        "the teachers' labels the temperature is chosen as well, the logits themselves among them."
    )
    return [*wrapped(text), "", *origin(results)]


def _accuracy_table(results: dict[str, Any]) -> list[str]:
    draws, sizes = results["draws"], results["sizes"]
    unseen = len(draws[0]["teachers"]["accuracies"])
    lines = [
        "## Accuracy by pool size",
        "",
        *wrapped(
            f"Mean in percent with 95 % interval over {unseen} unseen extractors, of the mean "
            f"over {len(draws)} base draws. The first four rows know no pool. Smoothing moves all "
            "labels alike, which a ridge head with a free intercept does not see: its row is that "
            "of the true labels."
        ),
        "",
        f"| labels | {' | '.join(f'pool of {size}' for size in sizes)} |",
        "|---|" + "---|" * len(sizes),
    ]
    for name in GIVEN:
        cell = percent(over_unseen(draws, name))
        lines.append(f"| {title(name)} | {' | '.join([cell] * len(sizes))} |")
    full = f"{percent(interval(results['full_data']['accuracies']))}"
    lines.append(f"| ridge head of all targets | {' | '.join([full] * len(sizes))} |")
    for series in SERIES:
        cells = [percent(over_unseen(draws, f"{series}, pool of {size}")) for size in sizes]
        lines.append(f"| {title(series)} | {' | '.join(cells)} |")
    return lines


def _draw_table(results: dict[str, Any]) -> list[str]:
    draws, size = results["draws"], max(results["sizes"])
    names = [*GIVEN, *(f"{series}, pool of {size}" for series in SERIES)]
    heads = " | ".join(f"draw {index}" for index in range(len(draws)))
    lines = [
        "## Base draws",
        "",
        *wrapped(
            "Other 100 images: mean over unseen extractors for each draw of the base, and the "
            f"95 % interval over the {len(draws)} draws; the difference to the teachers' labels is "
            "paired by draw."
        ),
        "",
        f"| labels | {heads} | over draws | ahead of the teachers |",
        "|---|" + "---|" * (len(draws) + 2),
    ]
    for name in names:
        means = [sum(d[name]["accuracies"]) / len(d[name]["accuracies"]) for d in draws]
        cells = [f"{100 * mean:.2f}" for mean in means]
        cells += [percent(over_bases(draws, name))]
        cells += ["" if name == "teachers" else percent(summary.ahead(draws, name, "teachers")[1])]
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return lines


def _prior_table(results: dict[str, Any]) -> list[str]:
    draws, sizes = results["draws"], results["sizes"]
    lines = [
        "## What the prior adds",
        "",
        *wrapped(
            "Points gained by the prior towards the teachers' logits, paired by unseen extractor, "
            "with 95 % interval."
        ),
        "",
        f"| labels | {' | '.join(f'pool of {size}' for size in sizes)} |",
        "|---|" + "---|" * len(sizes),
    ]
    for kind in SOLVED:
        cells = [
            percent(summary.ahead(draws, f"{kind}, prior, {pool}", f"{kind}, {pool}")[0])
            for pool in (f"pool of {size}" for size in sizes)
        ]
        lines.append(f"| {title(kind)} | {' | '.join(cells)} |")
    return lines


def _settings_table(results: dict[str, Any]) -> list[str]:
    lines = [
        "## What validation chose",
        "",
        *wrapped(
            "The weight of a prior is the solver's own for the exact solves; for the "
            "cross-entropy it is what a displacement as long as the plain labels costs, in nats. "
            f"The smallest ones offered, {min(WEIGHTS):g} and {min(PULLS):g}, are next to no prior."
        ),
        "",
        "| labels | l2 | weight of the prior | temperature | validation accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, one in results["choices"].items():
        settings, tried = one["settings"], one["tried"]
        found = f"{100 * max(t['accuracy'] for t in tried):.2f}" if tried else "as for pool of 8"
        weight = f"{settings['weight']:g}" if "prior" in name else ""
        temperature = f"{settings['temperature']:g}" if name.startswith("entropy") else ""
        if name == "teachers":
            temperature = f"{settings['temperature'] or 'logits'}"
        lines.append(f"| {title(name)} | {settings['l2']:g} | {weight} | {temperature} | {found} |")
    said = ", ".join(
        f"{'logits' if t == 'inf' else t} {100 * score:.2f}"
        for t, score in results["choices"]["teachers"]["temperatures"]
    )
    return [*lines, "", f"Teachers' labels by temperature, on validation: {said}."]


def _ideas_table(results: dict[str, Any]) -> list[str]:
    return [
        "## What else was tried",
        "",
        *wrapped(
            f"Validation accuracy at a pool of {results['ideas']['pool']}, all at the penalty of "
            "the cross-entropy."
        ),
        "",
        "| idea | percent |",
        "|---|---|",
        *(f"| {one['what']} | {100 * one['accuracy']:.2f} |" for one in results["ideas"]["rows"]),
    ]


def _seconds_table(results: dict[str, Any]) -> list[str]:
    draws, sizes = results["draws"], results["sizes"]
    lines = [
        "## Seconds of a solve",
        "",
        *wrapped(
            "Mean over base draws, from features or moments to labels with their certificate; "
            "with a prior the plain solve that gives its scale is counted too."
        ),
        "",
        f"| labels | {' | '.join(f'pool of {size}' for size in sizes)} | worst status | "
        "largest proven gap |",
        "|---|" + "---|" * (len(sizes) + 2),
    ]
    for series in SERIES:
        rows = [[draw[f"{series}, pool of {size}"] for draw in draws] for size in sizes]
        cells = [f"{sum(one['seconds'] for one in row) / len(row):.2g}" for row in rows]
        every = [one for row in rows for one in row]
        bad = [one["status"] for one in every if one["status"] != "SOLVED"]
        gaps = [one["gap_bound"] for one in every if one["gap_bound"] is not None]
        cells += [bad[0] if bad else "SOLVED", f"{max(gaps):.1e}" if gaps else "closed form"]
        lines.append(f"| {title(series)} | {' | '.join(cells)} |")
    return lines
