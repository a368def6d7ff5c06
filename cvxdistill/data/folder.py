"""Image folders, on disk or inside a tar: one folder a class, split or not."""

import dataclasses
import functools
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.files import require_path, require_split
from cvxdistill.data.fit import fit_pixels
from cvxdistill.data.images import SUFFIXES, decode_images
from cvxdistill.data.items import FileItems, ItemStream
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}

Layout = dict[str, dict[str, list[str]]]
"""Split to class to file names, each in order."""


@dataclasses.dataclass(frozen=True)
class ImageFolder(DataSource):
    """A tree of image files, `folder:PATH`: the layout of torchvision's `ImageFolder`.

    `PATH` is a folder or a tar of any compression, read as a stream and never unpacked to disk.
    Under it lie either `CLASS/*.jpg`, an unsplit source, or `train/CLASS/*.jpg` and
    `test/CLASS/*.jpg`. A `val` (`valid`, `validation`) folder beside both is the validation part;
    beside `train` alone it is the test split, as in ImageNet. One folder around all of it is
    stepped into. Classes are sorted by name and so are images within a class, class after class;
    that is the order which `indices` count. Hidden files and files that are no images are passed
    over. Grey images stay grey where all are; all must have one size, unless they are `fitted`.

    Attributes:
        fit: the shape `(c, h, w)` that each image is given as it is read, and how.
    """

    fit: tuple[tuple[int, ...], str] | None = None

    name = "folder"
    needs_path = True

    def splits(self) -> tuple[str, ...]:
        """Return `("train", "test")`, with `"validation"` between, or `("all",)`.

        Raises:
            InputError: nothing there, no images, or folders that fit neither layout.
        """
        return tuple(self._layout)

    def load(self, split: str) -> ImageSet:
        """Decode `(n, 1, h, w)` or `(n, 3, h, w)` uint8 images of one split.

        Raises:
            InputError: a file that cannot be decoded, images of different sizes, or a class that
                the training folder lacks.
        """
        files, labels, names = self._listing(split)
        path = require_path(self, expected="a folder or tar of images")
        return ImageSet(
            images=self._decode(path, files),
            labels=labels,
            class_names=names,
            name=f"{self.name}:{path.name}",
            split=split,
            source_split=split,
        )

    def items(self, split: str) -> ItemStream:
        """Return one split to be decoded piece by piece, images of any sizes in it.

        A compressed tar is loaded as a whole, since going back in it means beginning again.

        Raises:
            InputError: a class that the training folder lacks; for a compressed tar as `load`.
        """
        path = require_path(self, expected="a folder or tar of images")
        if not path.is_dir() and not self._is_plain_tar:
            return super().items(split)
        files, labels, names = self._listing(split)
        if path.is_dir():
            sizes = [(path / file).stat().st_size for file in files]
        else:
            sizes = [self._members[file].size for file in files]
        return FileItems(
            functools.partial(self._read, path),
            files,
            sizes,
            labels,
            names,
            name=f"{self.name}:{path.name}",
            split=split,
        )

    @functools.cached_property
    def _is_plain_tar(self) -> bool:
        """Whether files in the tar can be sought, because it is not compressed."""
        path = require_path(self, expected="a folder or tar of images")
        try:
            with tarfile.open(path, "r:"):
                return True
        except tarfile.ReadError:
            return False

    def _listing(self, split: str) -> tuple[list[str], Tensor, tuple[str, ...]]:
        """Return the files of a split, the class of each, and the names of classes."""
        require_split(self, split)
        path = require_path(self, expected="a folder or tar of images")
        classes = self._layout[split]
        names = tuple(next(iter(self._layout.values())))
        unknown = [name for name in classes if name not in names]
        if unknown:
            raise InputError(
                f"{path}: every class must have a train folder; `{unknown[0]}` of the {split} "
                "part has none. Add or remove it."
            )
        files = [file for group in classes.values() for file in group]
        counts = torch.tensor([len(group) for group in classes.values()])
        labels = torch.tensor([names.index(name) for name in classes])
        return files, labels.repeat_interleave(counts), names

    def fitted(self, shape: tuple[int, ...], how: str) -> "ImageFolder":
        """Return the folder with every image made to fit as it is read, whatever its size."""
        return dataclasses.replace(self, fit=(shape, how)) if len(shape) == 3 else self

    def _decode(self, path: Path, files: list[str]) -> Tensor:
        content = self._read(path, files)
        if self.fit is None:
            return decode_images(content, len(files))
        shape, how = self.fit

        def fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
            pixels = torch.tensor(image.reshape(*image.shape[:2], -1)).permute(2, 0, 1)[None]
            fitted = fit_pixels(pixels, shape, how, name=str(path))[0].permute(1, 2, 0).numpy()
            return fitted if fitted.shape[2] == 3 else fitted[:, :, 0]

        return decode_images(content, len(files), fit=fit)

    @functools.cached_property
    def _members(self) -> dict[str, tarfile.TarInfo]:
        """The regular files of the tar; of repeated names the last, as when unpacking."""
        path = require_path(self, expected="a folder or tar of images")
        with reading(path, expected="a tar of images"), tarfile.open(path, "r:*") as archive:
            return {member.name: member for member in archive if member.isfile()}

    @functools.cached_property
    def _layout(self) -> Layout:
        path = require_path(self, expected="a folder or tar of images")
        files = _list_files(path) if path.is_dir() else list(self._members)
        return arrange([file for file in files if is_image(file)], place=path)

    def _read(self, path: Path, files: list[str]) -> Iterator[tuple[int, str, bytes]]:
        """Yield position, name and bytes of each file, a tar's in the order they are stored."""
        if path.is_dir():
            for position, file in enumerate(files):
                with reading(path / file, expected="an image"):
                    content = (path / file).read_bytes()
                yield position, str(path / file), content
            return
        order = sorted(enumerate(files), key=lambda item: self._members[item[1]].offset_data)
        with reading(path, expected="a tar of images"), tarfile.open(path, "r:*") as archive:
            for position, file in order:
                opened = archive.extractfile(self._members[file])
                if opened is not None:
                    yield position, f"{path}: {file}", opened.read()


