"""Omniglot at 28 x 28 in one archive: many classes, few examples of each."""

from pathlib import Path
from typing import ClassVar

from cvxdistill.data.arrays import NpzArchive
from cvxdistill.data.base import ImageSet
from cvxdistill.data.files import require_root, require_split
from cvxdistill.data.layout import as_examples
from cvxdistill.embeddings.targets import as_class_values, name_classes, number_labels
from cvxdistill.errors import InputError


class Omniglot(NpzArchive):
    """Handwritten characters of several alphabets, 20 drawings each: Lake et al. (2015).

    <https://doi.org/10.1126/science.aab3050>. Read from the one `npz` archive in
    `DATA_ROOT/omniglot/`, with arrays `images` (grey, white on black), `labels` and `class_names`.
    The original drawings of 105 x 105 are read as `folder:PATH`, once they are laid out as one
    folder a class. There is no official split of the drawings: a quarter, five drawings a
    character, is held out as test and a fifth of the rest as validation unless told otherwise.

    Class attributes:
        labels_key: the array of classes.
        names_key: the array of their names.
    """

    name = "omniglot"
    needs_path = False
    default_validation = 0.2
    default_test_fraction = 0.25
    labels_key: ClassVar[str] = "labels"
    names_key: ClassVar[str] = "class_names"

    def splits(self) -> tuple[str, ...]:
        """Return `("all",)`: there is no official test split.

        Raises:
            InputError: no archive there.
        """
        self._path()
        return ("all",)

    def load(self, split: str) -> ImageSet:
        """Read `(n, 1, h, w)` images with their classes.

        Raises:
            InputError: unreadable, an array missing, or labels that do not fit.
        """
        require_split(self, split)
        needed = ("images", self.labels_key, self.names_key)
        missing = sorted(set(needed) - set(self._names()))
        if missing:
            raise InputError(
                f"{self._path()} must hold {', '.join(needed)}; {missing[0]} is missing. Replace "
                "the file."
            )
        arrays = self._arrays(list(needed))
        images = as_examples(arrays["images"], name=self._say("images"))
        where = self._say(self.labels_key)
        values = as_class_values(arrays[self.labels_key], name=where)
        if len(values) != len(images):
            raise InputError(
                f"{where} must have one label an image; got {len(values)} for {len(images)}. "
                "Replace the file."
            )
        names = name_classes(values, arrays[self.names_key], name=where)
        labels = number_labels(values, names, positions=True, name=where)
        return ImageSet(images, labels, names, name=self.name, split=split)

    def _path(self) -> Path:
        folder = require_root(self) / "omniglot"
        found = sorted(folder.glob("*.npz"))
        if len(found) != 1:
            raise InputError(
                f"{self.name} expects one .npz archive in {folder}; found {len(found)}. Put it "
                "there, or name it as npz:PATH."
            )
        return found[0]


class OmniglotAlphabets(Omniglot):
    """The same drawings with their alphabets as the classes, from `alphabet_labels`."""

    name = "omniglot-alphabets"
    labels_key = "alphabet_labels"
    names_key = "alphabet_names"
