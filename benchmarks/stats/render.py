"""Turn the results of `python -m benchmarks.stats` into one page of markdown."""

from typing import Any


def render(results: dict[str, Any]) -> str:
    """Return the page."""
    environment, solves = results["environment"], results["solves"]
    passes = [results["passes"][name] for name in ("tenth", "whole")]
    shown = ("python", "torch", "numpy", "scipy", "scikit-learn")
    versions = ", ".join(f"{name} {environment['versions'][name]}" for name in shown)
    verdicts = [
        f"- {'met' if verdict['met'] else '**not met**'}: {verdict['what']} "
        f"(measured {verdict['measured']:.3g}, bound {verdict['bound']:g})"
        for verdict in results["verdicts"]
    ]
    lines = [
        "# Moments of millions of rows",
        "",
        f"Written by `{results['command']}`; figures are of one run, ratios within it. "
        f"{environment['cpu']}, {results['threads']} thread(s). {versions}.",
        "",
        f"Features of {results['features']} columns in float16, {results['classes']} classes, in "
        "npy shards on disk, written just before. `cvxdistill stats` runs in a process of its "
        "own; its seconds are those that it tells: opening, reading, checking, the pass, and "
        "writing the file.",
        "",
        *verdicts,
        "",
        "## One pass",
        "",
        "| rows | on disk, GB | seconds | rows/s | CPU seconds | peak memory, GB |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['rows']:,} | {results[f'{name}_bytes'] / 1e9:.2f} | {row['seconds']:.1f} | "
            f"{row['rows'] / row['seconds']:,.0f} | {row['cpu_seconds']:.1f} | "
            f"{row['peak_bytes'] / 1e9:.3f} |"
            for name, row in zip(("tenth", "whole"), passes, strict=True)
        ),
        "",
        "## Against plain products and scikit-learn",
        "",
        "The products multiply blocks of 32,768 rows of float64 that lie in memory, as many as "
        "the rows of the pass. PyTorch computes the whole of `Z'Z`; numpy sees the symmetry and "
        "does half the work. scikit-learn's fit has its data in memory already.",
        "",
        "| what | rows | seconds |",
        "|---|---|---|",
        *(
            line
            for row in passes
            for line in (
                f"| **stats**, from disk | {row['rows']:,} | {row['seconds']:.1f} |",
                *(
                    f"| float64 product, {name} | {row['rows']:,} | {seconds:.1f} |"
                    for name, seconds in row["products"].items()
                ),
            )
        ),
        *(
            f"| `Ridge.fit`, {name} in memory | {passes[0]['rows']:,} | {seconds:.1f} |"
            for name, seconds in results["ridge"].items()
        ),
        "",
        "## What the moments serve",
        "",
        f"{solves['sets']} base sets of {solves['examples']} examples at {solves['l2s']} values "
        f"of `l2` each, solved exactly from the moments of {passes[1]['rows']:,} rows by one "
        "thread: "
        f"{solves['seconds']:.1f} s for all, "
        f"{1000 * solves['seconds'] / (solves['sets'] * solves['l2s']):.0f} ms a solve with its "
        f"certificate, against {passes[1]['seconds']:.1f} s of the pass.",
    ]
    return "\n".join(lines) + "\n"
