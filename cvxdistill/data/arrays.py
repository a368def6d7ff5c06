"""Arrays that other programs wrote: `npz` archives, `.npy` pairs and folders of feature shards."""

import contextlib
import dataclasses
import re
import zipfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.files import reading, require_path, require_split
from cvxdistill.data.layout import as_examples, as_label_values, name_classes, number_labels
from cvxdistill.errors import InputError

_EXAMPLES = ("images", "features", "x")
_LABELS = ("labels", "y")
_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_WORDS = "|".join((*_EXAMPLES, *_LABELS))
_SPLITS = "|".join(_PARTS)
_NAME = re.compile(
    rf"(?:(?P<before>{_SPLITS})_)?(?P<word>{_WORDS})(?:_(?P<after>{_SPLITS}))?(?:_(?P<shard>\d+))?"
)


@dataclasses.dataclass(frozen=True)
class ArrayPair:
    """The names of the arrays that make up one split, shard by shard.

    Attributes:
        examples: names of images or features.
        labels: names of their labels, in the same order.
    """

    examples: tuple[str, ...]
    labels: tuple[str, ...]


def pair_arrays(names: list[str], *, place: Path | str) -> dict[str, ArrayPair]:
    """Find which arrays are examples and labels of which split, by their names.

    Args:
        names: names of all arrays: `images`, `features` or `x` and `labels` or `y`, with a split
            in front or behind (`train_images`, `x_test`) or none, and with the number of a shard
            at the end (`features_0`) or none. Other names are passed over.
        place: where they lie, for messages.

    Returns:
        The splits, in the order train, validation, test; or `all` alone.

    Raises:
        InputError: no pair, two kinds of examples, examples without labels or the reverse, or
            a split without `train`.

    Example:
        >>> pair_arrays(["features_10", "labels_10", "features_9", "labels_9"], place="toy")["all"]
        ArrayPair(examples=('features_9', 'features_10'), labels=('labels_9', 'labels_10'))
    """
    found: dict[str, dict[str, dict[int, str]]] = {}
    for name in names:
        match = _NAME.fullmatch(name.lower())
        if match is None or (match["before"] and match["after"]):
            continue
        split = _PARTS.get(match["before"] or match["after"] or "", "all")
        shard = -1 if match["shard"] is None else int(match["shard"])
        found.setdefault(split, {}).setdefault(match["word"], {})[shard] = name
    pairs = {split: _pair(words, split, place) for split, words in found.items()}
    if not pairs:
        raise InputError(
            f"{place} must hold {', '.join(_EXAMPLES[:-1])} or x with labels or y; got "
            f"{', '.join(sorted(names)[:8]) or 'nothing'}. Rename them."
        )
    if "all" in pairs:
        if len(pairs) > 1:
            raise InputError(
                f"{place} must hold either train and test arrays or undivided ones; got both. "
                "Remove one kind."
            )
        return pairs
    missing = {"train", "test"} - pairs.keys()
    if missing:
        raise InputError(
            f"{place} must hold train and test arrays; {min(missing)} is missing. Add it, or name "
            "the arrays without a split."
        )
    return {split: pairs[split] for split in ("train", "validation", "test") if split in pairs}


def _pair(words: dict[str, dict[int, str]], split: str, place: Path | str) -> ArrayPair:
    chosen = []
    for kinds in (_EXAMPLES, _LABELS):
        present = [kind for kind in kinds if kind in words]
        if len(present) != 1:
            raise InputError(
                f"{place} must hold exactly one of {', '.join(kinds)} for the {split} part; got "
                f"{' and '.join(present) or 'none'}. Rename or remove."
            )
        chosen.append(words[present[0]])
    examples, labels = chosen
    alone = sorted(examples.keys() ^ labels.keys())
    if alone:
        lonely = examples.get(alone[0]) or labels[alone[0]]
        raise InputError(
            f"{place}: every shard needs examples and labels; {lonely} has no partner. Add it."
        )
    shards = sorted(examples)
    if len(shards) > 1 and shards[0] == -1:
        raise InputError(
            f"{place} must hold either {examples[-1]} or numbered shards of it; got both. Remove "
            "one kind."
        )
    return ArrayPair(tuple(examples[k] for k in shards), tuple(labels[k] for k in shards))


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """Open an `npz` archive whose arrays are read inside the block; pickled objects are refused.

    Args:
        path: the archive, as `numpy.savez` or `numpy.savez_compressed` writes it.

    Raises:
        InputError: unreadable, no archive, or anything wrong with an array read inside the block.
    """
    with reading(path, expected="an npz archive"):
        # numpy takes anything else for a pickle and advises to load it unsafely.
        if not zipfile.is_zipfile(path):
            raise ValueError("not a zip file")
        with np.load(path, allow_pickle=False) as archive:
            yield archive


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
        labels = [as_label_values(arrays[name], name=self._say(name)) for name in pair.labels]
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
        told = [as_label_values(arrays[name], name=self._say(name)) for name in first.labels]
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
        return pair_arrays(self._names(), place=self._path())

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

    Shards are `features_K.npy` with `labels_K.npy`, joined in the order of `K`.
    """

    name = "npy"

    def _names(self) -> list[str]:
        return sorted(file.stem for file in self._path().glob("*.npy"))

    def _arrays(self, names: list[str]) -> Mapping[str, NDArray[Any]]:
        arrays = {}
        for name in names:
            file = self._path() / f"{name}.npy"
            with reading(file, expected="a .npy array"), file.open("rb") as stream:
                # Unlike `load`, this takes nothing for a pickle.
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
        return arrays

    def _path(self) -> Path:
        path = require_path(self, expected="a folder of .npy files")
        if not path.is_dir():
            raise InputError(f"npy expects a folder of .npy files; {path} is a file. Use npz:PATH?")
        return path
