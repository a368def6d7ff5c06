"""Label problems of the size that the comparison is about: 100 base examples, 10 classes."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.choose import choose_base
from cvxdistill.data import load_splits
from cvxdistill.features import ConvNet, Preprocessing, draw_pool, embed

BASE, CLASSES = 100, 10


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Features of a data set under drawn extractors; the last ones are left out of the solve.

    Attributes:
        bases: `(100, d)`, one an extractor.
        targets: `(n, d)`, one an extractor.
        validation: `(v, d)`, one an extractor.
        labels: `(n,)`.
        validation_labels: `(v,)`.
    """

    bases: list[Tensor]
    targets: list[Tensor]
    validation: list[Tensor]
    labels: Tensor
    validation_labels: Tensor


def image_pool(
    name: str, data_root: str, *, size: int, width: int, examples: int, zca: bool
) -> Pool:
    """Embed the first `examples` training images of a data set with random ConvNets."""
    parts = load_splits(name, data_root=data_root)
    base = choose_base(parts.train, BASE, seed=0)
    order = torch.randperm(len(parts.train), generator=torch.Generator().manual_seed(0))
    train = parts.train.subset(order[:examples])
    check = parts.validation.subset(torch.arange(min(5000, len(parts.validation))))
    ready = Preprocessing.fit(train, zca=zca)
    nets = draw_pool(ConvNet(width=width), train.shape, size=size, seed=0)
    first, second, third = (
        [embed(net, part.images, preprocessing=ready) for net in nets]
        for part in (base, train, check)
    )
    return Pool(first, second, third, labels=train.labels, validation_labels=check.labels)


def correlated_pool(condition: float, *, examples: int, features: int) -> Pool:
    """Draw Gaussian features whose singular values fall from 1 to `1 / condition`."""
    draws = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=draws, dtype=torch.float64)

    fall = -torch.log10(torch.tensor(condition)).item()
    scale = torch.logspace(0, fall, features, dtype=torch.float64)
    rotation = torch.linalg.qr(normal(features, features)).Q
    white = normal(BASE + examples, features)
    scores = white @ normal(features, CLASSES) + 2 * normal(BASE + examples, CLASSES)
    rows, labels = (white * scale) @ rotation, scores.argmax(1)
    return Pool([rows[:BASE]], [rows[BASE:]], [], labels[BASE:], labels[:0])
