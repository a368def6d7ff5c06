"""Finding and fetching the files of a data set, with one clear message when that fails."""

import contextlib
import sys
from pathlib import Path
from typing import Any

from cvxdistill.checks import check_choice
from cvxdistill.data.base import DataSource
from cvxdistill.errors import InputError
from cvxdistill.files import one_line


def require_root(source: DataSource) -> Path:
    """Return the folder in which `source` looks for its files.

    Raises:
        InputError: no folder was given, or it does not exist (with `download` it may not yet).
    """
    root = source.data_root
    if root is None:
        raise InputError(
            f"{source.name} is read from files: give the folder that holds them with "
            "`data_root` (--data-root DIR); got none."
        )
    if not root.is_dir() and not (source.download and not root.exists()):
        raise InputError(
            f"`data_root` must be an existing folder; {root} "
            f"{'is a file' if root.exists() else 'does not exist'}. Correct the path."
        )
    return root


def require_path(source: DataSource, *, expected: str) -> Path:
    """Return the path of a `name:PATH` source, known to exist.

    Args:
        source: the source.
        expected: what should lie there, for the message.

    Raises:
        InputError: no path was given, or nothing is there.
    """
    path = source.path
    if path is None:
        raise InputError(f"{source.name} needs a path to {expected}: write {source.name}:PATH.")
    if not path.exists():
        raise InputError(f"{source.name} expects {expected}; nothing exists at {path}.")
    return path


def require_split(source: DataSource, split: str) -> str:
    """Return `split` if `source` offers it.

    Raises:
        InputError: it does not; the message names those it offers.
    """
    return check_choice(f"split of {source.name}", split, source.splits())


def fetch_with_torchvision(source: DataSource, root: Path, dataset: str, **options: Any) -> None:
    """Let torchvision download its `dataset` into `root`, in its own folder layout.

    Args:
        source: who asks, for the message.
        root: the folder to write to.
        dataset: name of a class in `torchvision.datasets`.
        **options: further arguments of that class.

    Raises:
        InputError: no network, a wrong checksum, a folder that cannot be written.
    """
    try:
        from torchvision import datasets

        # The downloader prints; standard output belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            getattr(datasets, dataset)(root=str(root), download=True, **options)
    except Exception as error:
        raise InputError(
            f"{source.name} could not be downloaded to {root}: {one_line(error)}. Check the "
            "network, or put the files there by hand."
        ) from error
