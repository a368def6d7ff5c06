r"""Label distillation through gradient steps: the second-order method of Bohdal et al. (2020).

Bohdal, Yang and Hospedales, "Flexible dataset distillation: learn labels instead of images",
<https://arxiv.org/abs/2006.08572>; their code is <https://github.com/ondrejbohdal/label-distillation>.

One step draws base examples with the labels `y` of now, and target examples. A network with
weights `w` takes inner steps on the base examples, `w_k+1 = w_k - r grad l(w_k, y)`, with `l` the
cross-entropy against the labels. The cross-entropy `L` of the weights after the last of them on
the target gives the labels a gradient, and Adam takes a step; negative labels become zero and rows
sum to one again. The network itself then takes an ordinary Adam step on `l(w_0, y)`. Networks are
drawn anew once errors on the target stop falling.

How the gradient comes here: backwards over the inner steps with `u_K = grad L(w_K)` and

    u_k = u_k+1 - r H(w_k) u_k+1,    dL/dy = sum_k (r / b) J(w_k) u_k+1,

where `H` is the Hessian of `l`, and `J` the Jacobian of the base examples' log-probabilities in
the weights, since `l` is linear in the labels. `J u` is one forward-mode derivative; `H u` is one
through a gradient, and is only there for two inner steps and more. So with one inner step, theirs,
nothing is differentiated twice, and memory does not grow with their number.

Differences are listed in `bohdal2020_common`, but for these: the authors' code takes one inner
step whatever its configuration says; and several networks may vote on the label gradient.
"""

import dataclasses
import warnings
from collections.abc import Callable
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, replace_all_batch_norm_modules_, vmap
from torch.nn import functional as F

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError
from cvxdistill.methods.base import DistillTask
from cvxdistill.methods.bohdal2020_common import OnlineLabels
from cvxdistill.methods.bohdal2020_learner import OnlineLearner
from cvxdistill.methods.journal import State
from cvxdistill.students import draw_student, quick_layout, student_loss

Logits = Callable[[Tensor, Tensor], Tensor]
# PyTorch's Adam.
BETAS = (0.9, 0.999)
EPS = 1e-8


