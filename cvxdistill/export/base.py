"""What a format of others is: a distilled set goes out into it, and comes back the same."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from cvxdistill.artifact import Distilled
from cvxdistill.errors import InputError
from cvxdistill.export.record import Contents
from cvxdistill.files import atomic_file, atomic_folder, reading
from cvxdistill.manifest import MANIFEST


@dataclasses.dataclass(frozen=True)
class Importer(ABC):
    """Reads one format. To add one: a subclass in a file of its own and one line in `IMPORTERS`.

    Dataclass fields are what must be told beside the path. Truncated, mis-shaped, non-finite and
    pickled input, and input of another schema, raises `InputError` with one line that names the
    path; no byte of it is executed.

    Class attributes:
        name: the key in `IMPORTERS`.
        expected: what lies at the path, for messages.
    """

    name: ClassVar[str]
    expected: ClassVar[str]

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether what lies at `path` looks like this format; never raises."""

    def read(self, path: Path | str) -> Distilled:
        """Return the distilled set at `path`.

        Raises:
            InputError: nothing there, or not a whole and unchanged one of this format.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"nothing exists at `{path}`; expected {self.expected}.")
        if (path / MANIFEST).is_file():
            raise InputError(
                f"`{path}` is a run folder already; use it as it is, or Distilled.load."
            )
        with _naming(path, self.expected):
            return self._read(path)

    @abstractmethod
    def _read(self, path: Path) -> Distilled:
        """Read what exists at `path`; whatever is raised here becomes one line."""


@dataclasses.dataclass(frozen=True)
class Exporter(Importer):
    """Writes one format, and reads it back. To add one: a subclass and one line in `EXPORTERS`.

    The contract, checked for every registered format: `read(path)` after `write(distilled, path)`
    gives the same examples bit for bit, labels (float64), class names, label kind, base classes
    and indices, preprocessing, head, recipe and provenance; what a format cannot hold, `write`
    refuses before anything is written. Extractors that were drawn come back, trained ones do not:
    their weights stay in the artefact.

    Dataclass fields are options: a format with a field `license` is at once `hub:license=mit` on
    the command line.

    Class attributes:
        suffix: how the file must end; `None` for folders.
    """

    suffix: ClassVar[str | None]

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether `path` ends as files of this format do."""
        return cls.suffix is not None and path.suffix.lower() == cls.suffix

    def write(
        self,
        distilled: Distilled,
        path: Path | str,
        *,
        results: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a distilled set to `path`: all of it or nothing.

        A file that is there is replaced once the new one is complete; a folder must be new or
        empty.

        Args:
            distilled: what to write.
            path: file or folder, by `suffix`.
            results: an evaluation of it, in the form of a run's `result.json`, for formats with a
                place for prose.

        Raises:
            InputError: examples that this format cannot hold, a path that ends otherwise, or one
                that cannot be written.
        """
        path = Path(path)
        contents = Contents.of(distilled, results)
        self.check(contents)
        if self.suffix is not None:
            if path.suffix.lower() != self.suffix:
                raise InputError(
                    f"format `{self.name}` is a file that ends in {self.suffix}; got `{path}`. "
                    "Rename it or choose another format."
                )
            with atomic_file(path) as temporary:
                self._write(contents, temporary)
            return
        if path.is_dir() and any(path.iterdir()):
            raise InputError(
                f"`{path}` holds files already and is left as it is. Choose a new folder."
            )
        with atomic_folder(path) as temporary:
            self._write(contents, temporary)

    def check(self, contents: Contents) -> None:
        """Refuse what this format cannot hold; most hold everything.

        Raises:
            InputError: it cannot.
        """

    @abstractmethod
    def _write(self, contents: Contents, place: Path) -> None:
        """Write to a temporary file or into a temporary folder, which takes its place later."""

    def _read(self, path: Path) -> Distilled:
        return self._contents(path).restore()

    @abstractmethod
    def _contents(self, path: Path) -> Contents:
        """Read what `_write` wrote; arrays are checked against the record later."""


@contextmanager
def _naming(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever goes wrong while `path` is read into one line that names it."""
    try:
        with reading(path, expected=expected):
            yield
    except InputError as error:
        text = str(error)
        if str(path) in text:
            raise
        raise InputError(f"`{path}`: {text}") from error
