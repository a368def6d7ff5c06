"""What every format carries beside its arrays, as one JSON text, and the way back to an object."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError
from torch import Tensor

from cvxdistill.artifact import Distilled, kind_of
from cvxdistill.data import ImageSet, content_hashes
from cvxdistill.errors import InputError
from cvxdistill.features import Extractor, Preprocessing, rebuild_or_leave
from cvxdistill.manifest import (
    BaseRecord,
    head_from_record,
    head_record,
    recipe_from_record,
)

FORMAT: Literal["cvxdistill.export/1"] = "cvxdistill.export/1"
DType = Literal["uint8", "float16", "bfloat16", "float32", "float64"]


class Record(BaseModel):
    """All of a distilled set but its arrays; unknown or missing keys are errors.

    Attributes:
        format: what wrote it, and the version of this form.
        kind: `images` or `features`.
        shape: of one example, `(c, h, w)` or `(d,)`.
        dtype: of the examples, to which a format that lacks the type casts back.
        label_kind: `distribution` or `scores`.
        label_codec: how the artefact stored its labels; here they are decoded.
        class_names: of the target, one a label column.
        base: where the base examples come from.
        content_hashes: SHA-256 of each example.
        digest: SHA-256 of labels, base classes and base indices.
        preprocessing: kind, `zca_l2` and fingerprint.
        head: name and options.
        extractors: what is known of each; weights of trained ones are not exported.
        recipe: how students are to be trained, or `None`.
        provenance: how the labels came about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["cvxdistill.export/1"]
    kind: Literal["images", "features"]
    shape: tuple[int, ...]
    dtype: DType
    label_kind: Literal["distribution", "scores"]
    label_codec: str
    class_names: tuple[str, ...]
    base: BaseRecord
    content_hashes: tuple[str, ...]
    digest: str
    preprocessing: dict[str, Any]
    head: dict[str, Any]
    extractors: tuple[dict[str, Any], ...]
    recipe: dict[str, Any] | None
    provenance: dict[str, Any]

    def text(self) -> str:
        """Return the record as indented JSON.

        Raises:
            InputError: the provenance holds what JSON has no form for.
        """
        try:
            return self.model_dump_json(indent=2) + "\n"
        except PydanticSerializationError as error:
            raise InputError(f"a provenance must be made of JSON values: {error}.") from error

    @classmethod
    def parse(cls, text: str | bytes) -> "Record":
        """Read what `text()` gave.

        Raises:
            InputError: not JSON, another format, or keys missing, unknown or of a wrong kind.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise InputError(
                f"the record of the distilled set is not valid: {where}: {first['msg']}. Export "
                "it again."
            ) from error


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """A distilled set taken apart: what a format writes, and what it must give back.

    Attributes:
        record: all but the arrays.
        examples: `(m, c, h, w)` or `(m, d)`, on the CPU.
        labels: `(m, C)` float64.
        base_labels: `(m,)` int64 classes of the base examples in their own data set.
        base_indices: `(m,)` int64 indices in their own data set.
        preprocessing: tensors of the preprocessing by name; empty where nothing is done.
        results: what an evaluation said, in the form of a run's `result.json`, for formats with a
            place for prose; it is not read back.
    """

    record: Record
    examples: Tensor
    labels: Tensor
    base_labels: Tensor
    base_indices: Tensor
    preprocessing: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    results: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, distilled: Distilled, results: Mapping[str, Any] | None = None) -> "Contents":
        """Take a distilled set apart.

        Raises:
            InputError: a head or a provenance that JSON cannot hold, or examples of another type.
        """
        dtype = str(distilled.examples.dtype).removeprefix("torch.")
        if dtype not in get_args(DType):
            raise InputError(f"examples must be one of {', '.join(get_args(DType))}; got {dtype}.")
        base = distilled.base
        examples = base.images.detach().cpu().contiguous()
        labels = distilled.labels.detach().to("cpu", torch.float64).contiguous()
        classes, indices = base.labels.cpu(), base.indices.cpu()
        record = Record(
            format=FORMAT,
            kind=kind_of(examples),
            shape=base.shape,
            dtype=dtype,  # type: ignore[arg-type]
            label_kind=distilled.label_kind,  # type: ignore[arg-type]
            label_codec=str(distilled.codec),
            class_names=distilled.class_names,
            base=BaseRecord(
                name=base.name,
                split=base.split,
                source_split=base.source_split,
                class_names=base.class_names,
            ),
            content_hashes=_hashes(examples),
            digest=_digest(labels, classes, indices),
            preprocessing=distilled.preprocessing.record(),
            head=head_record(distilled.head),
            extractors=tuple(_spec(extractor) for extractor in distilled.extractors),
            recipe=None if distilled.recipe is None else dataclasses.asdict(distilled.recipe),
            provenance=dict(distilled.provenance),
        )
        tensors = {key: value.cpu() for key, value in distilled.preprocessing.tensors().items()}
        return cls(record, examples, labels, classes, indices, tensors, results)

    def restore(self) -> Distilled:
        """Put the distilled set together again, and check that it is the one that was exported.

        Raises:
            InputError: arrays of other types or sizes than the record says, values that are no
                labels or not finite, or contents that were changed.
        """
        record = self.record
        self._check_form()
        base = ImageSet(
            images=self.examples,
            labels=self.base_labels,
            class_names=record.base.class_names,
            name=record.base.name,
            split=record.base.split,
            source_split=record.base.source_split,
            indices=self.base_indices,
        )
        distilled = Distilled(
            base=base,
            labels=self.labels,
            label_kind=record.label_kind,
            class_names=record.class_names,
            preprocessing=Preprocessing.from_record(record.preprocessing, self.preprocessing),
            head=head_from_record(record.head),
            extractors=_drawn(record.extractors),
            recipe=recipe_from_record(record.recipe),
            provenance=record.provenance,
        )
        if _hashes(self.examples) != record.content_hashes:
            raise InputError("the examples are not those that were exported: they were changed.")
        if _digest(self.labels, self.base_labels, self.base_indices) != record.digest:
            raise InputError(
                "labels, classes or indices are not those that were exported: they were changed."
            )
        return distilled

    def _check_form(self) -> None:
        record, count = self.record, len(self.record.content_hashes)
        classes = len(record.class_names)
        expected = {
            "examples": (record.dtype, (count, *record.shape)),
            "labels": ("float64", (count, classes)),
            "base_labels": ("int64", (count,)),
            "base_indices": ("int64", (count,)),
        }
        for name, (dtype, shape) in expected.items():
            value = getattr(self, name)
            found = str(value.dtype).removeprefix("torch.")
            if (found, tuple(value.shape)) != (dtype, shape):
                raise InputError(
                    f"`{name}` must be {dtype} of shape {shape}, as the record says; got {found} "
                    f"of shape {tuple(value.shape)}."
                )


def _hashes(examples: Tensor) -> tuple[str, ...]:
    # numpy lacks bfloat16; the bytes are the same under another name.
    plain = examples.view(torch.int16) if examples.dtype == torch.bfloat16 else examples
    return tuple(content_hashes(plain))


def _digest(*arrays: Tensor) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _spec(extractor: Extractor) -> dict[str, Any]:
    """Return what is known of an extractor, and whether its weights are left out."""
    left_out = extractor.trained and extractor.network.trainable
    return {**extractor.spec(), "left_out": True} if left_out else extractor.spec()


def _drawn(specs: tuple[dict[str, Any], ...]) -> tuple[Extractor, ...]:
    """Draw again those extractors that their record gives back; trained ones are missing."""
    found = [rebuild_or_leave(spec) for spec in specs if not spec.get("left_out")]
    return tuple(extractor for extractor in found if extractor is not None)
