"""The idx families: MNIST and the data sets that copy its file format.

The files lie where torchvision puts them, `DATA_ROOT/<FOLDER>/raw`, plain or gzipped.
"""

import gzip
import math
import string
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.files import fetch_with_torchvision, require_root, require_split
from cvxdistill.errors import InputError
from cvxdistill.files import reading

_UNSIGNED_BYTES = 8


def read_idx(path: Path | str, *, ndim: int) -> Tensor:
    """Read one idx file of unsigned bytes, checking its header against its size.

    The format (LeCun, Cortes and Burges 1998): two zero bytes, the type (8: unsigned byte), the
    number of dimensions, one big-endian 32-bit size for each, then the values in C order.

    Args:
        path: the file; unzipped on the fly where the name ends in `.gz`.
        ndim: how many dimensions it must have: 3 for images, 1 for labels.

    Returns:
        A uint8 tensor of the shape in the header.

    Raises:
        InputError: unreadable, not idx, other type or dimensions, too short or too long.
    """
    path = Path(path)
    with reading(path, expected="an idx file"):
        raw = path.read_bytes()
        content = bytearray(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    expected = bytes((0, 0, _UNSIGNED_BYTES, ndim))
    if bytes(content[:4]) != expected:
        raise InputError(
            f"{path} must start with {expected.hex(' ')} (idx, unsigned bytes, {ndim} "
            f"dimensions); got {bytes(content[:4]).hex(' ') or 'an empty file'}. Replace the file."
        )
    start = 4 + 4 * ndim
    if len(content) < start:
        raise InputError(
            f"{path} must have an idx header of {start} bytes; got {len(content)} in all. "
            "Replace the file."
        )
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    if len(content) - start != math.prod(shape):
        raise InputError(
            f"{path} must hold {' x '.join(map(str, shape))} = {math.prod(shape):,} bytes of "
            f"values by its header; got {len(content) - start:,}. Replace the file."
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape))


class IdxSource(DataSource):
    """A family of four idx files: images and labels, for training and test.

    With the files of one split alone the source offers `("all",)`: those images, their
    `source_split` still saying which split they are.

    Class attributes:
        folder: torchvision's class and folder name.
        prefixes: what the file names of `train` and `test` begin with.
        class_names: names of the classes in the order of the labels.
        first_label: the number that the files give to the first class.
        transposed: whether the files store columns as rows.
        fetch_options: further arguments of torchvision's class when downloading.
    """

    folder: ClassVar[str]
    prefixes: ClassVar[dict[str, str]] = {"train": "train", "test": "t10k"}
    class_names: ClassVar[tuple[str, ...]] = tuple(string.digits)
    first_label: ClassVar[int] = 0
    transposed: ClassVar[bool] = False
    fetch_options: ClassVar[dict[str, Any]] = {}
    default_validation = 1 / 6

    def splits(self) -> tuple[str, ...]:
        """Return `("train", "test")`, or `("all",)` where only one of them is there.

        Raises:
            InputError: neither is there, or images without labels, or no data root.
        """
        there = self._splits_there()
        return there if len(there) > 1 else ("all",)

    def load(self, split: str) -> ImageSet:
        """Read `(n, 1, h, w)` uint8 images, upright, with labels from 0.

        Raises:
            InputError: a file is missing, damaged, of the wrong kind, or does not fit the others.
        """
        require_split(self, split)
        source_split = self._splits_there()[0] if split == "all" else split
        files = self._files(source_split)
        images, labels = read_idx(files[0], ndim=3), read_idx(files[1], ndim=1)
        if len(images) != len(labels):
            raise InputError(
                f"{files[1]} must have one label for each of the {len(images):,} images of "
                f"{files[0].name}; got {len(labels):,}. Replace the files by a matching pair."
            )
        last_label = self.first_label + len(self.class_names) - 1
        if len(labels) and not self.first_label <= int(labels.min()) <= int(labels.max()) <= (
            last_label
        ):
            raise InputError(
                f"{files[1]} must hold labels {self.first_label} to {last_label}; got "
                f"{int(labels.min())} to {int(labels.max())}. Replace the file."
            )
        if self.transposed:
            images = images.transpose(1, 2).contiguous()
        return ImageSet(
            images=images.unsqueeze(1),
            labels=labels.to(torch.int64) - self.first_label,
            class_names=self.class_names,
            name=self.name,
            split=split,
            source_split=source_split,
        )

    def _splits_there(self) -> tuple[str, ...]:
        root = require_root(self)
        there = tuple(split for split in self.prefixes if self._has(split))
        if self.download and len(there) < len(self.prefixes):
            fetch_with_torchvision(self, root, self.folder, **self.fetch_options)
            there = tuple(split for split in self.prefixes if self._has(split))
        if not there:
            raise InputError(
                f"{self.name} expects {self._stems('train')[0]} and its companions, plain or .gz, "
                f"in {self._raw}; found none. Put them there, or pass `download` (--download)."
            )
        return there

    def _has(self, split: str) -> bool:
        """Whether both files of `split` are there; one without the other is an error."""
        stems = self._stems(split)
        missing = [stem for stem in stems if _find(self._raw, stem) is None]
        if len(missing) == 1 and not self.download:
            raise InputError(
                f"{self.name} expects {stems[0]} together with {stems[1]}, plain or .gz, in "
                f"{self._raw}; {missing[0]} is missing. Add it."
            )
        return not missing

    def _files(self, split: str) -> tuple[Path, Path]:
        found = [_find(self._raw, stem) for stem in self._stems(split)]
        images, labels = found
        if images is None or labels is None:
            raise InputError(f"{self.name}: the {split} files in {self._raw} have disappeared.")
        return images, labels

    def _stems(self, split: str) -> tuple[str, str]:
        prefix = self.prefixes[split]
        return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"

    @property
    def _raw(self) -> Path:
        return require_root(self) / self.folder / "raw"


class Mnist(IdxSource):
    """70,000 handwritten digits, 28 x 28 grey: LeCun, Cortes and Burges (1998).

    <http://yann.lecun.com/exdb/mnist/>
    """

    name = "mnist"
    folder = "MNIST"


class FashionMnist(IdxSource):
    """70,000 pictures of clothing, 28 x 28 grey: Xiao, Rasul and Vollgraf (2017).

    <https://arxiv.org/abs/1708.07747>
    """

    name = "fashion-mnist"
    folder = "FashionMNIST"
    class_names = (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )


class Kmnist(IdxSource):
    """70,000 cursive Japanese characters, 28 x 28 grey: Clanuwat et al. (2018).

    <https://arxiv.org/abs/1812.01718>
    """

    name = "kmnist"
    folder = "KMNIST"
    class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class EmnistLetters(IdxSource):
    """145,600 handwritten letters, upper and lower case merged: Cohen et al. (2017).

    <https://arxiv.org/abs/1702.05373>. The files store the images transposed and count the
    labels from 1; both are put right here.
    """

    name = "emnist-letters"
    folder = "EMNIST"
    prefixes: ClassVar[dict[str, str]] = {
        "train": "emnist-letters-train",
        "test": "emnist-letters-test",
    }
    class_names = tuple(string.ascii_lowercase)
    first_label = 1
    transposed = True
    fetch_options: ClassVar[dict[str, Any]] = {"split": "letters"}


def _find(folder: Path, stem: str) -> Path | None:
    candidates = (folder / stem, folder / f"{stem}.gz")
    return next((path for path in candidates if path.is_file()), None)
