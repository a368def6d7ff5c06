"""Examples read piece by piece: data sets in memory, folders of images, files of texts."""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cvxdistill.data.images import decode_each

ItemKind = Literal["images", "features", "texts"]


def content_hashes(images: Tensor) -> list[str]:
    """SHA-256 of each image's bytes, in order: names an image whatever file it came from.

    Example:
        >>> a, b = content_hashes(torch.zeros(2, 1, 2, 2, dtype=torch.uint8))
        >>> a == b
        True
    """
    array = images.detach().cpu().contiguous().numpy()
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in array]


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """Some consecutive examples, as they are stored.

    Attributes:
        content: `(n, c, h, w)` images, or `(n, d)` features; a list of `(c, h, w)` bytes where
            sizes differ; a list of texts.
        hashes: SHA-256 of the bytes of each.
        sources: where each comes from: its file, or its position in a split.
    """

    content: Tensor | list[Tensor] | list[str]
    hashes: Sequence[str]
    sources: Sequence[str]

    def __len__(self) -> int:
        return len(self.content)


class ItemStream(ABC):
    """One split of a data set, read piece by piece and never whole.

    Attributes:
        name: the data set.
        split: the part of it.
        class_names: one name a class; `None` without labels.
        labels: `(n,)` int64 classes; `None` without labels.
        indices: `(n,)` int64 position of each in the source's own order.

    Class attributes:
        kind: what the examples are.
    """

    kind: ClassVar[ItemKind] = "images"

    name: str
    split: str
    class_names: tuple[str, ...] | None
    labels: Tensor | None
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @abstractmethod
    def read(self, start: int, stop: int) -> Items:
        """Return the examples `start <= i < stop`; may be called from another thread.

        Raises:
            InputError: an example that cannot be read.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 by which another data set, or a changed one, is noticed.

        Of contents where they are in memory, of names and sizes of files where they are not.
        """


class MemoryItems(ItemStream):
    """Examples that lie in memory already.

    Args:
        images: `(n, c, h, w)` or `(n, d)`.
        labels: `(n,)` int64 classes.
        class_names: one name a class.
        indices: `(n,)` int64 position of each in the source's own order.
        name: the data set.
        split: the part of it.
        digest: SHA-256 of all contents.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        class_names: tuple[str, ...],
        indices: Tensor,
        *,
        name: str,
        split: str,
        digest: str,
    ) -> None:
        self.images = images
        self.labels = labels
        self.class_names = class_names
        self.indices = indices
        self.name = name
        self.split = split
        self._digest = digest
        self.kind = "images" if images.ndim == 4 else "features"  # type: ignore[misc]

    def read(self, start: int, stop: int) -> Items:
        """Return the examples `start <= i < stop`."""
        content = self.images[start:stop]
        sources = [f"{self.name}:{self.split}:{i}" for i in self.indices[start:stop].tolist()]
        return Items(content, content_hashes(content), sources)

    def fingerprint(self) -> str:
        """SHA-256 of images and labels."""
        return self._digest


class FileItems(ItemStream):
    """Images in files of their own, of any sizes, decoded in threads as they are asked for.

    Args:
        read_files: yields position, name for messages and bytes of each of the files it is given.
        files: their names, in order.
        sizes: bytes of each.
        labels: `(n,)` int64 classes.
        class_names: one name a class.
        name: the data set.
        split: the part of it.
    """

    def __init__(
        self,
        read_files: Callable[[list[str]], Iterator[tuple[int, str, bytes]]],
        files: list[str],
        sizes: list[int],
        labels: Tensor,
        class_names: tuple[str, ...],
        *,
        name: str,
        split: str,
    ) -> None:
        self._read_files = read_files
        self._files = files
        self._sizes = sizes
        self.labels = labels
        self.class_names = class_names
        self.indices = torch.arange(len(files))
        self.name = name
        self.split = split

    def read(self, start: int, stop: int) -> Items:
        """Decode the images `start <= i < stop`.

        Raises:
            InputError: a file that cannot be read or decoded.
        """
        files = self._files[start:stop]
        images = [torch.empty(0)] * len(files)
        for position, image in decode_each(self._read_files(files)):
            pixels = torch.tensor(image.reshape(*image.shape[:2], -1))
            images[position] = pixels.permute(2, 0, 1).contiguous()
        hashes = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]
        alike = len({image.shape for image in images}) == 1
        return Items(torch.stack(images) if alike else images, hashes, files)

    def fingerprint(self) -> str:
        """SHA-256 of the names and sizes of the files, and of classes."""
        assert self.labels is not None
        digest = hashlib.sha256(repr(self.class_names).encode())
        for file, size, label in zip(self._files, self._sizes, self.labels.tolist(), strict=True):
            digest.update(f"{file}\0{size}\0{label}\n".encode())
        return digest.hexdigest()
