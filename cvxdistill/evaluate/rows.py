"""Rows: what an evaluation gives, one for each setting and label set."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cvxdistill.evaluate.metrics import interval


@dataclasses.dataclass(frozen=True)
class EvalRow:
    """One cell of the result: a setting and the labels that were trained on.

    Attributes:
        setting: `same_extractor`, `unseen_extractor`, or `students`.
        network: of the students, or of the unseen extractor.
        labels: `distilled`, `hard`, `smoothed` or `full`.
        values: test accuracy of each repetition, in [0, 1]; empty when it failed.
        status: `ok`, or what went wrong.
        seconds: for all repetitions.
        choices: what was chosen on validation, such as the number of steps.
        optimiser: of students; `None` of heads, which are not trained in steps.
        steps: that students were trained for; `None` of heads and failed rows.
        step_factor: those steps as a multiple of the chosen number.
        main: the cell of its network and labels that stands for them in tables: their own
            optimiser, and the chosen number of steps.
    """

    setting: str
    network: str
    labels: str
    values: tuple[float, ...]
    status: str = "ok"
    seconds: float = 0.0
    choices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optimiser: str | None = None
    steps: int | None = None
    step_factor: float = 1.0
    main: bool = True

    @property
    def accuracy(self) -> float | None:
        """Mean test accuracy over the repetitions, or `None` of a failed row."""
        return interval(self.values).mean if self.values else None

    @property
    def accuracy_ci(self) -> tuple[float, float] | None:
        """95 % interval of the mean, or `None` of a failed row."""
        if not self.values:
            return None
        found = interval(self.values)
        return found.low, found.high

    def record(self) -> dict[str, Any]:
        """Return the row as JSON-able values."""
        return {
            **dataclasses.asdict(self),
            "values": list(self.values),
            "accuracy": self.accuracy,
            "accuracy_ci": list(self.accuracy_ci) if self.accuracy_ci else None,
        }


def nested(rows: Sequence[EvalRow], what: str = "accuracy") -> dict[str, Any]:
    """Return `accuracy` or `accuracy_ci` as nested dictionaries, the form of the JSON output.

    Rows of further optimisers and numbers of steps have no place in it.

    Example:
        >>> nested([EvalRow("students", "lenet", "hard", (0.5,))])
        {'students': {'lenet': {'hard': 0.5}}}
    """
    tree: dict[str, Any] = {}
    for row in rows:
        if not row.main:
            continue
        value = row.accuracy if what == "accuracy" else row.accuracy_ci
        branch = tree.setdefault(row.setting, {})
        if row.setting == "students":
            branch = branch.setdefault(row.network, {})
        branch[row.labels] = list(value) if isinstance(value, tuple) else value
    return tree
