"""What every codec takes and costs: heads on test features, students from scratch."""

import dataclasses
from typing import Any

from benchmarks.storage.study import Study, accuracies, say
from cvxdistill.artifact import Distilled
from cvxdistill.codecs import parse_codec
from cvxdistill.compress import candidates
from cvxdistill.evaluate import evaluate_students, interval
from cvxdistill.students import Recipe

# Budgets in bits an entry, for the choice on validation; what side information takes fits in.
BUDGETS = (9.0, 4.5, 2.5, 1.5, 1.0)
# What students are trained on, and how many times as many as usual: two of the same initial weights
# differ by a point as soon as labels differ in their third digit, so that small losses take many.
TRAINED = {"float64": 5, "int8": 5, "int4": 1, "int2": 1}
STUDENT, STEPS = "lenet", (50, 100)


def measure(study: Study, kind: str, *, student_seeds: int) -> dict[str, Any]:
    """Return the rows of one kind of labels, and the choices within budgets."""
    sizes = study.made[kind][0].labels.shape
    codecs = [parse_codec("float64"), *candidates(*sizes)]
    ways = [
        (codec, way) for codec in codecs for way in ((False, True) if codec.steers else (False,))
    ]
    rows = [_row(study, kind, str(codec), feedback=way) for codec, way in ways]
    if student_seeds:
        train_students(study, kind, rows, student_seeds)
    return {
        "dataset": study.name,
        "kind": kind,
        "examples": sizes[0],
        "classes": sizes[1],
        "image_bits": study.made[kind][0].bits.images,
        "rows": rows,
        "choices": [_choice(rows, budget) for budget in BUDGETS],
    }


def _row(study: Study, kind: str, codec: str, *, feedback: bool) -> dict[str, Any]:
    say(study.name, kind, codec, "feedback" if feedback else "")
    row: dict[str, Any] = {"codec": codec, "feedback": feedback, "students": None}
    row |= {key: [] for key in ("max_error", "relative_error", "own", "unseen", "validation")}
    for draw, plain in enumerate(study.made[kind]):
        made = stored(study, kind, draw, codec, feedback=feedback)
        error = made.labels - plain.labels
        row["bits"] = made.bits.labels
        row["bits_per_entry"] = made.bits.labels / plain.labels.numel()
        row["max_error"].append(float(error.abs().max()))
        row["relative_error"].append(float(error.norm() / plain.labels.norm()))
        row["own"] += accuracies(study, [study.own], draw, made.labels, tested=True)
        row["unseen"].append(accuracies(study, study.unseen, draw, made.labels, tested=True))
        chosen_by = [
            accuracies(study, views, draw, made.labels, tested=False)
            for views in ([study.own], study.held_out)
        ]
        row["validation"].append([interval(values).mean for values in chosen_by])
    return row


def stored(study: Study, kind: str, draw: int, codec: str, *, feedback: bool) -> Distilled:
    """Return the distilled set of a draw with its labels stored by a codec."""
    metric = study.metrics[draw] if feedback else None
    return study.made[kind][draw].stored_as(codec, metric=metric)


def _choice(rows: list[dict[str, Any]], budget: float) -> dict[str, Any]:
    """Return the codec within the budget that loses least on validation, over all base draws.

    The rule is that of `choose_codec`: the loss in the setting where that is most.
    """
    plain = rows[0]["validation"]

    def loss(row: dict[str, Any]) -> float:
        pairs = list(zip(plain, row["validation"], strict=True))
        lost = [[before[place] - after[place] for before, after in pairs] for place in (0, 1)]
        return max(interval(values).mean for values in lost)

    within = [row for row in rows[1:] if row["bits_per_entry"] <= budget]
    if not within:
        return {"budget": budget, "codec": None}
    best = min(within, key=lambda row: (loss(row), row["bits"]))
    return {
        "budget": budget,
        "codec": best["codec"],
        "feedback": best["feedback"],
        "bits_per_entry": best["bits_per_entry"],
        "validation_loss": loss(best),
    }


def train_students(study: Study, kind: str, rows: list[dict[str, Any]], seeds: int) -> None:
    """Train students on the labels of some rows, by the recipe that suits the plain labels."""
    recipe, scale = _recipe(study, kind)
    for row in rows:
        if row["feedback"] or row["codec"] not in TRAINED:
            continue
        row["students"], row["recipe"] = [], {"steps": recipe.checkpoints[0], "scale": scale}
        for draw in range(len(study.made[kind])):
            say(study.name, kind, "students", row["codec"], draw)
            made = stored(study, kind, draw, row["codec"], feedback=row["feedback"])
            scaled = dataclasses.replace(
                made, labels=scale * made.labels, stored=None, recipe=recipe
            )
            (found,) = evaluate_students(
                scaled,
                study.test,
                students=[STUDENT],
                seeds=seeds * TRAINED[row["codec"]],
                label_sets=["distilled"],
                seed=draw,
            )
            row["students"].append(list(found.values))


def _recipe(study: Study, kind: str) -> tuple[Recipe, float]:
    """Choose steps and scale on validation, at the first base draw and uncompressed."""
    (found,) = evaluate_students(
        study.made[kind][0],
        study.validation,
        validation=study.validation,
        students=[STUDENT],
        seeds=2,
        label_sets=["distilled"],
        recipe=Recipe(checkpoints=STEPS),
        seed=1_000,
    )
    steps = int(found.choices["steps"])
    return Recipe(checkpoints=(steps,)), float(found.choices.get("scale", 1.0))
