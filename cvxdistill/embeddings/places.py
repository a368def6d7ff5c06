"""Where the parts of a set lie: splits, and names of classes."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from cvxdistill.embeddings.targets import as_class_values
from cvxdistill.errors import InputError
from cvxdistill.files import reading

ALL = "all"
PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
"""Words for the splits, in lower case."""
ORDER = ("train", "validation", "test")
_PREFIX = re.compile(rf"({'|'.join(PARTS)})(?![a-z0-9])", re.IGNORECASE)


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort by name, numbers in it as numbers: `part-2` before `part-10`.

    Example:
        >>> [p.name for p in natural_order([Path("part-10"), Path("part-2")])]
        ['part-2', 'part-10']
    """

    def key(path: Path) -> list[tuple[int, int, str]]:
        pieces = re.split(r"(\d+)", path.name)
        return [(0, int(p), p) if p.isdigit() else (1, 0, p.lower()) for p in pieces if p]

    return sorted(paths, key=key)


def split_folders(path: Path, holds: Callable[[Path], bool]) -> dict[str, Path]:
    """Return the subfolders `train`, `validation` (`val`, ...) and `test` for which `holds`.

    Args:
        path: a folder.
        holds: whether a subfolder holds what is looked for.

    Raises:
        InputError: two folders of one split, such as `val` and `validation`.
    """
    found: dict[str, Path] = {}
    for child in sorted(path.iterdir()) if path.is_dir() else ():
        split = PARTS.get(child.name.lower())
        if split is None or not child.is_dir() or not holds(child):
            continue
        if split in found:
            raise InputError(
                f"{path} must hold one folder a split; got {found[split].name} and {child.name}. "
                "Remove or rename one of them."
            )
        found[split] = child
    return {split: found[split] for split in ORDER if split in found}


def split_files(path: Path, suffix: str) -> dict[str, list[Path]]:
    """Return the files of each split at `path`: a file, or a folder that is divided or is not.

    A folder is divided by subfolders named after splits, or by file names that all begin with one,
    as in `train-00000-of-00002.parquet`. Files in a subfolder `data` are found too. Files are in
    natural order, hidden ones and those that begin with an underscore passed over.

    Args:
        path: file or folder.
        suffix: of the files, such as `.parquet`.

    Returns:
        The splits, in the order train, validation, test; or `all` alone; empty without files.

    Raises:
        InputError: files of which some belong to a split and others do not.
    """
    if path.is_file():
        return {ALL: [path]}
    direct = _files(path, suffix)
    folders = split_folders(path, lambda child: bool(_files(child, suffix)))
    if not direct and not folders and (path / "data").is_dir():
        return split_files(path / "data", suffix)
    found = {split: _files(folder, suffix) for split, folder in folders.items()}
    plain: list[Path] = []
    named: dict[str, list[Path]] = {}
    for file in direct:
        match = _PREFIX.match(file.name)
        (plain if match is None else named.setdefault(PARTS[match[1].lower()], [])).append(file)
    kinds = [kind for kind in (found, named, plain) if kind]
    if len(kinds) > 1:
        raise InputError(
            f"{path} must hold {suffix} files either of train, validation and test or undivided; "
            "got both. Remove one kind."
        )
    if plain:
        return {ALL: plain}
    whole = found or named
    return {split: whole[split] for split in ORDER if split in whole}


def _files(path: Path, suffix: str) -> list[Path]:
    if not path.is_dir():
        return []
    return natural_order(
        file
        for file in path.iterdir()
        if file.suffix.lower() == suffix and file.name[0] not in "._" and file.is_file()
    )


def holds_files(path: Path, suffix: str) -> bool:
    """Say whether `path` is a folder in which `split_files` finds any; never raises."""
    try:
        return path.is_dir() and bool(split_files(path, suffix))
    except InputError:
        # Of this kind, even so; reading says what is wrong with them.
        return True


def require_files(path: Path, suffix: str, *, kind: str) -> dict[str, list[Path]]:
    """Return `split_files`, of which there must be any.

    Args:
        path: file or folder.
        suffix: of the files.
        kind: of the embeddings, for the message.

    Raises:
        InputError: none there, or divided and undivided ones.
    """
    found = split_files(path, suffix)
    if not found:
        raise InputError(
            f"{kind} expects a {suffix} file or a folder of them; {path} "
            f"{'holds none' if path.exists() else 'is not there'}. Correct the path."
        )
    return found


def choose_split(wanted: str | None, splits: tuple[str, ...], *, place: Path) -> str:
    """Return the split to read: the one that is wanted, or the only one.

    Args:
        wanted: what the user named, `val` and the like included, or `None`.
        splits: those that there are.
        place: where, for messages.

    Raises:
        InputError: several and none named, or one that is not there.
    """
    if wanted is None:
        if len(splits) > 1:
            raise InputError(
                f"{place} holds the splits {', '.join(splits)}; say which to read: "
                f"{place}@{splits[0]}."
            )
        return splits[0]
    split = wanted if wanted in splits else PARTS.get(wanted.lower(), wanted)
    if split not in splits:
        raise InputError(f"split of {place} must be one of {', '.join(splits)}; got `{wanted}`.")
    return split


def read_class_names(*folders: Path) -> tuple[str, ...] | None:
    """Read `class_names.npy`, `class_names.json` (a list) or `class_names.txt` (one a line).

    Args:
        folders: where to look, in this order.

    Returns:
        The names; `None` where there is no such file.

    Raises:
        InputError: several of these files in one folder, or none that holds a list of names.
    """
    for folder in folders:
        files = [folder / f"class_names{suffix}" for suffix in _NAME_READERS]
        present = [file for file in files if file.is_file()]
        if len(present) > 1:
            raise InputError(
                f"{folder} must hold one file of class names; got {present[0].name} and "
                f"{present[1].name}. Remove one of them."
            )
        for file in present:
            with reading(file, expected="class names"):
                return _NAME_READERS[file.suffix](file)
    return None


def _names_from_npy(file: Path) -> tuple[str, ...]:
    with file.open("rb") as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return tuple(map(str, as_class_values(array, name=f"{file}")))


def _read_text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


_NAME_READERS: dict[str, Callable[[Path], tuple[str, ...]]] = {
    ".npy": _names_from_npy,
    ".json": lambda file: names_from_json(_read_text(file)),
    ".txt": lambda file: tuple(_read_text(file).splitlines()),
}


def names_from_json(text: str) -> tuple[str, ...]:
    """Read names from a JSON list of strings.

    Raises:
        ValueError: something else.

    Example:
        >>> names_from_json('["cat", "dog"]')
        ('cat', 'dog')
    """
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("not a JSON list of strings")
    return tuple(names)
