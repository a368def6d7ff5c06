r"""Label distillation with a global ridge head: the first-order method of Bohdal et al. (2020).

Bohdal, Yang and Hospedales, "Flexible dataset distillation: learn labels instead of images",
<https://arxiv.org/abs/2006.08572>; their code is <https://github.com/ondrejbohdal/label-distillation>.

The network's last layer is not trained but solved for. One step draws `b` base examples with the
labels `y` of now and `n` target examples, with `Z` for features under a column of ones:

1. A local ridge head on the base examples, `W(y) = Zb' (Zb Zb' + l2 I)^-1 y`, moves the global
   one: `W <- (1 - a) W + a W(y)`, with `a = 0.01`. Only the newest share depends on the labels.
2. The cross-entropy of `s Zt W` on the target gives a gradient in `y`, one solve away. Adam takes
   a step; negative labels become zero and rows sum to one again. `s` is a learned scale.
3. The cross-entropy of `s Zb W` against the new labels trains the network and `s`, through both
   the features and the local head.

Networks are drawn anew, and the head is forgotten, once errors on the target stop falling.

The label gradient reaches the labels through the head alone, so the target's features need no
backward pass, and the base's features are computed once a step where the authors' code does it
twice. The gradients are the same.

Differences are listed in `bohdal2020_common`, but for this one: the ridge problem is solved in
float64, theirs is inverted in float32.
"""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError
from cvxdistill.methods.base import DistillTask
from cvxdistill.methods.bohdal2020_common import OnlineLabels
from cvxdistill.methods.bohdal2020_learner import OnlineLearner, adam
from cvxdistill.methods.journal import State
from cvxdistill.seeding import generator
from cvxdistill.students import (
    forget,
    pack_optimiser,
    quick_layout,
    student_loss,
    unpack_optimiser,
)


@dataclasses.dataclass(frozen=True)
class OnlineRidge(OnlineLabels):
    """Learn labels with a network trained online under a global ridge head.

    Choose it to compare with published numbers, or where a network must be trained and second
    derivatives are too dear. For frozen extractors `exact` solves the same kind of problem at
    once, without any of these settings.

    Args:
        l2: penalty of the local head, absolute.
        rate: share of the local head in the global one, in (0, 1].
        scale_lr: of Adam on the scale.

    The rest are those of `OnlineLabels` (`bohdal2020_common.py`).

    Raises:
        InputError: an unknown `init`, or numbers out of range.

    Example:
        >>> from cvxdistill.choose import choose_base
        >>> from cvxdistill.data import load_splits
        >>> from cvxdistill.distill import distill
        >>> data = load_splits("digits")
        >>> method = OnlineRidge(steps=2, validate_every=2)
        >>> base = choose_base(data.train, 20)
        >>> distill(base, data.train, method=method, extractors="pixels").label_kind
        'distribution'
    """

    l2: float = 1.0
    rate: float = 0.01
    scale_lr: float = 0.01

    name: ClassVar[str] = "online-ridge"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("l2", self.l2)
        check_positive("scale_lr", self.scale_lr)
        if not 0 < self.rate <= 1:
            raise InputError(f"`rate` must lie in (0, 1]; got {self.rate}.")

    def learner(self, task: DistillTask) -> "RidgeLearner":
        """Return a learner before its first step.

        Raises:
            InputError: an `init` that needs true labels where there are none, or a network without
                weights.
        """
        return RidgeLearner(self, task)


