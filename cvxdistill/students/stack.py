"""Students: networks trained from scratch on a few labelled examples.

Students of one network train side by side: their weights are stacked and one call computes all
of them. On two cores five LeNets on 100 images are 3.4 times faster so than one after another.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cvxdistill.errors import InputError
from cvxdistill.features import MLP, ConvNet, LeNet, Network, draw_weights
from cvxdistill.progress import Progress, silent
from cvxdistill.seeding import generator
from cvxdistill.students.optimisers import OPTIMISERS, pack_optimiser, unpack_optimiser
from cvxdistill.students.recipe import Recipe, batch_rows


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

    Attributes:
        parameters: stacked weights by name, `(students, ...)`.
        buffers: the same of what BatchNorm gathers.

    Raises:
        InputError: a network without weights to train, or one that cannot take this shape.

    Example:
        >>> students = Students(MLP(width=4), (3,), 2, seeds=[0, 1])
        >>> students.logits(torch.zeros(5, 3)).shape
        torch.Size([2, 5, 2])
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

    def logits(self, batch: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return `(students, n, C)` of one batch that all students see.

        Args:
            batch: `(n, *shape)` preprocessed.
            parameters: in the place of the students' own, such as those after a step that
                gradients are to go through.
        """

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            out: Tensor = functional_call(self.template, (parameters, buffers), (batch,))
            return out

        weights = self.parameters if parameters is None else dict(parameters)
        return vmap(one, randomness="different")(weights, self.buffers)

    def begin(self, recipe: Recipe) -> None:
        """Make ready to train by a recipe, from the weights as they are."""
        self.recipe, self.steps = recipe, 0
        kind = OPTIMISERS[recipe.optimiser]
        self.optimiser = kind.make(list(self.parameters.values()), recipe.rate(0))
        self.template.train()

    def step(self, examples: Tensor, labels: Tensor, label_kind: str, *, seed: int = 0) -> None:
        """Take the next training step of the recipe that `begin` was given.

        Args:
            examples: `(m, *shape)` float32, preprocessed, on the students' device.
            labels: `(m, C)`, or `(students, m, C)` where each student has labels of its own.
            label_kind: `distribution` or `scores`.
            seed: of the order of mini-batches.
        """
        rows = batch_rows(len(examples), self.recipe.batch_size, seed, self.steps)
        batch, wanted = (
            (examples, labels)
            if rows is None
            else (examples[rows.to(examples.device)], labels[..., rows.to(labels.device), :])
        )
        # The sum over students keeps their gradients apart: no weight is shared.
        value = student_loss(label_kind)(self.logits(batch), wanted).sum()
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(self.steps)
        self.optimiser.zero_grad()
        value.backward()
        self.optimiser.step()
        self.steps += 1

    def fit(
        self,
        examples: Tensor,
        labels: Tensor,
        label_kind: str,
        *,
        recipe: Recipe,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Iterator[int]:
        """Train on preprocessed examples, and yield the number of steps at each checkpoint.

        Args:
            examples: `(m, *shape)` float32, preprocessed, on the students' device.
            labels: `(m, C)`, or `(students, m, C)` where each student has labels of its own.
            label_kind: `distribution` or `scores`.
            recipe: optimiser, batch size and checkpoints.
            seed: of the order of mini-batches.
            progress: told the steps done.
        """
        labels = labels.to(examples)
        self.begin(recipe)
        total = recipe.checkpoints[-1]
        while self.steps < total:
            self.step(examples, labels, label_kind, seed=seed)
            progress("students", self.steps, total)
            if self.steps in recipe.checkpoints:
                yield self.steps

    def weights(self) -> dict[str, Tensor]:
        """Return copies of weights and buffers as they are now, for `predict` and `modules`."""
        state = {**self.parameters, **self.buffers}
        return {key: value.detach().clone() for key, value in state.items()}

    def predict(
        self,
        examples: Tensor,
        *,
        weights: Mapping[str, Tensor] | None = None,
        batch_size: int = 1024,
    ) -> Tensor:
        """Return logits `(students, n, C)` of preprocessed examples, in eval mode.

        Args:
            examples: `(n, *shape)` on the students' device.
            weights: from an earlier call of `weights`; those of now when not given.
            batch_size: examples at a time.
        """
        # One after another: without gradients a single network fills the processor by itself.
        return torch.stack(
            [predict(module, examples, batch_size=batch_size) for module in self.modules(weights)]
        )

    def modules(self, weights: Mapping[str, Tensor] | None = None) -> list[nn.Module]:
        """Return the students as modules in eval mode, with the weights of now or of then.

        Weights may be of some of the students only, or of another stack of the same network.
        """
        state = {**self.parameters, **self.buffers} if weights is None else weights
        out = []
        for index in range(len(next(iter(state.values())))):
            module = copy.deepcopy(self.template)
            module.load_state_dict({k: v[index].detach() for k, v in state.items()})
            out.append(module.eval().requires_grad_(False))
        return out

    def state(self, prefix: str = "students") -> dict[str, Tensor]:
        """Return all that training goes on from, as tensors under `prefix`."""
        named = {f"{prefix}.weights.{key}": value for key, value in self.weights().items()}
        steps = torch.tensor(self.steps)
        return {
            **named,
            **pack_optimiser(self.optimiser, f"{prefix}.optimiser"),
            f"{prefix}.steps": steps,
        }

    def restore(self, state: Mapping[str, Tensor], prefix: str = "students") -> None:
        """Go back to a `state` of students with this network and recipe, after `begin`."""
        with torch.no_grad():
            for key, value in {**self.parameters, **self.buffers}.items():
                value.copy_(state[f"{prefix}.weights.{key}"])
        unpack_optimiser(self.optimiser, state, f"{prefix}.optimiser")
        self.steps = int(state[f"{prefix}.steps"])


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
