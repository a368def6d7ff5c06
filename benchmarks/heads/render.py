"""Turn the results of `python -m benchmarks.heads` into one page of markdown."""

from typing import Any


def render(results: dict[str, Any]) -> str:
    """Return the page."""
    environment = results["environment"]
    size = " x ".join(str(number) for number in results["size"])
    verdicts = [
        f"- {'met' if verdict['met'] else '**not met**'}: {verdict['what']} "
        f"(measured {verdict['measured']:.3g}, bound {verdict['bound']:g})"
        for verdict in results["verdicts"]
    ]
    lines = [
        "# Heads, side by side",
        "",
        f"Written by `{results['command']}`; figures are of one run, ratios within it. "
        f"{environment['cpu']}, {results['threads']} thread(s), float64. "
        + ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
        + ".",
        "",
        *verdicts,
        "",
        f"## Ridge layer, forward and backward, {size} (examples x features x classes)",
        "",
        "Medians after a warm-up, functions taking turns. Errors are relative, against the "
        "hand-written version. The first call builds what is built once, and for CvxpyHead checks "
        "the gradient.",
        "",
        "| route | ms | times RidgeHead | first call, s | weights | d labels | d features |",
        "|---|---|---|---|---|---|---|",
        *(_ridge_row(row) for row in results["ridge"]),
        "",
        "## Label gradient of multinomial logistic regression",
        "",
        "Relative error against fourth-order central differences of a Newton solve, along "
        f"{results['directions']} random directions; no intercept. Seconds include building the "
        "layer. CvxpyHead compares its gradient with differences of its own and refuses a wrong "
        "one.",
        "",
        "| examples x features x classes | l2 | route | gradient | solution | s |",
        "|---|---|---|---|---|---|",
        *(_logistic_row(row) for row in results["logistic"]),
        "",
        "## Peak memory of RidgeHead, forward and backward",
        "",
        f"One fresh process a size, 10 classes, gradients in features and labels; grows with the "
        f"power {results['memory']['exponent_in_d']:.2f} of the features and "
        f"{results['memory']['exponent_in_m']:.2f} of the examples (1 is linear).",
        "",
        "| examples | features | MiB | copies of the features |",
        "|---|---|---|---|",
        *(
            f"| {row['m']:,} | {row['d']:,} | {row['bytes'] / 2**20:.0f} | "
            f"{row['copies_of_features']:.1f} |"
            for row in results["memory"]["rows"]
        ),
        "",
    ]
    return "\n".join(lines)


def _ridge_row(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"| {row['name']} | {row['status']} | | | | | |"
    errors = row.get("relative_error", {})
    shown = [
        f"{errors[key]:.0e}" if key in errors else ""
        for key in ("weights", "labels_gradient", "features_gradient")
    ]
    return (
        f"| {row['name']} | {1e3 * row['median']:.3g} | {row['times_ridge_head']:.3g} | "
        f"{row['first']:.2g} | {' | '.join(shown)} |"
    )


def _logistic_row(row: dict[str, Any]) -> str:
    shape = " x ".join(str(number) for number in row["shape"])
    start = f"| {shape} | {row['l2']:g} | {row['name']} |"
    if row["status"] != "ok":
        status = row["status"].partition(":")[0]
        return f"{start} {status} | | {row['seconds']:.2g} |"
    return (
        f"{start} {row['gradient_error']:.0e} | {row['solution_error']:.0e} | "
        f"{row['seconds']:.2g} |"
    )
