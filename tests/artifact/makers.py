"""Small image sets, feature sets and artefacts of known content, for the upper rooms' tests."""

import numpy as np
import torch
from cases import draw

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.data import ImageSet
from cvxdistill.distill import distill

CLASSES = ("a", "b", "c")
NETWORK = "convnet:width=4"


def make_images(n=30, *, classes=CLASSES, shape=(1, 8, 8), seed=0, name="toy", split="train"):
    """Images of bytes in which a bright block tells the class, beside noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    images = generator.integers(0, 120, (n, *shape))
    for row, label in enumerate(labels):
        images[row, :, 2 * label : 2 * label + 2, :4] += 110
    return ImageSet(
        torch.from_numpy(images.astype(np.uint8)),
        torch.from_numpy(labels),
        tuple(classes),
        name=name,
        split=split,
    )


def make_features(n=30, d=5, *, classes=CLASSES, seed=0, name="vectors"):
    """Feature vectors around one centre a class."""
    labels = torch.arange(n) % len(classes)
    centres = 3 * draw(len(classes), d, seed=99)
    return ImageSet(
        (centres[labels] + draw(n, d, seed=seed)).float(), labels, tuple(classes), name=name
    )


def make_distilled(data=None, *, m=6, **options) -> Distilled:
    data = make_images() if data is None else data
    return distill(choose_base(data, m), data, **{"extractors": NETWORK, "pool": 1, **options})


def same_images(one: ImageSet, other: ImageSet) -> bool:
    return (
        torch.equal(one.images, other.images)
        and one.images.dtype == other.images.dtype
        and torch.equal(one.labels, other.labels)
        and torch.equal(one.indices, other.indices)
        and (one.class_names, one.name, one.split, one.source_split)
        == (other.class_names, other.name, other.split, other.source_split)
    )


def listing(folder) -> dict[str, bytes | None]:
    """Every path below `folder`, with the bytes of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
