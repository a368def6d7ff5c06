"""One `npz` archive with features, labels and weights."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from cvxdistill.files import reading


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
