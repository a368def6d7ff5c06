"""CIFAR-10 and CIFAR-100 from their official Python batches, as a folder or as the archive."""

import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.cifar_batches import read_batch
from cvxdistill.data.files import fetch_with_torchvision, require_root, require_split
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_PIXELS = 3 * 32 * 32


class CifarSource(DataSource):
    """32 x 32 colour images in pickled batches: Krizhevsky (2009).

    <https://www.cs.toronto.edu/~kriz/cifar.html>. Read from `DATA_ROOT/<folder>/` or, where that
    is absent, from `DATA_ROOT/<archive>`, without running the pickles.

    Class attributes:
        folder: the folder inside the archive.
        archive: the file as it is distributed.
        batches: the files of each split.
        meta: the file with the class names.
        labels_key: the entry of a batch that holds the labels.
        names_key: the entry of `meta` that holds the class names.
        num_classes: how many names there must be.
        torchvision_name: torchvision's class, for downloading.
    """

    folder: ClassVar[str]
    archive: ClassVar[str]
    batches: ClassVar[dict[str, tuple[str, ...]]]
    meta: ClassVar[str]
    labels_key: ClassVar[str]
    names_key: ClassVar[str]
    num_classes: ClassVar[int]
    torchvision_name: ClassVar[str]

    def splits(self) -> tuple[str, ...]:
        """Return `("train", "test")`.

        Raises:
            InputError: neither the folder nor the archive is there.
        """
        self._locate()
        return tuple(self.batches)

    def load(self, split: str) -> ImageSet:
        """Read `(n, 3, 32, 32)` uint8 images in the official order.

        Raises:
            InputError: a file is missing, damaged, of other shapes, or not the pickle it should
                be.
        """
        require_split(self, split)
        place = self._locate()
        files = self._read((self.meta, *self.batches[split]))
        meta = read_batch(files.pop(self.meta), name=f"{place}: {self.meta}")
        parts = [
            self._parse(read_batch(content, name=f"{place}: {name}"), f"{place}: {name}")
            for name, content in files.items()
        ]
        return ImageSet(
            images=torch.from_numpy(np.concatenate([images for images, _ in parts])),
            labels=torch.from_numpy(np.concatenate([labels for _, labels in parts])),
            class_names=self._class_names(meta, f"{place}: {self.meta}"),
            name=self.name,
            split=split,
            source_split=split,
        )

    def _locate(self) -> Path:
        """Return the folder, or the archive where there is no folder."""
        root = require_root(self)
        candidates = (root / self.folder, root / self.archive)
        if self.download and not any(path.exists() for path in candidates):
            fetch_with_torchvision(self, root, self.torchvision_name)
        for path in candidates:
            if path.exists():
                return path
        copy = root / f"{self.name}-jpeg.tar.gz"
        hint = f", or read the lossy copy there as folder:{copy}" if copy.is_file() else ""
        raise InputError(
            f"{self.name} expects the official {self.folder}/ or {self.archive} in {root}; found "
            f"neither. Put one there, pass `download` (--download){hint}."
        )

    def _read(self, names: tuple[str, ...]) -> dict[str, bytes]:
        """Return the bytes of the named files, in the order named."""
        place = self._locate()
        found: dict[str, bytes] = {}
        if place.is_dir():
            for name in names:
                if (place / name).is_file():
                    with reading(place / name, expected="a CIFAR batch"):
                        found[name] = (place / name).read_bytes()
        else:
            wanted = {f"{self.folder}/{name}": name for name in names}
            with reading(place, expected="a tar archive"), tarfile.open(place, "r:*") as archive:
                for member in archive:
                    path = member.name.removeprefix("./")
                    file = archive.extractfile(member) if path in wanted else None
                    if file is not None:
                        found[wanted[path]] = file.read()
        absent = [name for name in names if name not in found]
        if absent:
            raise InputError(
                f"{self.name} expects {', '.join(names)} in {place}; {absent[0]} is missing. "
                "Replace it by a complete copy."
            )
        return {name: found[name] for name in names}

    def _parse(
        self, batch: dict[str, Any], name: str
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images and labels of one batch, checked."""
        images, labels = batch.get("data"), batch.get(self.labels_key)
        if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != _PIXELS:
            shape = images.shape if isinstance(images, np.ndarray) else type(images).__name__
            raise InputError(
                f"{name} must hold `data` of shape (n, {_PIXELS}); got {shape}. Replace the file."
            )
        if (
            not isinstance(labels, list)
            or len(labels) != len(images)
            or not all(type(k) is int and 0 <= k < self.num_classes for k in labels)
        ):
            raise InputError(
                f"{name} must hold `{self.labels_key}`, a list of {len(images)} numbers from 0 to "
                f"{self.num_classes - 1}; got something else. Replace the file."
            )
        return images.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)

    def _class_names(self, meta: dict[str, Any], name: str) -> tuple[str, ...]:
        names = meta.get(self.names_key)
        if not isinstance(names, list) or len(names) != self.num_classes:
            raise InputError(
                f"{name} must hold `{self.names_key}`, a list of {self.num_classes} class names; "
                "got something else. Replace the file."
            )
        return tuple(map(str, names))


class Cifar10(CifarSource):
    """50,000 + 10,000 images in 10 classes."""

    name = "cifar10"
    folder = "cifar-10-batches-py"
    archive = "cifar-10-python.tar.gz"
    batches: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test": ("test_batch",),
    }
    meta = "batches.meta"
    labels_key = "labels"
    names_key = "label_names"
    num_classes = 10
    torchvision_name = "CIFAR10"


class Cifar100(CifarSource):
    """50,000 + 10,000 images in 100 classes (the fine labels)."""

    name = "cifar100"
    folder = "cifar-100-python"
    archive = "cifar-100-python.tar.gz"
    batches: ClassVar[dict[str, tuple[str, ...]]] = {"train": ("train",), "test": ("test",)}
    meta = "meta"
    labels_key = "fine_labels"
    names_key = "fine_label_names"
    num_classes = 100
    torchvision_name = "CIFAR100"
