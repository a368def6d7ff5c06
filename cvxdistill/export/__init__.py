"""Other tools' formats: a distilled set goes out into them, and comes back the same.

To add one: a subclass of `Exporter` in a file of its own and a line in `EXPORTERS`; a format that
is only read, a subclass of `Importer` and a line in `IMPORTERS`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError
from cvxdistill.export.authors import Authors
from cvxdistill.export.base import Exporter, Importer
from cvxdistill.export.dataset import DistilledDataset
from cvxdistill.export.hub import Hub
from cvxdistill.export.image_folder import ImageFolder
from cvxdistill.export.npz import Npz
from cvxdistill.export.parquet import Parquet
from cvxdistill.export.torch_file import TorchFile
from cvxdistill.specs import parse_spec

__all__ = [
    "EXPORTERS",
    "IMPORTERS",
    "DistilledDataset",
    "Exporter",
    "Importer",
    "export_distilled",
    "find_exporter",
    "find_importer",
    "import_distilled",
]

EXPORTERS: dict[str, type[Exporter]] = {
    "hub": Hub,
    "image-folder": ImageFolder,
    "npz": Npz,
    "parquet": Parquet,
    "torch": TorchFile,
}

IMPORTERS: dict[str, type[Importer]] = {**EXPORTERS, "authors": Authors}


def export_distilled(
    distilled: Distilled,
    path: Path | str,
    *,
    format: str | Exporter | None = None,
    results: Mapping[str, Any] | None = None,
) -> None:
    """Write a distilled set in a format of others: all of it or nothing.

    Args:
        distilled: what to write; its own format is `distilled.save(folder)`.
        path: the file, which is replaced, or the folder, which must be new or empty.
        format: a key of `EXPORTERS` with options as in `hub:license=mit`; by the ending of `path`
            when not given.
        results: an evaluation, in the form of a run's `result.json`, shown on the card of `hub`.

    Raises:
        InputError: an unknown format, examples that it cannot hold, or a path that cannot be
            written.

    Example:
        >>> import tempfile, torch
        >>> from cvxdistill.data import ImageSet
        >>> base = ImageSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), name="toy")
        >>> made = Distilled(base, torch.eye(2, dtype=torch.float64), "distribution", ("a", "b"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_distilled(made, Path(folder) / "toy.npz")
        ...     again = import_distilled(Path(folder) / "toy.npz")
        >>> torch.equal(again.labels, made.labels)
        True
    """
    chosen = format if isinstance(format, Exporter) else find_exporter(path, format)
    chosen.write(distilled, path, results=results)


def import_distilled(path: Path | str, *, format: str | None = None, **options: Any) -> Distilled:
    """Read a distilled set that `export_distilled` or the authors' scripts wrote.

    Args:
        path: file or folder.
        format: a key of `IMPORTERS`; by what lies at `path` when not given.
        **options: what the format must be told beside the path: the fields of
            [Authors][cvxdistill.export.authors.Authors]; the others take none.

    Returns:
        The distilled set. Extractors that were drawn are drawn again; trained ones are missing.

    Raises:
        InputError: nothing there, an unknown format or option, or contents that are damaged,
            changed, or of another schema.
    """
    return find_importer(path, format, **options).read(path)


def find_exporter(path: Path | str, format: str | None = None) -> Exporter:
    """Return the format that is named, or else the one of whose files `path` has the ending.

    Raises:
        InputError: an unknown format, or an ending that tells none.
    """
    if format is not None:
        return parse_spec(format, EXPORTERS, what="export format")
    for kind in EXPORTERS.values():
        if kind.suffix is not None and kind.suffix == Path(path).suffix.lower():
            return kind()
    endings = [kind.suffix for kind in EXPORTERS.values() if kind.suffix is not None]
    folders = [name for name, kind in EXPORTERS.items() if kind.suffix is None]
    raise InputError(
        f"`{path}` does not tell the format: end it in {', '.join(endings)}, or name one of the "
        f"folders {', '.join(folders)} as `format` (--to)."
    )


def find_importer(path: Path | str, format: str | None = None, **options: Any) -> Importer:
    """Return the format that is named, or else the one that recognises what lies at `path`.

    Raises:
        InputError: an unknown format or option, or a path that no format recognises.
    """
    if format is None:
        known = [name for name, kind in IMPORTERS.items() if kind.recognises(Path(path))]
        if not known:
            raise InputError(
                f"`{path}` is nothing that any of {', '.join(IMPORTERS)} recognises. Check the "
                "path, or name its `format` (--from)."
            )
        format = known[0]
    kind = IMPORTERS[check_choice("import format", format, IMPORTERS)]
    allowed = {field.name for field in dataclasses.fields(kind)}
    if issubclass(kind, Exporter):
        # Their options are about writing.
        allowed = set()
    foreign = sorted(options.keys() - allowed)
    if foreign:
        raise InputError(f"format `{format}` carries all that it needs; leave `{foreign[0]}` out.")
    return kind(**options)
