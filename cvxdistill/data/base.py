"""What a data set is: images in memory with labels, and the sources that read them.

A data set is one tensor, kept as the unsigned bytes it was stored as, so that it fits in memory,
moves to a GPU in one copy and needs no worker processes.
"""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor

from cvxdistill.checks import check_class_labels, check_finite
from cvxdistill.data.items import ItemStream, MemoryItems
from cvxdistill.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled examples in memory: images, or feature vectors that need no extractor.

    Attributes:
        images: `(n, c, h, w)` uint8 (0..255) or floating images, or `(n, d)` floating features.
        labels: `(n,)` int64 class labels, counted from 0.
        class_names: one name a class; its length is the number of classes `C`.
        name: the data set, such as `mnist`.
        split: the part of it, such as `train`.
        indices: `(n,)` int64, the position of each example in the source's own order of
            `source_split`; what an artefact records of its base examples.
        source_split: the split that `indices` count in (`train`, `test` or `all`).

    Raises:
        InputError: shapes, dtypes or label values that do not fit.

    Example:
        >>> images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
        >>> data = ImageSet(images, torch.tensor([0, 1, 0, 1]), ("a", "b"), name="toy")
        >>> len(data), data.num_classes, data.shape
        (4, 2, (1, 8, 8))
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    name: str
    split: str = "all"
    indices: Tensor = dataclasses.field(default=None)  # type: ignore[assignment]
    source_split: str = "all"

    def __post_init__(self) -> None:
        images = self.images
        if images.ndim not in (2, 4):
            raise InputError(
                f"`images` must be (n, c, h, w), or (n, d) for features; got {tuple(images.shape)}."
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise InputError(f"`images` must be uint8 or floating point; got {images.dtype}.")
        if images.ndim == 2 and not images.is_floating_point():
            raise InputError(f"features (n, d) must be floating point; got {images.dtype}.")
        check_finite("images", images)
        if len(self.labels) != len(images):
            raise InputError(
                f"`labels` must have one entry an image; got {len(self.labels)} labels for "
                f"{len(images)} images."
            )
        labels = check_class_labels("labels", self.labels, num_classes=self.num_classes)
        object.__setattr__(self, "labels", labels)
        indices = cast("Tensor | None", self.indices)
        if indices is None:
            object.__setattr__(self, "indices", torch.arange(len(images)))
        elif indices.shape != labels.shape:
            raise InputError(
                f"`indices` must have one entry an image; got shape {tuple(indices.shape)} "
                f"for {len(images)} images."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """Number of classes `C`."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: `(c, h, w)`, or `(d,)` for features."""
        return tuple(self.images.shape[1:])

    @property
    def class_counts(self) -> Tensor:
        """`(C,)` number of examples in each class."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def subset(self, positions: Tensor, *, split: str | None = None) -> "ImageSet":
        """Return the examples at `positions` (int64, into this set), their `indices` kept."""
        return dataclasses.replace(
            self,
            images=self.images[positions.to(self.images.device)],
            labels=self.labels[positions.to(self.labels.device)],
            indices=self.indices[positions.to(self.indices.device)],
            split=self.split if split is None else split,
        )

    def items(self) -> ItemStream:
        """Return the examples to be read piece by piece, as those of larger sets are."""
        return MemoryItems(
            self.images,
            self.labels,
            self.class_names,
            self.indices,
            name=self.name,
            split=self.split,
            digest=self.fingerprint(),
        )

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the set with images and labels on `device`; `indices` stay on the CPU."""
        return dataclasses.replace(
            self, images=self.images.to(device), labels=self.labels.to(device)
        )

    def fingerprint(self) -> str:
        """SHA-256 over shape, dtype, images and labels: equal for equal content."""
        digest = hashlib.sha256(f"{self.images.dtype}{tuple(self.images.shape)}".encode())
        digest.update(self.images.cpu().contiguous().numpy().tobytes())
        digest.update(self.labels.cpu().numpy().tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class DataSource(ABC):
    """Where a data set is read from. To add one: a subclass here, one line in `DATASETS`.

    The contract, checked for every registered source: `load(split)` returns the same `ImageSet`
    each time, with labels from 0, `class_names` naming every class, and `split` one of
    `splits()`. A source with an official test split offers `("train", "test")`; one without
    offers `("all",)`, and the caller divides it (see `cvxdistill.data.splits`).

    Attributes:
        data_root: folder with the files, for sources that read named data sets.
        path: the part after the colon of `folder:PATH` or `npz:PATH`.
        download: fetch missing files with torchvision, where the source can.

    Class attributes:
        name: the key in `DATASETS`.
        needs_path: written `name:PATH` instead of `name`.
        default_validation: share of the training split set aside when nobody says how much.
        default_test_fraction: share of `all` held out as test when nobody says how much; `None`
            means that somebody must.
    """

    data_root: Path | None = None
    path: Path | None = None
    download: bool = False

    name: ClassVar[str]
    needs_path: ClassVar[bool] = False
    default_validation: ClassVar[float] = 0.1
    default_test_fraction: ClassVar[float | None] = None

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Return the splits that can be read, in the order train, validation, test; or `all`.

        Raises:
            InputError: the files are not there.
        """

    def fitted(
        self,
        shape: tuple[int, ...],  # noqa: ARG002
        how: str,  # noqa: ARG002
    ) -> "DataSource":
        """Return the source to read base examples from that are then given to `fit_images`.

        It is this one where all images have one size. Sources whose images may differ return one
        that makes each fit as it is read.

        Args:
            shape: `(c, h, w)` of the target.
            how: a key of `FITS`.
        """
        return self

    def items(self, split: str) -> ItemStream:
        """Return one of `splits()` to be read piece by piece; loaded first unless overridden.

        Sources whose examples are files of their own override it.

        Raises:
            InputError: as `load`.
        """
        return self.load(split).items()

    @abstractmethod
    def load(self, split: str) -> ImageSet:
        """Read one of `splits()` into memory.

        Raises:
            InputError: files missing, truncated or of the wrong kind.
        """
