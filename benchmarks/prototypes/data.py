"""Embeddings of EMNIST letters under extractors trained here, kept between runs."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cvxdistill.data import load_splits
from cvxdistill.features import Preprocessing, embed, parse_network, train_extractor

DATASET, CLASSES, VALIDATION = "emnist-letters", 26, 10_400


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an extractor is trained on the training part; validation and test are not seen."""

    network: str
    steps: int
    batch_size: int = 128
    lr: float = 3e-3

    @property
    def slug(self) -> str:
        """The name of the file that its embeddings are kept in."""
        words = (self.network.replace(":", "-").replace("=", ""), self.steps, self.batch_size)
        return "-".join(map(str, words))


RECIPES = (Recipe("convnet:width=16", 400), Recipe("lenet:bottleneck=64", 600))


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """Features `(n, d)` float64 and classes `(n,)` of the three parts."""

    train: Tensor
    train_labels: Tensor
    validation: Tensor
    validation_labels: Tensor
    test: Tensor
    test_labels: Tensor


def embeddings(recipe: Recipe, *, data_root: str, cache: Path) -> Embeddings:
    """Train and embed, or read what an earlier run has kept."""
    path = cache / f"{DATASET}-{recipe.slug}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        save_file(_make(recipe, data_root), path)
    found = load_file(path)
    return Embeddings(**{k: v if "labels" in k else v.to(torch.float64) for k, v in found.items()})


def _make(recipe: Recipe, data_root: str) -> dict[str, Tensor]:
    parts = load_splits(DATASET, data_root=data_root, validation=VALIDATION)
    ready = Preprocessing.fit(parts.train)
    extractor = train_extractor(
        parse_network(recipe.network),
        parts.train,
        preprocessing=ready,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        seed=0,
    )
    found = {}
    for name, part in (
        ("train", parts.train),
        ("validation", parts.validation),
        ("test", parts.test()),
    ):
        found[name] = embed(extractor, part.images, preprocessing=ready)
        found[f"{name}_labels"] = part.labels
    return found
