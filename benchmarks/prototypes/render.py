"""Turn the results of `python -m benchmarks.prototypes` into one page of markdown."""

from typing import Any

ABOUT = """\
A few real examples, *prototypes*, with solved labels in the place of all embeddings of EMNIST
letters (26 classes). Extractors were trained on the training part less {validation} validation
images; their features are used as they are. Penalties are chosen on validation; accuracies are of
the test part, in percent, with 95 % intervals over {draws} draws of {candidates:,} candidates.
Every chooser sees the same candidates; the target's moments are of all {examples:,} training
examples.

`gap` is the certificate's relative gap: the share of what the full-data head explains that is
lost. `classes` is how many of the 26 classes are among the prototypes. *One-hot* labels are
solved against the classes of the training examples, *logits* against the logits that the logistic
regression gives them. *True labels* are the prototypes' own classes, fitted by the same head at
its own best penalty.
"""

READING = (
    "What the tables say:",
    "",
    "- **Solved labels first.** They are worth far more than any choice: at m = 26 random "
    "prototypes with solved labels are ahead of the best choice with true labels.",
    "- **Then what they are solved against.** The logits of a logistic regression are as good a "
    "target as one-hot classes for the closed form, and the prototypes then stand for that "
    "classifier: with a bottleneck 26 of them come within a point of it.",
    "- **Then the choice.** `greedy` is ahead of every other chooser wherever fewer examples than "
    "features are wanted, by little where few directions carry nearly all of the features' "
    "variance (the bottleneck), since random examples then find those too. At m = d + 1 every "
    "choice is lossless.",
    "- **Class means are strong prototypes**, where averages that are no examples will do: against "
    "one-hot classes 26 of them with solved labels are ahead of 26 real examples, and the rule of "
    "the nearest mean nearly as good or better; against logits real examples are ahead of both.",
    "- **With true labels choose by `kmeans`** per class: typical examples, not informative ones.",
    "",
)


def render(results: dict[str, Any]) -> str:
    """Return the page."""
    first = next(iter(results["extractors"].values()))
    about = ABOUT.format(
        validation="10,400",
        draws=results["draws"],
        candidates=results["candidates"],
        examples=first["examples"],
    )
    environment = ", ".join(f"{key} {value}" for key, value in results["environment"].items())
    lines = [
        "# Prototypes: which examples, how many",
        "",
        f"Written by `{results['command']}`; {results['threads']} thread(s); {environment}.",
        "",
        about,
        *READING,
    ]
    for name, found in results["extractors"].items():
        lines += _extractor(name, found)
    lines += ["## What was asked for", ""]
    for verdict in results["verdicts"]:
        met = "met" if verdict["met"] else "**not met**"
        lines.append(f"- {met}: {verdict['what']} (measured {verdict['measured']:.3g})")
    return "\n".join(lines) + "\n"


def _extractor(name: str, found: dict[str, Any]) -> list[str]:
    sizes = sorted({row["examples"] for row in found["rows"]})
    columns = " | ".join(f"m = {m}" for m in sizes)
    rule = "|---" * (len(sizes) + 1) + "|"
    lines = [
        f"## `{name}`, {found['features']} features",
        "",
        f"Trained for {found['steps']} batches of {found['batch_size']}.",
        "",
        "| all training examples | test accuracy |",
        "|---|---|",
        *(f"| {rival} | {100 * s['test']:.2f} |" for rival, s in found["rivals"].items()),
        "",
    ]
    for goal, title in (
        ("one-hot", "Labels solved against one-hot classes"),
        ("logits", "Labels solved against the logistic regression's logits"),
    ):
        lines += [f"### {title}", "", f"| chosen by | {columns} |", rule]
        lines += _accuracy_rows(found, goal, sizes, "solved", "")
        whole = {r["examples"]: r["test"] for r in found["whole"] if r["goal"] == goal}
        shown = " | ".join(f"{100 * whole[m]:.2f}" for m in sizes)
        lines += [f"| `greedy`, all examples as candidates | {shown} |"]
        if goal == "one-hot":
            lines += _accuracy_rows(found, goal, sizes, "true", ", true labels")
        lines += ["", f"| gap | {columns} |", rule]
        for how in _hows(found, goal):
            rows = _by_size(found, goal, how)
            cells = " | ".join(f"{rows[m]['gap']:.2g}" if m in rows else "" for m in sizes)
            lines.append(f"| `{how}` | {cells} |")
        lines.append("")
    lines += ["### Classes covered, and seconds to choose, at m = 26", ""]
    lines += ["| chosen by | classes | seconds |", "|---|---|---|"]
    for how in _hows(found, "one-hot"):
        row = _by_size(found, "one-hot", how)[26]
        lines.append(f"| `{how}` | {row['classes']:.1f} | {row['seconds']:.2f} |")
    return [*lines, ""]


def _accuracy_rows(
    found: dict[str, Any], goal: str, sizes: list[int], key: str, suffix: str
) -> list[str]:
    lines = []
    for how in _hows(found, goal):
        rows = _by_size(found, goal, how)
        cells = [_accuracy(rows[m][key]) if m in rows else "" for m in sizes]
        lines.append(f"| `{how}`{suffix} | {' | '.join(cells)} |")
    return lines


def _hows(found: dict[str, Any], goal: str) -> list[str]:
    return list(dict.fromkeys(row["how"] for row in found["rows"] if row["goal"] == goal))


def _by_size(found: dict[str, Any], goal: str, how: str) -> dict[int, dict[str, Any]]:
    return {
        row["examples"]: row for row in found["rows"] if row["goal"] == goal and row["how"] == how
    }


def _accuracy(found: dict[str, float]) -> str:
    half = 100 * (found["high"] - found["low"]) / 2
    return f"{100 * found['mean']:.2f} ± {half:.2f}"
