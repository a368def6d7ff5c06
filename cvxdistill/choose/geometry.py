"""Choosers that look at where examples lie in feature space, class by class or over all."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.choose.balanced import share_equally
from cvxdistill.choose.base import BLOCK_ROWS, BaseRequest, Chooser
from cvxdistill.seeding import derive_seed, generator


@dataclasses.dataclass(frozen=True)
class GeometricChooser(Chooser):
    """A chooser that picks points of a cloud; with `per_class` it picks from each class's own.

    Attributes:
        per_class: pick equally many from every class, ordered by class; else from all at once,
            without a look at the labels.
    """

    per_class: bool = True

    needs_features: ClassVar[bool] = True

    @abstractmethod
    def pick(self, features: Tensor, examples: int, seed: int) -> Tensor:
        """Return `examples` distinct rows of `features (n, d)`, any floating dtype."""

    def choose(self, request: BaseRequest) -> Tensor:
        """Return the positions of what `pick` picks.

        Raises:
            InputError: images whose features were not given, or too few examples of a class.
        """
        features, count = request.embedded, request.count
        if not self.per_class:
            seed = derive_seed(request.seed, "base", self.name)
            return self.pick(features, count, seed).cpu()
        data = request.data
        shares = share_equally(data, count, generator(request.seed, "base", self.name, "shares"))
        chosen = []
        for label, share in enumerate(shares.tolist()):
            if share:
                members = (data.labels == label).nonzero().flatten()
                seed = derive_seed(request.seed, "base", self.name, label)
                picked = self.pick(features[members.to(features.device)], share, seed)
                chosen.append(members.cpu()[picked.cpu()])
        return torch.cat(chosen)


def blocks(features: Tensor) -> Iterator[Tensor]:
    """Yield the rows in float64, some at a time."""
    return (block.detach().to(torch.float64) for block in features.split(BLOCK_ROWS))


def mean_row(features: Tensor) -> Tensor:
    """Return the mean of the rows `(d,)` in float64."""
    return torch.stack([block.sum(0) for block in blocks(features)]).sum(0) / len(features)


def squared_distances(features: Tensor, point: Tensor) -> Tensor:
    """Return the squared distances `(n,)` of rows to a point `(d,)`, from differences."""
    return torch.cat([(block - point).square().sum(1) for block in blocks(features)])
