"""What a distilled set takes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Bits:
    """What examples and labels of a distilled set take, in bits.

    Head, preprocessing, hashes and provenance are left out: they do not grow with the examples,
    or are not needed to train on them.

    Attributes:
        images: examples as they are stored, 8 bits a number for bytes and 32 for float32.
        labels: labels as they are stored: `64 m C` of float64, less of other codecs.
        hard_labels: `m ceil(log2 C)`, what classes alone would take: what one-hot labels need.
    """

    images: int
    labels: int
    hard_labels: int

    @property
    def total(self) -> int:
        """Images and labels as they are stored."""
        return self.images + self.labels
