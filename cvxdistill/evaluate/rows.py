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
    """

    setting: str
    network: str
    labels: str
    values: tuple[float, ...]
    status: str = "ok"
    seconds: float = 0.0
    choices: Mapping[str, Any] = dataclasses.field(default_factory=dict)

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

    Example:
        >>> nested([EvalRow("students", "lenet", "hard", (0.5,))])
        {'students': {'lenet': {'hard': 0.5}}}
    """
    tree: dict[str, Any] = {}
    for row in rows:
        value = row.accuracy if what == "accuracy" else row.accuracy_ci
        branch = tree.setdefault(row.setting, {})
        if row.setting == "students":
            branch = branch.setdefault(row.network, {})
        branch[row.labels] = list(value) if isinstance(value, tuple) else value
    return tree