def is_image(file: str) -> bool:
    """Whether a path is to be read: an image by its ending and hidden nowhere along the way.

    Example:
        >>> is_image("cat/1.JPG"), is_image("cat/._1.jpg"), is_image("cat/notes.txt")
        (True, False, False)
    """
    parts = PurePosixPath(file).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and file.lower().endswith(SUFFIXES)


def arrange(files: list[str], *, place: Path | str) -> Layout:
    """Sort image paths into splits and classes.

    Args:
        files: paths with `/`, relative to the folder or as stored in the tar.
        place: where they lie, for messages.

    Returns:
        The splits that the source offers, in the order train, validation, test.

    Raises:
        InputError: no images, images outside a class folder, or a split without `train`.

    Example:
        >>> arrange(["top/b/2.png", "top/a/1.png"], place="toy")
        {'all': {'a': ['top/a/1.png'], 'b': ['top/b/2.png']}}
    """
    if not files:
        raise InputError(
            f"{place} must hold images as CLASS/*.jpg or train/CLASS/*.jpg; found none with an "
            f"ending of {' '.join(SUFFIXES)}."
        )
    paths = {file: PurePosixPath(file).parts for file in files}
    if _is_wrapped(paths):
        paths = {file: parts[1:] for file, parts in paths.items()}
    found: Layout = {}
    is_split = _is_split(paths, place)
    for file in sorted(files, key=lambda file: paths[file]):
        parts = paths[file]
        if len(parts) < 2:
            raise InputError(
                f"{place}: every image must lie in the folder of its class; {file} does not. "
                "Move it into one."
            )
        split = _SPLIT_FOLDERS[parts[0].lower()] if is_split else "all"
        found.setdefault(split, {}).setdefault(parts[1 if is_split else 0], []).append(file)
    return _name_splits(found, place)


def _is_split(paths: dict[str, tuple[str, ...]], place: Path | str) -> bool:
    """Whether the top folders are splits; a class may be called `train` (the vehicle) too."""
    tops = {parts[0] for parts in paths.values()}
    flat = {parts[0] for parts in paths.values() if len(parts) < 3}
    splits = {top for top in tops - flat if top.lower() in _SPLIT_FOLDERS}
    others = sorted(tops - splits)
    if len(splits) > 1 and others:
        raise InputError(
            f"{place} must hold either classes or splits; found {', '.join(sorted(splits))} "
            f"beside {others[0]}. Move one of them away."
        )
    return bool(splits) and not others


def _is_wrapped(paths: dict[str, tuple[str, ...]]) -> bool:
    """Whether one folder that is neither a split nor a class lies around everything."""
    tops = {parts[0] for parts in paths.values()}
    return (
        len(tops) == 1
        and next(iter(tops)).lower() not in _SPLIT_FOLDERS
        and all(len(parts) > 2 for parts in paths.values())
    )


def _name_splits(found: Layout, place: Path | str) -> Layout:
    """Decide what each folder serves as, once it is known which there are."""
    found = {split: dict(sorted(classes.items())) for split, classes in found.items()}
    if len(found) == 1:
        return {"all": next(iter(found.values()))}
    if "train" not in found:
        raise InputError(
            f"{place} must have a train folder beside {' and '.join(sorted(found))}; found none."
        )
    if "test" not in found:
        return {"train": found["train"], "test": found["validation"]}
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _list_files(folder: Path) -> list[str]:
    """Paths of all files under `folder`, relative to it, with `/`."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        relative = Path(parent).relative_to(folder)
        found += [(relative / name).as_posix() for name in names]
    return found
