"""Arrays that other programs wrote: `npz` archives, `.npy` pairs and folders of feature shards."""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.files import require_path, require_split
from cvxdistill.data.layout import as_examples
from cvxdistill.embeddings.npz import open_npz
from cvxdistill.embeddings.pairing import ArrayPair, pair_arrays
from cvxdistill.embeddings.places import split_folders
from cvxdistill.embeddings.targets import as_class_values, name_classes, number_labels
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_EXAMPLES = ("images", "features", "x")


class ArraySource(DataSource):
    """Arrays found by name; see `pair_arrays`, and `layout.py` for what their shapes mean.

    Labels may be whole numbers or strings. With `class_names` beside them whole numbers count in
    those; otherwise the distinct labels of the training part, sorted, are the classes.
    """

    needs_path = True

    @abstractmethod
    def _names(self) -> list[str]:
        """Names of all arrays."""

    @abstractmethod
    def _arrays(self, names: list[str]) -> Mapping[str, NDArray[Any]]:
        """Read the named arrays."""

    def splits(self) -> tuple[str, ...]:
        """Return `("train", "test")`, with `"validation"` between, or `("all",)`.

        Raises:
            InputError: nothing there, or no arrays that pair up.
        """
        return tuple(self._pairs())

    def load(self, split: str) -> ImageSet:
        """Read `(n, c, h, w)` images or `(n, d)` features of one split, shards one after another.

        Raises:
            InputError: unreadable or pickled arrays, unclear shapes, labels that do not fit.
        """
        require_split(self, split)
        pairs = self._pairs()
        first, pair = next(iter(pairs.values())), pairs[split]
        has_names = "class_names" in self._names()
        needed = {*first.labels, *pair.examples, *pair.labels}
        arrays = self._arrays([*sorted(needed), *(["class_names"] if has_names else [])])
        images = [as_examples(arrays[name], name=self._say(name)) for name in pair.examples]
        labels = [as_class_values(arrays[name], name=self._say(name)) for name in pair.labels]
        for shard, values, example in zip(images, labels, pair.examples, strict=True):
            if len(shard) != len(values):
                raise InputError(
                    f"{self._say(example)} must have one label an example; got {len(values)} "
                    f"labels for {len(shard)}. Correct the files."
                )
        shapes = sorted({(tuple(shard.shape[1:]), str(shard.dtype)) for shard in images})
        if len(shapes) > 1:
            raise InputError(
                f"{self._say(pair.examples[0])}: all shards must have one shape and type; got "
                f"{shapes[0]} and {shapes[1]}. Write them alike."
            )
        told = [as_class_values(arrays[name], name=self._say(name)) for name in first.labels]
        where = self._say(pair.labels[0])
        stored = arrays["class_names"] if has_names else None
        names = name_classes(np.concatenate(told), stored, name=where)
        return ImageSet(
            images=torch.cat(images) if len(images) > 1 else images[0],
            labels=number_labels(np.concatenate(labels), names, positions=has_names, name=where),
            class_names=names,
            name=f"{self.name}:{self._path().stem}",
            split=split,
            source_split=split,
        )

    def _pairs(self) -> dict[str, ArrayPair]:
        place = self._path()
        pairs = pair_arrays(self._names(), place=place, examples=_EXAMPLES, weights=())
        missing = set() if "all" in pairs else {"train", "test"} - pairs.keys()
        if missing:
            raise InputError(
                f"{place} must hold train and test arrays; {min(missing)} is missing. Add it, or "
                "name the arrays without a split."
            )
        return pairs

    @abstractmethod
    def _path(self) -> Path:
        """The archive or folder, known to exist."""

    def _say(self, name: str) -> str:
        return f"`{name}` in {self._path()}"


class NpzArchive(ArraySource):
    """One `npz` archive, `npz:PATH`, as `numpy.savez` writes it; pickled objects are refused."""

    name = "npz"

    def _names(self) -> list[str]:
        with open_npz(self._path()) as archive:
            return list(archive.files)

    def _arrays(self, names: list[str]) -> Mapping[str, NDArray[Any]]:
        with open_npz(self._path()) as archive:
            return {name: archive[name] for name in names}

    def _path(self) -> Path:
        return require_path(self, expected="an npz archive")


class NpyFolder(ArraySource):
    """A folder of `.npy` files, `npy:PATH`: a pair, pairs for train and test, or shards.

    Shards are `features_K.npy` with `labels_K.npy`, joined in the order of `K`. A divided set may
    have folders `train` and `test` of them, as `cvxdistill embed --split all` writes them; names of
    classes are then those of the first.
    """

    name = "npy"

    @functools.cached_property
    def _files(self) -> dict[str, Path]:
        """The files by name, those in folders of splits with the split in front."""
        path = self._path()
        found = {file.stem: file for file in path.glob("*.npy")}
        if found:
            return found
        folders = split_folders(path, lambda folder: any(folder.glob("*.npy")))
        for split, folder in folders.items():
            for file in folder.glob("*.npy"):
                shared = file.stem == "class_names"
                found.setdefault(file.stem if shared else f"{split}_{file.stem}", file)
        return found

    def _names(self) -> list[str]:
        return sorted(self._files)

    def _arrays(self, names: list[str]) -> Mapping[str, NDArray[Any]]:
        arrays = {}
        for name in names:
            file = self._files[name]
            with reading(file, expected="a .npy array"), file.open("rb") as stream:
                # Unlike `load`, this takes nothing for a pickle.
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
        return arrays

    def _path(self) -> Path:
        path = require_path(self, expected="a folder of .npy files")
        if not path.is_dir():
            raise InputError(f"npy expects a folder of .npy files; {path} is a file. Use npz:PATH?")
        return path
