"""The manifest of an artefact: what it holds, how it is read, and what it is checked against."""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticSerializationError
from torch import Tensor

from cvxdistill.checks import check_choice
from cvxdistill.codecs import Float64, StoredLabels, parse_codec
from cvxdistill.errors import InputError
from cvxdistill.heads import HEADS, Head
from cvxdistill.students import Recipe

FORMAT: Literal["cvxdistill.distilled/1"] = "cvxdistill.distilled/1"
MANIFEST = "manifest.json"
TENSORS = "distilled.safetensors"
# Files that a run puts beside its artefact: replaced together with it.
RUN_FILES = (
    "labels.png",
    "checkpoint.safetensors",
    "result.json",
    "evaluation.json",
    "compression.json",
    "trace.safetensors",
)


class BaseRecord(BaseModel):
    """Where the base examples come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    split: str
    source_split: str
    class_names: tuple[str, ...]


class Manifest(BaseModel):
    """What `manifest.json` holds; unknown or missing keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["cvxdistill.distilled/1"]
    kind: Literal["images", "features"]
    shape: tuple[int, ...]
    label_kind: Literal["distribution", "scores"]
    # Artefacts of before there were others do not name it.
    label_codec: str = "float64"
    class_names: tuple[str, ...]
    base: BaseRecord
    content_hashes: tuple[str, ...]
    preprocessing: dict[str, Any]
    head: dict[str, Any]
    extractors: tuple[dict[str, Any], ...]
    recipe: dict[str, Any] | None
    provenance: dict[str, Any]
    files: dict[str, str]

    @field_validator("label_codec")
    @classmethod
    def _is_known(cls, spec: str) -> str:
        return str(parse_codec(spec))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artefact, and check that its files are the ones it was made with.

    Raises:
        InputError: no manifest, not one of this format, or a file missing or changed.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`{folder}` is not a distilled set: `{MANIFEST}` cannot be read. Give a folder that "
            "`cvxdistill distill` or Distilled.save wrote."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"`{path}` is not a valid manifest: {where}: {first['msg']}.") from error
    for name, digest in manifest.files.items():
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(f"`{folder}` lacks `{name}`, which its manifest names.")
        if sha256_of(folder / name) != digest:
            raise InputError(f"`{folder / name}` was changed after it was written.")
    stored = [str(spec["file"]) for spec in manifest.extractors if spec.get("file")]
    for name in (TENSORS, *stored):
        if name not in manifest.files:
            raise InputError(f"`{path}` does not name `{name}` among its files.")
    return manifest


def manifest_text(manifest: Manifest) -> str:
    """Return the manifest as JSON.

    Raises:
        InputError: the provenance holds what JSON has no form for.
    """
    try:
        return manifest.model_dump_json(indent=2) + "\n"
    except PydanticSerializationError as error:
        raise InputError(
            f"the provenance of an artefact must be made of JSON values: {error}."
        ) from error


def head_record(head: Head) -> dict[str, Any]:
    """Return a head as JSON-able values: its registered name and its options.

    Raises:
        InputError: a head that its name and numbers do not give back.
    """
    names = [name for name, kind in HEADS.items() if type(head) is kind]
    made: Any = head
    if not names or not dataclasses.is_dataclass(made):
        raise InputError(
            f"{type(head).__name__} cannot be written to an artefact: it is not among the "
            f"registered heads {', '.join(HEADS)}. Register it."
        )
    options = {
        field.name: getattr(made, field.name) for field in dataclasses.fields(made) if field.init
    }
    plain = {k: float(v) if isinstance(v, Tensor) else v for k, v in options.items()}
    for key, value in plain.items():
        if not isinstance(value, int | float | str | None):
            raise InputError(
                f"{type(head).__name__} cannot be written to an artefact: its `{key}` is a "
                f"{type(value).__name__}, which no file holds. Use numbers and words."
            )
    return {"name": names[0], "options": plain}


def head_from_record(record: Mapping[str, Any]) -> Head:
    """Restore what `head_record` gave.

    Raises:
        InputError: an unknown head or options it does not take.
    """
    kind = HEADS[check_choice("head", str(record.get("name")), HEADS)]
    try:
        return kind(**record.get("options", {}))
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"the head's options do not fit: {error}.") from error


def of_other_labels(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is still true of a run whose labels were changed: all but its certificate."""
    gone = {"certificate", "certificate_text"}
    return {key: None if key in gone else value for key, value in provenance.items()}


def stored_labels(
    arrays: Mapping[str, Tensor], manifest: Manifest, *, examples: int
) -> StoredLabels | None:
    """Restore the form in which labels are stored; `None` of float64, which needs no decoding.

    Raises:
        InputError: arrays that do not belong to this form.
    """
    codec = parse_codec(manifest.label_codec)
    if codec == Float64() and set(arrays) == {"labels"}:
        return None
    return StoredLabels(codec, manifest.label_kind, (examples, len(manifest.class_names)), arrays)


def recipe_from_record(record: Mapping[str, Any] | None) -> Recipe | None:
    """Restore the recipe for students, where there is one.

    Raises:
        InputError: options that a recipe does not take.
    """
    if record is None:
        return None
    try:
        lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
        return Recipe(**{**record, **lists})
    except TypeError as error:
        raise InputError(f"the recipe for students does not fit: {error}.") from error


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    import numpy

    try:
        own = version("cvxdistill")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "cvxdistill": own,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }


def check_place(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before anything is done for it.

    Raises:
        InputError: one of its parents is a file, or does not allow writing.
    """
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())
    if there != folder.absolute() and not there.is_dir():
        raise InputError(f"`{folder}` cannot be made: `{there}` is a file. Choose another folder.")
    if not os.access(there, os.W_OK):
        raise InputError(f"`{folder}` cannot be written: `{there}` does not allow it.")


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds anything but an artefact and what a run puts beside it.

    Raises:
        InputError: the folder is a file, or holds other files, which would be lost; or it cannot
            be made.
    """
    check_place(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"`{folder}` is a file; give a folder for the distilled set.")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(
            f"`{folder}` is the working folder or holds it, and cannot be replaced. Give the name "
            "of a new folder."
        )
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    try:
        listed = json.loads((folder / MANIFEST).read_text())
        ours = {MANIFEST, *listed["files"], *RUN_FILES}
        known = listed["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        known, ours = False, set()
    if not known or names - ours:
        others = ", ".join(sorted(names - ours)[:3]) or MANIFEST
        raise InputError(
            f"`{folder}` holds other files ({others}) and is left as it is. Choose a new folder."
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
