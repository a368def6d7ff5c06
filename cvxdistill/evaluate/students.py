"""Students: networks trained from scratch on a few labelled examples.

Students of one network train side by side: their weights are stacked and one call computes all
of them. On two cores five LeNets on 100 images are 3.4 times faster so than one after another.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cvxdistill.errors import InputError
from cvxdistill.features import MLP, ConvNet, LeNet, Network, draw_weights
from cvxdistill.progress import Progress, silent
from cvxdistill.seeding import derive_seed, generator


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How students are trained.

    Attributes:
        checkpoints: numbers of steps among which validation chooses, in rising order.
        batch_size: examples a step; a smaller set is used whole in each step.
        lr: learning rate of Adam, whose other settings are the defaults.

    Raises:
        InputError: no checkpoints, or numbers out of range.
    """

    checkpoints: tuple[int, ...] = (50, 100, 200)
    batch_size: int = 128
    lr: float = 1e-3

    def __post_init__(self) -> None:
        steps = self.checkpoints
        if not steps or steps[0] < 1 or list(steps) != sorted(set(steps)):
            raise InputError(f"`checkpoints` must be rising positive steps; got {steps}.")
        if self.batch_size < 1 or self.lr <= 0:
            raise InputError(
                f"`batch_size` and `lr` must be positive; got {self.batch_size} and {self.lr}."
            )


def default_student(shape: tuple[int, ...]) -> Network:
    """Return the network that students are when nobody says: LeNet where it fits.

    LeNet was made for 28 x 28. Below 12 pixels a side its second layer looks at 4 x 4 maps and
    little is left of it, so a narrow ConvNet takes its place; feature vectors get an MLP.

    Example:
        >>> str(default_student((1, 28, 28))), str(default_student((1, 8, 8)))
        ('lenet', 'convnet:width=32')
    """
    if len(shape) == 1:
        return MLP()
    return LeNet() if min(shape[1:]) >= 12 else ConvNet(width=32)


def student_loss(label_kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss with which students read labels of this kind, a mean over examples.

    Cross-entropy for a `distribution`; a squared error summed over classes for `scores`, which
    may be negative and mean what a squared-error head would say.
    """
    if label_kind == "distribution":
        return lambda logits, labels: -(labels * logits.log_softmax(-1)).sum(-1).mean(-1)
    return lambda logits, labels: (logits - labels).square().sum(-1).mean(-1)


class Students:
    """A stack of networks of one recipe, with different initial weights, trained in step.

    Args:
        network: the recipe; a linear layer to the classes is put on top.
        shape: of one preprocessed example.
        num_classes: `C`.
        seeds: one a student.
        device: where they train.

    Raises:
        InputError: a network without weights to train, or one that cannot take this shape.
    """

    def __init__(
        self,
        network: Network,
        shape: tuple[int, ...],
        num_classes: int,
        *,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        if not network.trainable:
            raise InputError(f"`{network}` has no weights to train; choose another student.")
        self.seeds = tuple(seeds)
        modules = [draw_student(network, shape, num_classes, seed=seed) for seed in self.seeds]
        self.template = copy.deepcopy(modules[0]).to(device)
        parameters, buffers = stack_module_state(modules)
        self.parameters = {
            key: value.detach().to(device).requires_grad_() for key, value in parameters.items()
        }
        self.buffers = {key: value.detach().to(device) for key, value in buffers.items()}

    def logits(self, batch: Tensor) -> Tensor:
        """Return `(students, n, C)` of one batch that all students see, for training."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            out: Tensor = functional_call(self.template, (parameters, buffers), (batch,))
            return out

        return vmap(one, randomness="different")(self.parameters, self.buffers)

    def fit(
        self,
        examples: Tensor,
        labels: Tensor,
        label_kind: str,
        *,
        recipe: Recipe,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Iterator[tuple[int, list[nn.Module]]]:
        """Train on preprocessed examples, and yield `(steps, students)` at each checkpoint.

        Args:
            examples: `(m, *shape)` float32, preprocessed, on the students' device.
            labels: `(m, C)`.
            label_kind: `distribution` or `scores`.
            recipe: optimiser, batch size and checkpoints.
            seed: of the order of mini-batches.
            progress: told the steps done.
        """
        loss = student_loss(label_kind)
        labels = labels.to(examples)
        optimiser = torch.optim.Adam(list(self.parameters.values()), lr=recipe.lr)
        batches = _batches(len(examples), recipe.batch_size, seed)
        self.template.train()
        total = recipe.checkpoints[-1]
        for step in range(1, total + 1):
            rows = next(batches)
            batch, wanted = (examples, labels) if rows is None else (examples[rows], labels[rows])
            # The sum over students keeps their gradients apart: no weight is shared.
            value = loss(self.logits(batch), wanted).sum()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            progress("students", step, total)
            if step in recipe.checkpoints:
                yield step, self.modules()

    def modules(self) -> list[nn.Module]:
        """Return the students as they are now, as modules in eval mode."""
        out = []
        for index in range(len(self.seeds)):
            module = copy.deepcopy(self.template)
            state = {**self.parameters, **self.buffers}
            module.load_state_dict({k: v[index].detach() for k, v in state.items()})
            out.append(module.eval().requires_grad_(False))
        return out


def draw_student(
    network: Network, shape: tuple[int, ...], num_classes: int, *, seed: int
) -> nn.Module:
    """Return a freshly drawn network with a linear layer to `num_classes` on top."""
    stream = generator(seed, "student")
    trunk = network.build(shape, stream)
    trunk.eval()
    with torch.no_grad():
        width = int(trunk(torch.zeros(1, *shape)).shape[1])
    # Built on the meta device, which draws nothing from the global generator.
    with torch.device("meta"):
        last = nn.Linear(width, num_classes)
    return nn.Sequential(trunk, draw_weights(last.to_empty(device="cpu"), stream))


def predict(module: nn.Module, examples: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Return logits `(n, C)` of preprocessed examples, without gradients."""
    with torch.no_grad():
        return torch.cat([module(part) for part in examples.split(batch_size)])


def _batches(count: int, size: int, seed: int) -> Iterator[Tensor | None]:
    """Yield rows of mini-batches, epoch after epoch; `None` stands for all rows."""
    if count <= size:
        while True:
            yield None
    stream = torch.Generator().manual_seed(derive_seed(seed, "student batches"))
    while True:
        order = torch.randperm(count, generator=stream)
        # The short batch at the end of an epoch is left out: its gradient is noisier.
        yield from order[: count - count % size].split(size)
