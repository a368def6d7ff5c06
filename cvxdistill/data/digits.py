"""The 1,797 scanned digits that scikit-learn ships: real images without any file to fetch."""

import numpy as np
import torch

from cvxdistill.data.base import DataSource, ImageSet
from cvxdistill.data.files import require_split


class Digits(DataSource):
    """8 x 8 grey scans of handwritten digits, 10 classes of about 180.

    The test part of Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits* (1998),
    <https://archive.ics.uci.edu/dataset/80>, as `sklearn.datasets.load_digits` gives it. Its
    pixels count 0 to 16 and are stored as `round(255 / 16 * value)`. It has no official split; a
    quarter is held out as test and a fifth of the rest as validation unless told otherwise.

    Example:
        >>> digits = Digits().load("all")
        >>> len(digits), digits.shape, digits.images.dtype
        (1797, (1, 8, 8), torch.uint8)
    """

    name = "digits"
    default_validation = 0.2
    default_test_fraction = 0.25

    def splits(self) -> tuple[str, ...]:
        """Return `("all",)`: there is no official test split."""
        return ("all",)

    def load(self, split: str) -> ImageSet:
        """Return all 1,797 images, `(1797, 1, 8, 8)` uint8.

        Raises:
            InputError: `split` is not `all`.
        """
        require_split(self, split)
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        return ImageSet(
            images=torch.from_numpy(images).unsqueeze(1),
            labels=torch.from_numpy(bunch.target),
            class_names=tuple("0123456789"),
            name=self.name,
        )
