"""A data set folder of the Hugging Face Hub: a card, and one Parquet file that needs no code."""

import dataclasses
from pathlib import Path

from cvxdistill.errors import InputError
from cvxdistill.export.base import Exporter
from cvxdistill.export.card import body, front_matter
from cvxdistill.export.parquet import Parquet
from cvxdistill.export.record import Contents

_CARD = "README.md"
_DATA = "data/train-00000-of-00001.parquet"


@dataclasses.dataclass(frozen=True)
class Hub(Exporter):
    """`README.md` and `data/*.parquet`: choose it to publish, or for code that loads by name.

    `datasets.load_dataset(folder)` gives the columns of
    [Parquet][cvxdistill.export.parquet.Parquet] as split `train`, with images decoded and class
    names known. The card says what the labels are, how they came about, how to train on them, what
    an evaluation found, and where the claims end. Upload the folder as it is
    (`hf upload NAME FOLDER --repo-type dataset`): a file that another program wrote anew loses
    the record that brings it back here.

    Attributes:
        license: an identifier of the Hub's list, such as `mit`. The base images come from a data
            set of others, whose licence goes on; nobody but you can say which it is.
    """

    license: str = "unknown"

    name = "hub"
    expected = "a data set folder with a card that `cvxdistill export` wrote"
    suffix = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether the folder has a card and the data file."""
        return (path / _CARD).is_file() and (path / _DATA).is_file()

    def check(self, contents: Contents) -> None:
        """Refuse what the Parquet file cannot hold.

        Raises:
            InputError: a whitening matrix that is too large, or a library that is not installed.
        """
        Parquet().check(contents)
        try:
            import huggingface_hub  # noqa: F401
        except ImportError as error:
            raise InputError(
                "a card needs huggingface_hub, which is not installed: "
                'pip install "cvxdistill[hub]".'
            ) from error

    def _write(self, contents: Contents, place: Path) -> None:
        data = place / _DATA
        data.parent.mkdir()
        Parquet()._write(contents, data)
        matter = front_matter(contents, license=self.license, data_bytes=data.stat().st_size)
        (place / _CARD).write_text(f"---\n{matter}\n---\n\n{body(contents)}", encoding="utf-8")

    def _contents(self, path: Path) -> Contents:
        if not (path / _DATA).is_file():
            raise InputError(f"`{path}` must hold `{_DATA}`; it does not.")
        return Parquet()._contents(path / _DATA)
