"""Data sets: where images and labels come from, and how they are divided.

To add one: a subclass of `DataSource` in a file of its own and a line in `DATASETS`.
"""

import difflib
from pathlib import Path

from cvxdistill.data.arrays import NpyFolder, NpzArchive
from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.cifar import Cifar10, Cifar100
from cvxdistill.data.digits import Digits
from cvxdistill.data.embedded import (
    ClipFolder,
    EmbeddedSource,
    HuggingFaceFolder,
    ParquetFiles,
    SafetensorsFiles,
)
from cvxdistill.data.fit import FITS, fit_images
from cvxdistill.data.folder import ImageFolder
from cvxdistill.data.idx import EmnistLetters, FashionMnist, Kmnist, Mnist
from cvxdistill.data.items import Items, ItemStream, MemoryItems, content_hashes
from cvxdistill.data.k49 import Kuzushiji49
from cvxdistill.data.omniglot import Omniglot, OmniglotAlphabets
from cvxdistill.data.splits import Splits, split_source
from cvxdistill.embeddings import READERS
from cvxdistill.errors import InputError
from cvxdistill.files import find_path

__all__ = [
    "DATASETS",
    "FITS",
    "DataSource",
    "ImageSet",
    "ItemStream",
    "Items",
    "MemoryItems",
    "Splits",
    "content_hashes",
    "fit_images",
    "load_splits",
    "open_source",
    "split_source",
]

DATASETS: dict[str, type[DataSource]] = {
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "clip": ClipFolder,
    "digits": Digits,
    "emnist-letters": EmnistLetters,
    "fashion-mnist": FashionMnist,
    "folder": ImageFolder,
    "hf": HuggingFaceFolder,
    "k49": Kuzushiji49,
    "kmnist": Kmnist,
    "mnist": Mnist,
    "npy": NpyFolder,
    "npz": NpzArchive,
    "omniglot": Omniglot,
    "omniglot-alphabets": OmniglotAlphabets,
    "parquet": ParquetFiles,
    "safetensors": SafetensorsFiles,
}


def open_source(
    spec: str, *, data_root: Path | str | None = None, download: bool = False
) -> DataSource:
    """Return the source that `spec` names; nothing is read yet.

    Args:
        spec: `NAME`, such as `mnist`; `KIND:PATH`, such as `npz:letters.npz`; or an existing
            path, whose kind is then guessed. Relative paths count from the working folder, and
            where nothing is there, from `data_root`.
        data_root: folder with the files of named data sets.
        download: fetch missing files with torchvision, where the source can.

    Raises:
        InputError: an unknown name, a path that does not exist, a kind without a path.

    Example:
        >>> open_source("digits").splits()
        ('all',)
    """
    root = None if data_root is None else Path(data_root).expanduser()
    kind, colon, rest = spec.partition(":")
    named = DATASETS.get(kind)
    if named is not None and not named.needs_path:
        if colon:
            raise InputError(
                f"{kind} takes no path; got `{spec}`. Give the folder with its files as "
                "`data_root` (--data-root DIR)."
            )
        return named(data_root=root, download=download)
    if named is not None and rest:
        return named(data_root=root, path=_existing(rest, root, spec), download=download)
    if named is not None and not find_path(spec, root):
        raise InputError(f"{kind} needs a path: write {kind}:PATH; got `{spec}`.")
    path = _existing(spec, root, spec)
    return DATASETS[_guess_kind(path)](data_root=root, path=path, download=download)


def _existing(text: str, root: Path | None, spec: str) -> Path:
    """Return the path that `text` names, or say what `spec` could have been."""
    path = find_path(text, root)
    if path is not None:
        return path
    under = f" or under {root}" if root is not None else ""
    if text != spec:
        raise InputError(f"`{spec}` must name an existing path; nothing exists at {text}{under}.")
    kind, colon, rest = spec.partition(":")
    near = difflib.get_close_matches(kind, DATASETS, n=1)
    hint = f" Did you mean `{near[0]}{colon}{rest}`?" if near else ""
    known = [f"{name}:PATH" if kind.needs_path else name for name, kind in DATASETS.items()]
    raise InputError(
        f"a data set must be one of {', '.join(known)}, or an existing path; got `{spec}`.{hint}"
    )


def _guess_kind(path: Path) -> str:
    if READERS["npy"].recognises(path):
        return "npy"
    for kind, source in DATASETS.items():
        if issubclass(source, EmbeddedSource) and READERS[kind].recognises(path):
            return kind
    if path.is_dir():
        return "folder"
    name = path.name.lower()
    if name.endswith(".npz"):
        return "npz"
    if name.endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")):
        return "folder"
    raise InputError(
        f"{path} must be a folder, a tar, or a file of arrays to be read without a kind. Write "
        "KIND:PATH with one of "
        f"{', '.join(name for name, kind in DATASETS.items() if kind.needs_path)}."
    )


def load_splits(
    spec: str,
    *,
    data_root: Path | str | None = None,
    download: bool = False,
    validation: int | float | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Splits:
    """Open `spec` and divide it; see `open_source` and `split_source` for the arguments.

    Raises:
        InputError: as those two.

    Example:
        >>> parts = load_splits("digits")
        >>> parts.record["sizes"]
        {'train': 1078, 'validation': 270, 'test': 449}
    """
    source = open_source(spec, data_root=data_root, download=download)
    return split_source(
        source, validation=validation, test_fraction=test_fraction, seed=seed, limit=limit
    )
