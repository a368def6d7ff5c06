"""All methods on one problem, and the file that holds the result."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvxdistill.compare.rows import MethodRow, eval_row
from cvxdistill.compare.times import Reached, networks_of, time_to_accuracy
from cvxdistill.errors import InputError
from cvxdistill.evaluate import EvalRow
from cvxdistill.files import atomic_file

FORMAT = "cvxdistill.comparison/1"
FILE = "comparison.json"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All methods on one problem.

    Attributes:
        rows: one a method, in the order given.
        full: test accuracies of the full data, with the same networks.
        budget: seconds that each method had; `None` is no limit.
        reference: the method whose accuracy the others are timed to; empty for none.
        problem: what all were given.
        yardstick: what all were measured with.
        environment: versions, machine and threads.
        command: the words that made it.
    """

    rows: tuple[MethodRow, ...]
    full: tuple[EvalRow, ...] = ()
    budget: float | None = None
    reference: str = ""
    problem: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    yardstick: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: tuple[str, ...] = ()

    def networks(self, setting: str = "students") -> list[str]:
        """Return the networks that test rows of a setting have, in the order of the rows."""
        rows = [*(row for method in self.rows for row in method.evaluations), *self.full]
        return list(dict.fromkeys(row.network for row in rows if row.setting == setting))

    def curve_networks(self) -> list[str]:
        """Return the networks that curves have."""
        return networks_of(self.rows)

    def times(self) -> list[Reached]:
        """Return when each method reached levels of the reference's accuracy."""
        return time_to_accuracy(self.rows, self.reference)

    def record(self) -> dict[str, Any]:
        """Return the comparison as JSON-able values."""
        return {
            "format": FORMAT,
            "command": list(self.command),
            "environment": dict(self.environment),
            "problem": dict(self.problem),
            "yardstick": dict(self.yardstick),
            "budget": self.budget,
            "reference": self.reference,
            "rows": [row.record() for row in self.rows],
            "full": [row.record() for row in self.full],
            "time_to_accuracy": [one.record() for one in self.times()],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Comparison":
        """Restore what `record` gave.

        Raises:
            InputError: not such a record.
        """
        if record.get("format") != FORMAT:
            raise InputError(
                f"a comparison must be of format {FORMAT}; got {record.get('format')!r}. Make it "
                "again with `cvxdistill compare`."
            )
        try:
            return cls(
                rows=tuple(map(MethodRow.from_record, record["rows"])),
                full=tuple(map(eval_row, record["full"])),
                budget=record["budget"],
                reference=record["reference"],
                problem=record["problem"],
                yardstick=record["yardstick"],
                environment=record["environment"],
                command=tuple(record["command"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this record of a comparison lacks or distorts {error}.") from error

    def save(self, folder: str | Path) -> None:
        """Write `comparison.json` into a folder, all of it or nothing."""
        with atomic_file(Path(folder) / FILE) as temporary:
            temporary.write_text(json.dumps(self.record(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Comparison":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or not a comparison.
        """
        path = Path(folder) / FILE
        try:
            record = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                f"`{folder}` holds no comparison: `{FILE}` cannot be read. Give a folder that "
                "`cvxdistill compare` wrote."
            ) from error
        if not isinstance(record, dict):
            raise InputError(f"`{path}` must hold a JSON object.")
        return cls.from_record(record)