@dataclasses.dataclass(frozen=True)
class SecondOrder(OnlineLabels):
    """Learn labels by what one or more gradient steps on them do to the error on the target.

    Choose it to compare with published numbers. It needs no head in closed form and does best of
    the two with many base examples; a step costs about three times one of `online-ridge`.

    Args:
        inner_steps: gradient steps that the label gradient goes through.
        inner_lr: their size `r`.
        models: networks trained side by side; the label gradient is the mean of theirs.

    The rest are those of `OnlineLabels` (`bohdal2020_common.py`).

    Raises:
        InputError: an unknown `init`, or numbers out of range.

    Example:
        >>> from cvxdistill.choose import choose_base
        >>> from cvxdistill.data import load_splits
        >>> from cvxdistill.distill import distill
        >>> data = load_splits("digits")
        >>> method = SecondOrder(steps=2, validate_every=2)
        >>> base = choose_base(data.train, 20)
        >>> distill(base, data.train, method=method, extractors="pixels").label_kind
        'distribution'
    """

    inner_steps: int = 1
    inner_lr: float = 0.01
    models: int = 1

    name: ClassVar[str] = "second-order"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("inner_lr", self.inner_lr)
        for name in ("inner_steps", "models"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be 1 or more; got {getattr(self, name)}.")

    def learner(self, task: DistillTask) -> "SecondOrderLearner":
        """Return a learner before its first step.

        Raises:
            InputError: an `init` that needs true labels where there are none, or a network without
                weights.
        """
        return SecondOrderLearner(self, task)


class SecondOrderLearner(OnlineLearner):
    """One run of [SecondOrder][cvxdistill.methods.bohdal2020_second_order.SecondOrder].

    Attributes:
        weights: `(models, p)`, every network's weights in one row.
        moments: `(2, models, p)`, Adam's.
        taken: `(models, 1)` float64, Adam steps since the last restart.
    """

    method: SecondOrder

    def __init__(self, method: SecondOrder, task: DistillTask) -> None:
        super().__init__(method, task, networks=method.models)
        self.template = self._draw(0)
        self.layout = quick_layout(self.template, task.device)
        # Statistics of the batch, never gathered ones: a network's life is short.
        replace_all_batch_norm_modules_(self.template.train())
        self.shapes = {name: weight.shape for name, weight in self.template.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.weights = torch.zeros(method.models, sum(self.sizes), device=task.device)
        self.moments = self.weights.new_zeros(2, *self.weights.shape)
        self.taken = self.weights.new_zeros(method.models, 1, dtype=torch.float64)
        # On a CPU one network at a time is quicker: stacked convolutions become grouped ones.
        self.stacked = task.device.type == "cuda" and method.models > 1
        for model in range(method.models):
            self.redraw(model, self.network_seed(model))

    def _draw(self, seed: int) -> nn.Module:
        task = self.task
        module = draw_student(task.network, task.target.shape, task.target.num_classes, seed=seed)
        return module.to(task.device)

    def redraw(self, network: int, seed: int) -> None:
        """Give one network fresh weights, and an Adam that remembers nothing."""
        self.weights[network] = torch.cat(
            [_line(w.detach()) for w in self._draw(seed).parameters()]
        )
        self.moments[:, network] = 0
        self.taken[network] = 0

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the weights `(p,)` of one network by their names in a module, as views."""
        parts = zip(self.shapes.items(), weights.split(self.sizes), strict=True)
        return {name: _shape(part, shape, self.layout) for (name, shape), part in parts}

    def logits(self, weights: Tensor, examples: Tensor) -> Tensor:
        """Return logits `(n, C)` of one network with weights `(p,)`."""
        out: Tensor = functional_call(self.template, self.named(weights), (examples,))
        return out

    def update(self, images: Tensor, classes: Tensor, rows: Tensor) -> Tensor:
        """Take one step; see the top of this module for the formulas."""
        base, labels = self.base[rows], self.labels[rows].float()
        method = self.method

        def one(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return label_gradient(
                self.logits,
                weights,
                base,
                labels,
                images,
                classes,
                steps=method.inner_steps,
                rate=method.inner_lr,
            )

        if self.stacked:
            towards_labels, towards_weights, wrong = vmap(one)(self.weights)
        else:
            each = [one(weights) for weights in self.weights]
            towards_labels, towards_weights, wrong = map(torch.stack, zip(*each, strict=True))
        self.learn(rows, towards_labels.mean(0))
        self._train(towards_weights)
        return wrong

    def changed(self) -> list[Tensor]:
        """Return the tensors that a step changes."""
        return [*super().changed(), self.weights, self.moments, self.taken]

    def _train(self, gradient: Tensor) -> None:
        """Take an Adam step in every network, each with its own count of steps."""
        self.taken += 1
        first, second = self.moments
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size = self.method.network_lr / (1 - BETAS[0] ** self.taken)
        root = (second / (1 - BETAS[1] ** self.taken).float()).sqrt_().add_(EPS)
        self.weights -= size.float() * first / root

    def state(self) -> dict[str, Tensor]:
        """Return what is kept of labels, and the networks with their Adam."""
        own = {"weights": self.weights, "moments": self.moments, "taken": self.taken}
        return {**super().state(), **{key: value.clone() for key, value in own.items()}}

    def restore(self, state: State) -> None:
        """Go back to a state."""
        super().restore(state)
        self.weights.copy_(state["weights"])
        self.moments.copy_(state["moments"])
        self.taken.copy_(state["taken"])


def label_gradient(
    logits: Logits,
    weights: Tensor,
    base: Tensor,
    labels: Tensor,
    images: Tensor,
    classes: Tensor,
    *,
    steps: int,
    rate: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of the target's loss in the labels, through gradient steps on them.

    Args:
        logits: `(weights (p,), examples) -> (n, C)`.
        weights: `(p,)` before the first inner step.
        base: `(b, *shape)` base examples.
        labels: `(b, C)` their labels.
        images: `(n, *shape)` target examples.
        classes: `(n,)` their classes.
        steps: inner steps.
        rate: their size.

    Returns:
        The label gradient `(b, C)`, the gradient of the first inner step `(p,)`, and the number of
        errors on the target after the last one.
    """
    loss = student_loss("distribution")

    def inner(at: Tensor) -> Tensor:
        return loss(logits(at, base), labels)

    def outer(at: Tensor) -> tuple[Tensor, Tensor]:
        said = logits(at, images)
        return F.cross_entropy(said, classes), (said.argmax(1) != classes).sum()

    def log_probabilities(at: Tensor) -> Tensor:
        return logits(at, base).log_softmax(1)

    _load_forward_mode()
    path, slopes = [weights], []
    for _ in range(steps):
        slopes.append(grad(inner)(path[-1]))
        path.append(path[-1] - rate * slopes[-1])
    towards, wrong = grad(outer, has_aux=True)(path[-1])
    gradient = torch.zeros_like(labels)
    for step in reversed(range(steps)):
        change = jvp(log_probabilities, (path[step],), (towards,))[1]
        gradient = gradient + (rate / len(labels)) * change
        if step:
            towards = towards - rate * jvp(grad(inner), (path[step],), (towards,))[1]
    return gradient, slopes[0], wrong


def _line(weight: Tensor) -> Tensor:
    """Return a weight as a vector; those of convolutions with channels last."""
    return (weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight).flatten()


def _shape(line: Tensor, shape: torch.Size, layout: torch.memory_format) -> Tensor:
    """Undo `_line`, in a layout.

    With channels last nothing moves, and gradients through convolutions take two thirds of the
    time on a CPU.
    """
    if len(shape) != 4:
        return line.view(shape)
    maps = line.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
    if layout == torch.channels_last:
        return maps
    # Through a vector, since the strides of a 1 x 1 kernel may say either layout.
    return maps.flatten().view(shape)


@cache
def _load_forward_mode() -> None:
    # At its first use forward mode loads rules through an interface that PyTorch itself has
    # deprecated; the warning is not for our users, and some turn warnings into errors.
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
