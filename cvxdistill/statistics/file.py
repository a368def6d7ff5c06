"""The file of moments: one safetensors file with a record, checked when it is read."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.files import atomic_file
from cvxdistill.statistics.source import Source

FORMAT: Literal["cvxdistill.statistics/2"] = "cvxdistill.statistics/2"
# Rows that all weigh 1; sums of targets in the place of rows of each class; no names.
OLD_FORMAT = "cvxdistill.statistics/1"
# With `d` features and `C` targets.
SHAPES = {
    "feature_mean": "d",
    "feature_mean_rest": "d",
    "label_mean": "C",
    "label_mean_rest": "C",
    "feature_scatter": "dd",
    "cross_scatter": "dC",
    "label_scatter": "CC",
}
TENSORS = tuple(SHAPES)
MEANS = TENSORS[:4]
# What the format before lacks.
_RESTS = ("feature_mean_rest", "label_mean_rest")
# Moments that belong together agree to this, relative to their size.
ROUNDING = 1e-9


class Record(BaseModel):
    """What the file says besides its tensors; unknown or missing keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["cvxdistill.statistics/2"]
    count: int = Field(ge=0)
    weight: float = Field(ge=0, allow_inf_nan=False)
    target_kind: Literal["classes", "real", "none"]
    target_names: tuple[str, ...] = ()
    extractor: str | None = None
    sources: tuple[Source, ...] = ()


def write_moments(path: Path, record: Record, tensors: dict[str, Tensor]) -> None:
    """Write moments to one safetensors file, atomically.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    from safetensors.torch import save_file

    stored = {name: value.cpu().contiguous() for name, value in tensors.items()}
    with atomic_file(path) as temporary:
        save_file(stored, temporary, metadata={"about": record.model_dump_json()})


def read_moments(path: Path) -> tuple[Record, dict[str, Tensor]]:
    """Read what `write_moments` wrote, now or in the format before.

    Raises:
        InputError: no such file, not such a file, or contents that contradict one another.
    """
    about, tensors = _read(path)
    if about.get("format") not in (FORMAT, OLD_FORMAT):
        raise InputError(
            f"`{path}` must be a file of format {FORMAT}; got {about.get('format')!r} with "
            f"tensors {sorted(tensors)[:8]}. Write it with TargetStatistics.save."
        )
    if about["format"] == OLD_FORMAT and not tensors.keys() & set(_RESTS):
        rests = {f"{name}_rest": tensors.get(name) for name in ("feature_mean", "label_mean")}
        tensors |= {name: torch.zeros_like(v) for name, v in rests.items() if v is not None}
    _check_tensors(path, tensors, counted=about.get("target_kind") != "real")
    if about["format"] == OLD_FORMAT:
        about = _upgraded(path, about, tensors)
    try:
        record = Record.model_validate(about)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        raise InputError(f"`{path}`: `{where}`: {first['msg']}.") from error
    if record.target_kind == "classes" and not _are_classes(record.count, record.weight, tensors):
        raise InputError(
            f"`{path}`: count, weight, label moments and class counts contradict one another; got "
            f"{record.count} examples and class counts {tensors['class_counts'].tolist()[:8]}."
        )
    if record.target_kind == "none" and record.count:
        raise InputError(f"`{path}`: {record.count} examples must have targets; got kind `none`.")
    return record, tensors


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"`{path}` is not a readable statistics file: {error}.") from error
    return about if isinstance(about, dict) else {}, tensors


def _check_tensors(path: Path, tensors: dict[str, Tensor], *, counted: bool) -> None:
    expected = {*TENSORS, "class_counts"} if counted else set(TENSORS)
    if set(tensors) != expected:
        raise InputError(
            f"`{path}` must be a file of format {FORMAT} with tensors {sorted(expected)}; got "
            f"{sorted(tensors)[:8]}. Write it with TargetStatistics.save."
        )
    sizes = {"d": tensors["feature_mean"].numel(), "C": tensors["label_mean"].numel()}
    for name, value in tensors.items():
        shape = tuple(sizes[letter] for letter in {**SHAPES, "class_counts": "C"}[name])
        if value.shape != shape or value.dtype != torch.float64 or not value.numel():
            raise InputError(
                f"`{path}`: `{name}` must be float64 of shape {shape}; got {value.dtype} of shape "
                f"{tuple(value.shape)}."
            )
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"`{path}`: `{name}` holds NaN or infinite entries.")


def _are_classes(count: int, weight: float, tensors: dict[str, Tensor]) -> bool:
    """Say whether the label moments are those of one-hot targets, with so many rows a class."""
    rows, mean = tensors["class_counts"], tensors["label_mean"]
    if bool((rows != rows.round()).any()) or float(rows.min()) < 0 or float(rows.sum()) != count:
        return False
    if weight == 0:
        return True
    # `shifted_labels` adds a constant to every column, which shares tell: they sum to 1.
    shares = mean - (mean.sum() - 1) / len(mean)
    expected = weight * (shares.diag() - torch.outer(shares, shares))
    missed = (tensors["label_scatter"] - expected).abs().max()
    return float(missed) <= ROUNDING * weight and float(shares.min()) >= -ROUNDING


def _upgraded(path: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the record of an old file as one of today; sums of real targets are taken out."""
    text = str(about.get("count"))
    if not text.isdecimal():
        raise InputError(f"`{path}`: the count must be a whole number; got {text!r}.")
    count, sums = int(text), tensors["class_counts"]
    # Equal but for rounding, and for the constant that `shifted_labels` adds to every column.
    excess = tensors["label_mean"] * count - sums
    size = sums.abs().max() + (count * tensors["label_scatter"].trace()).sqrt()
    if float((excess - excess.mean()).abs().max()) > ROUNDING * float(size):
        raise InputError(
            f"`{path}`: count, label mean and class counts contradict one another; got {count} "
            f"examples and class counts {sums.tolist()[:8]}."
        )
    kind = "classes" if count else "none"
    if count and not _are_classes(count, float(count), tensors):
        kind = "real"
        del tensors["class_counts"]
    return {"format": FORMAT, "count": count, "weight": float(count), "target_kind": kind}
