"""One row a method, failed ones included, and its form as JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cvxdistill.codecs import Bits
from cvxdistill.evaluate import EvalRow, nested

FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """Validation accuracy of the labels that a method had at one time.

    Attributes:
        seconds: of work.
        step: steps taken; `None` at the end of the run.
        rows: one a network.
    """

    seconds: float
    step: int | None
    rows: tuple[EvalRow, ...]

    def row(self, network: str) -> EvalRow | None:
        """Return the row of a network, if it was measured and did not fail."""
        found = [row for row in self.rows if row.network == network and row.values]
        return found[0] if found else None


@dataclasses.dataclass(frozen=True)
class MethodRow:
    """One method: what its labels are worth, and what they cost.

    Attributes:
        method: as the user wrote it.
        options: the method with all its options.
        run: folder of the run, under that of the comparison.
        key: fingerprint of all that the row depends on.
        status: `solved`, `stopped_early` or `failed`.
        reason: why it failed.
        seconds: from data in memory to labels.
        peak_memory: most bytes of resident memory of the process while it worked.
        peak_gpu_memory: most bytes of tensors on the GPU.
        target_passes: how often each target example went through a network.
        bits: what its examples and labels take.
        stored: what those bits are made of.
        evaluations: test accuracies of its labels.
        curve: validation accuracies along the way, the end included.
    """

    method: str
    options: str
    run: str
    key: str
    status: str = FAILED
    reason: str = ""
    seconds: float | None = None
    peak_memory: int | None = None
    peak_gpu_memory: int | None = None
    target_passes: float | None = None
    bits: Bits | None = None
    stored: Mapping[str, str] = dataclasses.field(default_factory=dict)
    evaluations: tuple[EvalRow, ...] = ()
    curve: tuple[CurvePoint, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there are no labels."""
        return self.status == FAILED

    def evaluation(self, setting: str, network: str | None = None) -> EvalRow | None:
        """Return the test row of a setting, and of a network where there are several."""
        for row in self.evaluations:
            if row.setting == setting and network in (None, row.network):
                return row
        return None

    def record(self) -> dict[str, Any]:
        """Return the row as JSON-able values."""
        bits = self.bits
        return {
            **dataclasses.asdict(self),
            "bits": None if bits is None else {**dataclasses.asdict(bits), "total": bits.total},
            "accuracy": _of_distilled(self.evaluations, "accuracy"),
            "accuracy_ci": _of_distilled(self.evaluations, "accuracy_ci"),
            "evaluations": [row.record() for row in self.evaluations],
            "curve": [
                {
                    "seconds": point.seconds,
                    "step": point.step,
                    "rows": [row.record() for row in point.rows],
                }
                for point in self.curve
            ],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "MethodRow":
        """Restore what `record` gave."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {key: value for key, value in record.items() if key in names}
        bits = known["bits"]
        known["bits"] = None if bits is None else Bits(*(bits[f.name] for f in _BITS))
        known["evaluations"] = tuple(map(eval_row, record["evaluations"]))
        known["curve"] = tuple(
            CurvePoint(found["seconds"], found["step"], tuple(map(eval_row, found["rows"])))
            for found in record["curve"]
        )
        return cls(**known)


_BITS = dataclasses.fields(Bits)


def eval_row(record: Mapping[str, Any]) -> EvalRow:
    """Restore an evaluation row from its record."""
    names = {field.name for field in dataclasses.fields(EvalRow)}
    known = {key: value for key, value in record.items() if key in names}
    return EvalRow(**{**known, "values": tuple(known["values"])})


def _of_distilled(rows: tuple[EvalRow, ...], what: str) -> dict[str, Any]:
    """Return the tree of `nested` without its innermost level, which has one label set only."""
    tree = nested(rows, what)
    return {
        setting: {network: leaf["distilled"] for network, leaf in branch.items()}
        if setting == "students"
        else branch["distilled"]
        for setting, branch in tree.items()
    }
