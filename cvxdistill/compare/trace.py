"""Labels along the way of a run, kept in one small file, to be measured after it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.errors import InputError
from cvxdistill.files import atomic_file
from cvxdistill.manifest import recipe_from_record
from cvxdistill.methods import MethodResult
from cvxdistill.students import Recipe

FILE = "trace.safetensors"
FORMAT = "cvxdistill.trace/1"


def marks_until(budget: float | None) -> tuple[float, ...]:
    """Return the seconds at which labels are kept: 1, 2, 5, 10, 20, 50 and so on.

    They begin at a 300th of the budget, or at one second without one, and end before the budget,
    where the final labels stand.

    Example:
        >>> marks_until(30)
        (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
    """
    first, last = (1.0, 1e6) if budget is None else (budget / 300, budget)
    # Rounded, so that 0.1 is the same number whichever way it was computed.
    series = [float(f"{digit}e{power}") for power in range(-6, 6) for digit in (1, 2, 5)]
    return tuple(mark for mark in series if first * (1 - 1e-9) <= mark < last)


@dataclasses.dataclass(frozen=True, eq=False)
class TracePoint:
    """The labels of a run at one time.

    Attributes:
        seconds: of work until they could have been handed out.
        step: steps taken.
        labels: `(m, C)` float64.
        label_kind: `distribution` or `scores`.
        recipe: how students are to be trained on them, where the method chose it.
        examples: learned base images; `None` where the base stays as it is.
    """

    seconds: float
    step: int
    labels: Tensor
    label_kind: str
    recipe: Recipe | None = None
    examples: Tensor | None = None

    def applied(self, distilled: Distilled) -> Distilled:
        """Return the artefact as it would have been at this time."""
        base = distilled.base
        if self.examples is not None:
            base = dataclasses.replace(base, images=self.examples)
        return dataclasses.replace(
            distilled,
            base=base,
            labels=self.labels,
            label_kind=self.label_kind,
            recipe=self.recipe,
        )


class Trace:
    """The file of a run's trace. Without any point there is no file.

    Args:
        path: of the file.
        owner: fingerprint of the run; the trace of another run that lies there is deleted.

    Attributes:
        points: in the order of time.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path, self.owner = path, owner
        self.points: list[TracePoint] = []
        if path.exists():
            found, points = _read(path)
            if found == owner:
                self.points = points
            else:
                path.unlink()

    def keep(self, seconds: float, step: int, result: MethodResult) -> None:
        """Add a point and write the file, all of it or nothing.

        A run that went back to its checkpoint comes by later steps again, which replace those of
        before.
        """
        earlier = [point for point in self.points if point.step < step]
        # Copies, since a learner may go on with these very tensors.
        labels = result.labels.detach().cpu().clone()
        examples = result.examples
        if examples is not None:
            examples = examples.detach().cpu().clone()
        point = TracePoint(seconds, step, labels, result.label_kind, result.recipe, examples)
        self.points = [*earlier, point]
        _write(self.path, self.owner, self.points)


def read_trace(path: Path) -> list[TracePoint]:
    """Return the points of a trace file, none where there is no file.

    Raises:
        InputError: not a readable trace.
    """
    return _read(path)[1] if path.exists() else []


def _write(path: Path, owner: str, points: list[TracePoint]) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    listed: list[dict[str, Any]] = []
    for index, point in enumerate(points):
        tensors[f"labels.{index}"] = point.labels.contiguous()
        if point.examples is not None:
            tensors[f"examples.{index}"] = point.examples.contiguous()
        listed.append(
            {
                "seconds": point.seconds,
                "step": point.step,
                "label_kind": point.label_kind,
                "recipe": None if point.recipe is None else dataclasses.asdict(point.recipe),
            }
        )
    about = {"format": FORMAT, "owner": owner, "points": listed}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})


def _read(path: Path) -> tuple[str, list[TracePoint]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        points = [
            TracePoint(
                float(found["seconds"]),
                int(found["step"]),
                tensors[f"labels.{index}"],
                str(found["label_kind"]),
                recipe_from_record(found["recipe"]),
                tensors.get(f"examples.{index}"),
            )
            for index, found in enumerate(about["points"])
        ]
        return str(about["owner"]), points
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"`{path}` is not a readable trace: {error}. Delete it.") from error
