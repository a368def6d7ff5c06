"""Kuzushiji-49: 49 cursive Japanese characters, some of them rare, in four `npz` archives."""

import csv
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.files import require_root, require_split
from cvxdistill.embeddings.npz import open_npz
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_ARRAY = "arr_0"


class Kuzushiji49(DataSource):
    """270,912 cursive Japanese characters, 28 x 28 grey, 49 classes: Clanuwat et al. (2018).

    <https://arxiv.org/abs/1812.01718>. Read from the official `k49-train-imgs.npz`,
    `k49-train-labels.npz`, `k49-test-imgs.npz` and `k49-test-labels.npz` in `DATA_ROOT/K49` or in
    `DATA_ROOT` itself. Classes are named by the characters in `k49_classmap.csv` where that lies
    beside them, and by their numbers otherwise. They are of very different sizes.

    Class attributes:
        num_classes: how many there are.
        class_map: the file with their names.
        home: where the files are to be had.
    """

    name = "k49"
    num_classes: ClassVar[int] = 49
    class_map: ClassVar[str] = "k49_classmap.csv"
    home: ClassVar[str] = "http://codh.rois.ac.jp/kmnist/"

    def splits(self) -> tuple[str, ...]:
        """Return `("train", "test")`.

        Raises:
            InputError: one of the four archives is missing, or no data root.
        """
        self._folder()
        return ("train", "test")

    def load(self, split: str) -> ImageSet:
        """Read `(n, 1, h, w)` uint8 images with labels from 0 to 48.

        Raises:
            InputError: a file is missing, damaged, of other shapes or types, or does not fit the
                others.
        """
        require_split(self, split)
        folder = self._folder()
        image_file, label_file = (folder / name for name in _archives(split))
        images, labels = _read(image_file, ndim=3), _read(label_file, ndim=1)
        if len(images) != len(labels):
            raise InputError(
                f"{label_file} must have one label for each of the {len(images):,} images of "
                f"{image_file.name}; got {len(labels):,}. Replace the files by a matching pair."
            )
        if labels.max() >= self.num_classes:
            raise InputError(
                f"{label_file} must hold labels 0 to {self.num_classes - 1}; got {labels.max()}. "
                "Replace the file."
            )
        return ImageSet(
            images=torch.from_numpy(images).unsqueeze(1),
            labels=torch.from_numpy(labels.astype(np.int64)),
            class_names=self._class_names(folder / self.class_map),
            name=self.name,
            split=split,
            source_split=split,
        )

    def _folder(self) -> Path:
        """Return the folder that holds all four archives."""
        root = require_root(self)
        needed = [name for split in ("train", "test") for name in _archives(split)]
        places = (root / "K49", root)
        missing = {place: [n for n in needed if not (place / n).is_file()] for place in places}
        # The one to complain about is the one that somebody began to fill.
        place = min(places, key=lambda place: len(missing[place]))
        if not missing[place]:
            return place
        where, found = f"{places[0]} or {root}", "found none"
        if len(missing[place]) < len(needed):
            where, found = str(place), f"{missing[place][0]} is missing"
        raise InputError(
            f"{self.name} expects {', '.join(needed)} in {where}; {found}. Put them there from "
            f"{self.home} (torchvision has no copy for --download)."
        )

    def _class_names(self, path: Path) -> tuple[str, ...]:
        """Return the characters of the class map, or numbers where there is none."""
        if not path.is_file():
            return tuple(map(str, range(self.num_classes)))
        with reading(path, expected="a class map"), path.open(encoding="utf-8-sig") as stream:
            rows = {row["index"]: row["char"] for row in csv.DictReader(stream)}
        names = tuple(rows.get(str(k)) or "" for k in range(self.num_classes))
        if len(rows) != len(names) or not all(names) or len(set(names)) != len(names):
            raise InputError(
                f"{path} must name each class from 0 to {self.num_classes - 1} by another `char`; "
                f"got {len(rows)} rows that do not. Replace or remove the file."
            )
        return names


def _archives(split: str) -> tuple[str, str]:
    return f"k49-{split}-imgs.npz", f"k49-{split}-labels.npz"


def _read(path: Path, *, ndim: int) -> NDArray[np.uint8]:
    """Return the one array of an archive, checked to be unsigned bytes and not empty."""
    with open_npz(path) as archive:
        array: NDArray[Any] | None = archive[_ARRAY] if _ARRAY in archive.files else None
        others = ", ".join(archive.files)
    if array is None:
        raise InputError(
            f"{path} must hold one array `{_ARRAY}`; got {others or 'none'}. Replace the file."
        )
    if array.dtype != np.uint8 or array.ndim != ndim or not array.size:
        raise InputError(
            f"`{_ARRAY}` in {path} must be uint8 of {ndim} dimension{'s' * (ndim > 1)} and not "
            f"empty; got {array.dtype} of shape {array.shape}. Replace the file."
        )
    return array
