"""Files: found, read with one clear message when that fails, and never left half-written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvxdistill.errors import InputError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces `path` if the block succeeds.

    Raises:
        InputError: the folder does not exist or cannot be written, or `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"cannot write `{path}`: it is a folder. Choose another name.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result is as readable as any other new file.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` if the block succeeds.

    An existing folder is replaced only then, and is kept whole until the new one is complete.

    Raises:
        InputError: the parent cannot be written, or `path` is a file.
    """
    path = Path(path)
    if path.is_symlink():
        # The folder is replaced where it really is; the link goes on pointing there.
        path = path.resolve()
    if path.is_file():
        raise InputError(f"cannot write a folder `{path}`: it is a file. Choose another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield temporary
        mask = _umask()
        for entry in temporary.rglob("*"):
            # Some writers make private files; a result is as readable as any other new file.
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~mask)
        temporary.chmod(0o777 & ~mask)
        if path.exists():
            retired = temporary.with_name(temporary.name + ".old")
            os.replace(path, retired)
            try:
                os.replace(temporary, path)
            except OSError:
                os.replace(retired, path)
                raise
            shutil.rmtree(retired)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_path(text: str, root: Path | None) -> Path | None:
    """Return the existing path that a user's `text` names, or `None`.

    Args:
        text: a path; relative ones count from the working folder, and where nothing is there,
            from `root`.
        root: folder with data sets, or `None`.
    """
    if not text:
        return None
    path = Path(text).expanduser()
    candidates = [path] if root is None else [path, root / path]
    return next((candidate for candidate in candidates if candidate.exists()), None)


@contextmanager
def reading(path: Path | str, *, expected: str) -> Iterator[None]:
    """Turn whatever goes wrong while `path` is read into one `InputError` that names it.

    File parsers raise many kinds of exceptions on damaged bytes; for the caller they mean one
    thing. An `InputError` raised inside passes unchanged.

    Args:
        path: the file, for the message.
        expected: what the file should have been, such as `an npz archive`.

    Raises:
        InputError: anything went wrong.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as {expected}: {one_line(error)}. Check or replace the file."
        ) from error


def one_line(error: BaseException) -> str:
    """Return the message of `error` on one line, or its type where it has none.

    Example:
        >>> one_line(ValueError("first   second."))
        'first second'
    """
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write `{path}`: {error.strerror}. Choose another place.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