class RidgeLearner(OnlineLearner):
    """One run of [OnlineRidge][cvxdistill.methods.bohdal2020_ridge.OnlineRidge].

    Attributes:
        trunk: the network of now, without a last layer.
        head: `(d + 1, C)` float64 global head, the intercept in the last row.
        scale: of the logits.
    """

    method: OnlineRidge

    def __init__(self, method: OnlineRidge, task: DistillTask) -> None:
        super().__init__(method, task)
        self.trunk = self._drawn(self.network_seed(0)).train()
        if self.base.ndim == 4:
            self.base = self.base.contiguous(memory_format=quick_layout(self.trunk, task.device))
        with torch.no_grad():
            width = self._drawn(0)(self.base[:2]).shape[1]
        self.head = self.labels.new_zeros(width + 1, self.labels.shape[1])
        self.scale = torch.ones((), device=task.device, requires_grad=True)
        self.network_optimiser = adam(list(self.trunk.parameters()), method.network_lr)
        self.network_optimiser.add_param_group({"params": [self.scale], "lr": method.scale_lr})

    def _drawn(self, seed: int) -> nn.Module:
        task = self.task
        trunk = task.network.build(task.target.shape, generator(seed, "trunk"))
        return trunk.to(task.device).to(memory_format=quick_layout(trunk, task.device))

    def redraw(self, network: int, seed: int) -> None:
        """Begin with a fresh network, an empty head and a scale of one, where the old ones lie."""
        del network
        self.trunk.load_state_dict(self._drawn(seed).state_dict())
        self.head.zero_()
        with torch.no_grad():
            self.scale.fill_(1)
        forget(self.network_optimiser)

    def changed(self) -> list[Tensor]:
        """Return the tensors that a step changes."""
        return [*super().changed(), *self.trunk.state_dict().values(), self.head, self.scale]

    def optimisers(self) -> list[Optimizer]:
        """Return the optimisers that take a step in each step."""
        return [*super().optimisers(), self.network_optimiser]

    def update(self, images: Tensor, classes: Tensor, rows: Tensor) -> Tensor:
        """Take one step; see the top of this module for the formulas."""
        labels = self.labels[rows].requires_grad_()
        features = self.trunk(self.base[rows])
        local = ridge_weights(features, labels, self.method.l2)
        head = (1 - self.method.rate) * self.head + self.method.rate * local
        with torch.no_grad():
            target = self.trunk(images)
        logits = self.scale.detach() * apply_head(target, head)
        value = F.cross_entropy(logits, classes)
        (gradient,) = torch.autograd.grad(value, labels, retain_graph=True)
        self.learn(rows, gradient)

        read = self.scale * apply_head(features, head)
        fit = student_loss("distribution")(read, self.labels[rows].to(read))
        self.network_optimiser.zero_grad()
        fit.backward(inputs=[*self.trunk.parameters(), self.scale])
        self.network_optimiser.step()
        self.head.copy_(head.detach())
        return (logits.detach().argmax(1) != classes).sum().reshape(1)

    def state(self) -> dict[str, Tensor]:
        """Return what is kept of labels, and the network with its head, scale and optimiser."""
        trunk = {f"trunk.{key}": value.clone() for key, value in self.trunk.state_dict().items()}
        return {
            **super().state(),
            **trunk,
            **pack_optimiser(self.network_optimiser, "network_optimiser"),
            "head": self.head.clone(),
            "scale": self.scale.detach().clone(),
        }

    def restore(self, state: State) -> None:
        """Go back to a state."""
        super().restore(state)
        names = self.trunk.state_dict()
        self.trunk.load_state_dict({name: state[f"trunk.{name}"] for name in names})
        unpack_optimiser(self.network_optimiser, state, "network_optimiser")
        self.head.copy_(state["head"])
        with torch.no_grad():
            self.scale.copy_(state["scale"])


def ridge_weights(features: Tensor, labels: Tensor, l2: float) -> Tensor:
    """Return the ridge head `(d + 1, C)` float64 of features `(b, d)`, its intercept penalised.

    The weights of `RidgeHead(l2, "absolute", "penalised")`, in the dual whatever the sizes, and
    without its looks for singular problems: each would wait for the device, and `l2` is not small.

    Example:
        >>> ridge_weights(torch.tensor([[1.0]]), torch.tensor([[3.0]]), 1.0).tolist()
        [[1.0], [1.0]]
    """
    z = with_ones(features.double())
    eye = torch.eye(len(z), dtype=z.dtype, device=z.device)
    solved, _ = torch.linalg.solve_ex(torch.addmm(eye, z, z.mT, beta=l2), labels.double())
    weights: Tensor = z.mT @ solved
    return weights


def with_ones(features: Tensor) -> Tensor:
    """Return features with a column of ones behind them."""
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def apply_head(features: Tensor, head: Tensor) -> Tensor:
    """Return logits `(n, C)` of features `(n, d)` in their dtype."""
    weights = head.to(features)
    return torch.addmm(weights[-1], features, weights[:-1])
