"""Base examples whose mean stays near the mean of all."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.choose.geometry import GeometricChooser, blocks, mean_row


@dataclasses.dataclass(frozen=True)
class Herding(GeometricChooser):
    """Each next example brings the mean of those chosen as near as it can to the mean of all.

    Choose it where averages over the base matter, as for a nearest-mean rule, or as the usual
    rival from continual learning. With the mean at the origin and `s` the sum of the `k` chosen
    so far, the next example minimises `|s + z|^2`.

    Sources: Welling (2009), "Herding dynamical weights to learn",
    <https://doi.org/10.1145/1553374.1553517>; Rebuffi et al. (2017), "iCaRL: incremental
    classifier and representation learning", <https://arxiv.org/abs/1611.07725>, per class.

    Attributes:
        per_class: herd every class by itself; else all examples at once.

    Example:
        >>> z = torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0]])
        >>> Herding().pick(z, 3, seed=0).tolist()
        [3, 2, 1]
    """

    name: ClassVar[str] = "herding"
    nested: ClassVar[bool] = True

    def pick(self, features: Tensor, examples: int, seed: int) -> Tensor:  # noqa: ARG002
        """Return rows in the order in which they are herded."""
        mean = mean_row(features)
        squares = torch.cat([(block - mean).square().sum(1) for block in blocks(features)])
        total = torch.zeros_like(mean)
        chosen: list[Tensor] = []
        for _ in range(examples):
            products = torch.cat([(block - mean) @ total for block in blocks(features)])
            scores = squares + 2 * products
            if chosen:
                scores[torch.stack(chosen)] = torch.inf
            chosen.append(scores.argmin())
            total = total + features[chosen[-1]].to(torch.float64) - mean
        return torch.stack(chosen)
