"""Cross-entropy of a softmax, with a temperature."""

import dataclasses
from typing import ClassVar

from torch import Tensor

from cvxdistill.checks import check_positive
from cvxdistill.errors import IncompatibleError
from cvxdistill.labels.base import LabelLoss
from cvxdistill.labels.coding import code_distributions
from cvxdistill.statistics import TargetStatistics


@dataclasses.dataclass(frozen=True)
class CrossEntropyLoss(LabelLoss):
    r"""Cross-entropy of `softmax(logits / temperature)` against class distributions.

    Choose it when accuracy matters more than the squared error: it does not punish logits for
    being more right than 1. It needs the target's features, moments are not enough. For an example
    with distribution `t` and logits `u`,

        log sum_c exp(u_c / temperature) - sum_c t_c u_c / temperature.

    Below 1 a temperature makes the softmax sharper. With free labels it acts through penalty and
    prior alone, since labels `Y` at temperature `tau` predict as `Y / tau` does at 1; on the
    simplex, where predictions hardly leave [0, 1], it decides how confident they can be at all:
    0.1 is a good first choice there. [choose_temperature][cvxdistill.solvers.choose_temperature]
    chooses it on validation data.

    Args:
        temperature: above zero; `scale` is its inverse.

    Raises:
        InputError: a temperature that is not above zero.

    References:
        Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network",
        https://arxiv.org/abs/1503.02531

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> round(CrossEntropyLoss().value(logits, torch.tensor([[0.0, 1.0]])).item(), 4)
        0.6931
    """

    temperature: float = 1.0

    name: ClassVar[str] = "cross_entropy"
    cross_entropy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    @property
    def scale(self) -> float:
        """What logits are multiplied with, `1 / temperature`."""
        return 1.0 / self.temperature

    def code(self, labels: Tensor, *, num_classes: int) -> Tensor:
        """Return distributions `(n, C)` float64; floating labels must be distributions.

        Raises:
            InputError: class labels out of range, or soft targets that are not distributions.
        """
        return code_distributions(labels, num_classes=num_classes, loss=self.name)

    def code_statistics(self, statistics: TargetStatistics) -> TargetStatistics:
        """Refuse: a cross-entropy is no function of moments.

        Raises:
            IncompatibleError: always.
        """
        raise IncompatibleError(
            f"a cross-entropy needs the target's features; got {statistics!r}. Give the target as "
            "(features, labels), or use loss `squared`."
        )

    def value(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of `logits (n, C)` against `targets (n, C)`."""
        scaled = logits * self.scale
        return (scaled.logsumexp(-1) - (scaled * targets).sum(-1)).mean()
