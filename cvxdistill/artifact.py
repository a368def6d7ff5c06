"""The distilled set as an object and as a folder: self-describing, checked, without pickle.

Half of all trouble in reproducing distilled data comes from what was not saved: preprocessing,
label scale, base indices, the head. An artefact holds all of it, or it is not written.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvxdistill.checks import check_matrix
from cvxdistill.codecs import (
    Bits,
    Float64,
    LabelCodec,
    StoredLabels,
    check_label_kind,
    parse_codec,
)
from cvxdistill.data import ImageSet, content_hashes
from cvxdistill.errors import InputError
from cvxdistill.features import (
    Extractor,
    Preprocessing,
    load_extractor,
    rebuild_or_leave,
    save_extractor,
)
from cvxdistill.files import atomic_folder
from cvxdistill.heads import Head, RidgeHead
from cvxdistill.manifest import (
    FORMAT,
    MANIFEST,
    TENSORS,
    BaseRecord,
    Manifest,
    check_replaceable,
    head_from_record,
    head_record,
    manifest_text,
    of_other_labels,
    read_manifest,
    recipe_from_record,
    sha256_of,
    stored_labels,
    versions,
)
from cvxdistill.students import Recipe


@dataclasses.dataclass(frozen=True, eq=False)
class Distilled:
    """A few real examples with synthetic labels, and all that is needed to use them.

    Attributes:
        base: the base examples, with the classes and indices they have in their own data set.
        labels: `(m, C)` float64 synthetic labels, in the target's classes.
        label_kind: `distribution` (rows on the simplex; train with cross-entropy) or `scores`
            (any real numbers; train with a squared error).
        class_names: the target's classes, one a label column.
        preprocessing: what was done to images before the extractors, and is to be done for
            students.
        head: the head that the labels were solved for.
        extractors: those that the labels were solved for; a module that a user brought, or one
            from elsewhere that is not to be had again, is missing here after loading.
        recipe: how students are to be trained on the labels, where the method chose it.
        provenance: method, seeds, splits, certificate and versions, in JSON types.
        stored: the form in which `labels` are written, where it is not float64; see `stored_as`.

    Raises:
        InputError: sizes, kinds or values that do not fit.

    Example:
        >>> base = ImageSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), name="toy")
        >>> made = Distilled(base, torch.eye(2, dtype=torch.float64), "distribution", ("a", "b"))
        >>> image, label = made.as_dataset()[1]
        >>> image.shape, label.tolist()
        (torch.Size([1, 8, 8]), [0.0, 1.0])
    """

    base: ImageSet
    labels: Tensor
    label_kind: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing = dataclasses.field(default_factory=Preprocessing)
    head: Head = dataclasses.field(default_factory=RidgeHead)
    extractors: tuple[Extractor, ...] = ()
    recipe: Recipe | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stored: StoredLabels | None = None

    def __post_init__(self) -> None:
        check_matrix("labels", self.labels, rows=len(self.base), columns=len(self.class_names))
        check_label_kind(self.labels, self.label_kind)
        if self.stored is not None:
            self.stored.check_holds(self.labels, self.label_kind)

    def __len__(self) -> int:
        return len(self.base)

    @property
    def examples(self) -> Tensor:
        """The base images `(m, c, h, w)`, or features `(m, d)`, as they were stored."""
        return self.base.images

    @property
    def true_labels(self) -> Tensor | None:
        """`(m,)` the base examples' own classes, where they are classes of the target too."""
        return self.base.labels if self.base.class_names == self.class_names else None

    @property
    def bits(self) -> Bits:
        """What examples and labels take, as they are stored.

        Example:
            >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
            >>> base = ImageSet(images, torch.tensor([0, 1]), ("a", "b"), name="toy")
            >>> Distilled(base, torch.eye(2), "distribution", ("a", "b")).bits
            Bits(images=1024, labels=256, hard_labels=2)
        """
        classes = len(self.class_names)
        return Bits(
            images=8 * self.examples.element_size() * self.examples.numel(),
            labels=self.codec.bits(len(self), classes, self.label_kind),
            hard_labels=len(self) * (classes - 1).bit_length(),
        )

    @property
    def codec(self) -> LabelCodec:
        """How the labels are stored: as float64 unless `stored_as` says otherwise."""
        return Float64() if self.stored is None else self.stored.codec

    def stored_as(self, codec: str | LabelCodec, *, metric: Tensor | None = None) -> "Distilled":
        """Return a copy whose labels are those that a codec leaves of these.

        Args:
            codec: a name in `CODECS`, with options as in `topk:k=2`, or a codec.
            metric: `(m, m)`, what errors of labels do to predictions; see
                [LabelCodec.encode][cvxdistill.codecs.LabelCodec.encode].

        Raises:
            InputError: an unknown codec or option.

        Example:
            >>> base = ImageSet(torch.zeros(1, 1, 8, 8), torch.tensor([0]), ("a", "b"), name="toy")
            >>> made = Distilled(base, torch.tensor([[0.7, 0.3]]), "distribution", ("a", "b"))
            >>> made.bits.labels, made.stored_as("int8").bits.labels
            (128, 16)
        """
        codec = parse_codec(codec) if isinstance(codec, str) else codec
        stored = codec.encode(self.labels, self.label_kind, metric=metric)
        return dataclasses.replace(
            self,
            labels=stored.decode().to(self.labels.device),
            stored=None if codec == Float64() else stored,
            provenance=self.provenance if codec.exact else of_other_labels(self.provenance),
        )

    def as_dataset(self) -> TensorDataset:
        """Return `(preprocessed example, label)` pairs, both float32, for a `DataLoader`."""
        return TensorDataset(self.preprocessing(self.examples), self.labels.to(torch.float32))

    def save(self, folder: str | Path, *, codec: str | LabelCodec | None = None) -> None:
        """Write the artefact to `folder`: all of it or nothing.

        A folder that holds an artefact already is replaced, whole, once the new one is complete.

        Args:
            folder: where to.
            codec: how to store the labels, as in `stored_as`; as they are when not given.

        Raises:
            InputError: the folder holds anything that is not part of an artefact, or cannot be
                written, or an unknown codec.
        """
        folder = Path(folder)
        check_replaceable(folder)
        with atomic_folder(folder) as temporary:
            (self if codec is None else self.stored_as(codec))._write(temporary)

    def _write(self, folder: Path) -> None:
        from safetensors.torch import save_file

        stored = self.stored or Float64().encode(self.labels, self.label_kind)
        tensors = {
            "examples": self.examples,
            **stored.arrays,
            "base_labels": self.base.labels,
            "base_indices": self.base.indices,
        }
        prefixed = {f"preprocessing.{k}": v for k, v in self.preprocessing.tensors().items()}
        every = {key: value.cpu().contiguous() for key, value in {**tensors, **prefixed}.items()}
        save_file(every, folder / TENSORS)
        extractors = []
        for index, extractor in enumerate(self.extractors):
            spec = extractor.spec()
            if extractor.trained and extractor.network.trainable:
                spec["file"] = f"extractor_{index}.safetensors"
                save_extractor(extractor, folder / spec["file"])
            extractors.append(spec)
        manifest = Manifest(
            format=FORMAT,
            kind=kind_of(self.examples),
            shape=tuple(self.base.shape),
            label_kind=self.label_kind,  # type: ignore[arg-type]
            label_codec=str(self.codec),
            class_names=self.class_names,
            base=BaseRecord(
                name=self.base.name,
                split=self.base.split,
                source_split=self.base.source_split,
                class_names=self.base.class_names,
            ),
            content_hashes=tuple(content_hashes(self.examples)),
            preprocessing=self.preprocessing.record(),
            head=head_record(self.head),
            extractors=tuple(extractors),
            recipe=None if self.recipe is None else dataclasses.asdict(self.recipe),
            provenance={**self.provenance, "versions": versions()},
            files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
        )
        (folder / MANIFEST).write_text(manifest_text(manifest))

    @classmethod
    def load(cls, folder: str | Path) -> "Distilled":
        """Read an artefact and check every part of it against the manifest.

        Raises:
            InputError: not an artefact, a file missing or changed, or contents that contradict
                the manifest.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        manifest = read_manifest(folder)
        try:
            tensors = load_file(folder / TENSORS)
        except (OSError, SafetensorError) as error:
            raise InputError(f"`{folder / TENSORS}` is not readable: {error}.") from error
        kept = {k: v for k, v in tensors.items() if not k.startswith("preprocessing.")}
        arrays = {k: kept[k] for k in kept if k == "labels" or k.startswith("labels.")}
        if set(kept) - set(arrays) != {"examples", "base_labels", "base_indices"} or not arrays:
            raise InputError(f"`{folder / TENSORS}` holds other tensors: {sorted(kept)}.")
        found = tuple(kept["examples"].shape[1:])
        if found != manifest.shape or kind_of(kept["examples"]) != manifest.kind:
            raise InputError(
                f"`{folder}`: the manifest says {manifest.kind} of shape {manifest.shape}; got "
                f"{kind_of(kept['examples'])} of shape {found}."
            )
        if tuple(content_hashes(kept["examples"])) != manifest.content_hashes:
            raise InputError(f"`{folder}`: the examples do not match their content hashes.")
        base = ImageSet(
            images=kept["examples"],
            labels=kept["base_labels"],
            class_names=manifest.base.class_names,
            name=manifest.base.name,
            split=manifest.base.split,
            source_split=manifest.base.source_split,
            indices=kept["base_indices"],
        )
        stored = stored_labels(arrays, manifest, examples=len(base))
        parts = {k.partition(".")[2]: v for k, v in tensors.items() if k not in kept}
        return cls(
            base=base,
            labels=arrays["labels"] if stored is None else stored.decode(),
            label_kind=manifest.label_kind,
            class_names=manifest.class_names,
            preprocessing=Preprocessing.from_record(manifest.preprocessing, parts),
            head=head_from_record(manifest.head),
            extractors=_load_extractors(folder, manifest),
            recipe=recipe_from_record(manifest.recipe),
            provenance=manifest.provenance,
            stored=stored,
        )


def kind_of(examples: Tensor) -> Literal["images", "features"]:
    """Return what examples `(m, c, h, w)` or `(m, d)` are."""
    return "images" if examples.ndim == 4 else "features"


def _load_extractors(folder: Path, manifest: Manifest) -> tuple[Extractor, ...]:
    loaded: list[Extractor | None] = []
    for spec in manifest.extractors:
        if spec.get("file"):
            extractor = load_extractor(folder / str(spec["file"]))
            if extractor.fingerprint() != spec.get("fingerprint"):
                raise InputError(f"`{folder / str(spec['file'])}` is another extractor.")
            loaded.append(extractor)
        else:
            loaded.append(rebuild_or_leave(spec))
    return tuple(extractor for extractor in loaded if extractor is not None)
