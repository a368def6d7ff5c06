"""What a comparison is about to do, and whether its folder is free for it."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cvxdistill.checks import check_positive
from cvxdistill.compare.comparison import FILE
from cvxdistill.compare.problem import hash_of
from cvxdistill.compare.worker import RECORD
from cvxdistill.errors import InputError
from cvxdistill.manifest import MANIFEST, check_place, read_manifest
from cvxdistill.methods import Method, parse_method

LONGEST_NAME = 80


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One method of the list: as written, as parsed, and the folder of its run.

    Attributes:
        text: as the user wrote it.
        method: parsed.
        folder: name of the folder of its run.
    """

    text: str
    method: Method
    folder: str


def read_methods(methods: Sequence[str | Method]) -> list[Entry]:
    """Return the methods of a list, parsed and with a folder each.

    Raises:
        InputError: no method, one that cannot be read, or the same one twice.
    """
    entries = []
    for given in methods:
        method = parse_method(given) if isinstance(given, str) else given
        text = given.strip() if isinstance(given, str) else repr(given)
        entries.append(Entry(text, method, folder_name(text)))
    if not entries:
        raise InputError("`methods` must name at least one method; got none.")
    for index, entry in enumerate(entries):
        if entry.method in [other.method for other in entries[:index]]:
            raise InputError(f"`methods` must not name `{entry.text}` twice.")
    return entries


def folder_name(text: str) -> str:
    """Return a method's text as the name of a folder; equal texts get equal names.

    Example:
        >>> folder_name("exact:loss=cross_entropy")
        'exact-loss-cross_entropy'
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    plain = re.sub(r"[:=,]", "-", text) == name
    if plain and len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hash_of(text)[:8]}"


def check_seconds(budget: float | None, grace: float, every: float) -> None:
    """Check the times of a comparison.

    Raises:
        InputError: a budget that is not above zero, or a time that is negative or no number.
    """
    if budget is not None:
        check_positive("budget", budget)
    for name, value in (("grace", grace), ("every", every)):
        check_positive(name, value, zero=True)


def check_folder(folder: Path, prints: Mapping[str, str], *, resume: bool) -> None:
    """Refuse a folder of other things, or of runs on another problem.

    Args:
        folder: of the comparison.
        prints: fingerprints of the runs by the names of their folders.
        resume: whether an earlier comparison is to be gone on with.

    Raises:
        InputError: the folder cannot be used or made.
    """
    check_place(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"`{folder}` is a file; give a folder for the comparison.")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if FILE not in names:
        raise InputError(f"`{folder}` holds other files and no `{FILE}`. Choose a new folder.")
    if not resume:
        raise InputError(
            f"`{folder}` holds an earlier comparison. Go on with it by `--resume`, or choose a new "
            "folder."
        )
    left = sorted(name for name in names - set(prints) if (folder / name / MANIFEST).exists())
    if left:
        raise InputError(
            f"`{folder}` holds runs of methods that are not listed: {', '.join(left)}. List them "
            "too, delete their folders, or choose a new folder."
        )
    for name, expected in prints.items():
        if not (folder / name / MANIFEST).exists():
            continue
        known = read_manifest(folder / name).provenance.get(RECORD, {})
        if known.get("fingerprint") != expected:
            raise InputError(
                f"`{folder / name}` is a run on another problem: data, networks, options, seed, "
                "device and budget must be the same. Repeat the options, or choose a new folder."
            )
