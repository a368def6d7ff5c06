"""Features of a data set under drawn ConvNets, kept on disk between runs."""

import argparse
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cvxdistill.choose import choose_base
from cvxdistill.data import ImageSet, Splits, load_splits
from cvxdistill.features import ConvNet, Extractor, Preprocessing, draw_pool, embed

# Of each data set: where it is, and whether pixels are whitened.
SOURCES = {"mnist": ("mnist", False), "cifar10-jpeg": ("folder:cifar10-jpeg.tar.gz", True)}
# Seeds of the draws, so that no extractor is in two roles.
POOL_SEED, HELD_OUT_SEED, UNSEEN_SEED = 0, 1_000, 2_000


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """A data set with its parts, preprocessing, and the folder of cached features.

    Attributes:
        name: of the data set.
        parts: training, validation and test.
        target: the training examples that labels are solved on.
        preprocessing: fitted to the training part.
        width: of the ConvNets.
        cache: folder of features.
    """

    name: str
    parts: Splits
    target: ImageSet
    preprocessing: Preprocessing
    width: int
    cache: Path

    @classmethod
    def load(cls, name: str, data_root: Path, *, width: int, examples: int, cache: Path) -> "Study":
        """Read a data set and draw its target examples."""
        source, zca = SOURCES[name]
        kind, _, path = source.partition(":")
        parts = load_splits(f"{kind}:{data_root / path}" if path else kind, data_root=data_root)
        order = torch.randperm(len(parts.train), generator=torch.Generator().manual_seed(0))
        preprocessing = Preprocessing.fit(parts.train, zca=zca)
        cache.mkdir(parents=True, exist_ok=True)
        return cls(name, parts, parts.train.subset(order[:examples]), preprocessing, width, cache)

    def base(self, seed: int) -> ImageSet:
        """Return 100 training images, ten a class."""
        return choose_base(self.parts.train, 100, seed=seed)

    def draw(self, size: int, *, seed: int) -> list[Extractor]:
        """Draw ConvNets; a longer list begins with the shorter one."""
        return draw_pool(ConvNet(width=self.width), self.target.shape, size=size, seed=seed)

    def features(self, extractor: Extractor, data: ImageSet) -> Tensor:
        """Return `(n, d)` float32 features, from the cache where they are there."""
        digest = hashlib.sha256()
        for part in (extractor.fingerprint(), self.preprocessing.fingerprint(), data.split):
            digest.update(part.encode())
        digest.update(data.indices.numpy().tobytes())
        path = self.cache / f"{self.name}_{digest.hexdigest()[:24]}.npy"
        if not path.exists():
            found = embed(extractor, data.images, preprocessing=self.preprocessing)
            partial = path.with_suffix(".partial.npy")
            np.save(partial, found.numpy())
            partial.rename(path)
        return torch.from_numpy(np.load(path))


def mnist_study(options: argparse.Namespace) -> Study:
    """Return MNIST as the options ask for it."""
    return Study.load(
        "mnist",
        options.data_root,
        width=options.width,
        examples=options.examples,
        cache=options.cache,
    )


def lists_of(study: Study, extractors: Sequence[Extractor], data: ImageSet) -> list[Tensor]:
    """Return the features of `data` under each extractor."""
    return [study.features(extractor, data) for extractor in extractors]
