"""Students: networks trained from scratch on a few labelled examples.

Students of one network train side by side: their weights are stacked, and on a GPU one call
computes all of them: a stack of 20 LeNets costs little more than one. Convolutions stay as they
are: as products of weights and patches they are 8 times slower on an H200, 1.1 times for wide
networks. On a CPU stacked convolutions are grouped ones, up to 1.6 times slower than one network
after another, and nothing is quicker for being stacked.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cvxdistill.errors import InputError
from cvxdistill.features import Network
from cvxdistill.progress import Progress, silent
from cvxdistill.students.augmentations import AUGMENTATIONS
from cvxdistill.students.graph import WORTH_RECORDING, Recorded, record
from cvxdistill.students.networks import (
    check_batch,
    draw_student,
    predict,
    predict_stack,
    student_loss,
)
from cvxdistill.students.optimisers import OPTIMISERS, pack_optimiser, unpack_optimiser
from cvxdistill.students.recipe import Recipe, batch_rows


class Students:
    """A stack of networks of one recipe, with different initial weights, trained in step.

    Args:
        network: the recipe; a linear layer to the classes is put on top.
        shape: of one preprocessed example.
        num_classes: `C`.
        seeds: one a student.
        device: where they train.
        recorded: on CUDA, record a training step of constant rate as a graph and repeat that. Equal
            up to rounding.

    Attributes:
        parameters: stacked weights by name, `(students, ...)`.
        buffers: the same of what BatchNorm gathers.

    Raises:
        InputError: a network without weights to train, or one that cannot take this shape.

    Example:
        >>> from cvxdistill.features import MLP
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
        recorded: bool = True,
    ) -> None:
        if not network.trainable:
            raise InputError(f"`{network}` has no weights to train; choose another student.")
        self.network, self.shape, self.num_classes = network, shape, num_classes
        self.seeds = tuple(seeds)
        self.device, self.recorded = torch.device(device), recorded
        drawn = {
            seed: draw_student(network, shape, num_classes, seed=seed) for seed in set(self.seeds)
        }
        modules = [drawn[seed] for seed in self.seeds]
        self._single = copy.deepcopy(modules[0]).to(device)
        self.template = copy.deepcopy(self._single)
        self._records: dict[object, Recorded[None] | None] = {}
        parameters, buffers = stack_module_state(modules)
        self.parameters = {
            key: value.detach().to(device).requires_grad_() for key, value in parameters.items()
        }
        self.buffers = {key: value.detach().to(device) for key, value in buffers.items()}

    def redraw(self, seeds: Sequence[int]) -> None:
        """Give the students the initial weights of other seeds, as many, where they lie."""
        fresh = Students(self.network, self.shape, self.num_classes, seeds=seeds)
        self.seeds = fresh.seeds
        with torch.no_grad():
            for mine, theirs in (
                (self.parameters, fresh.parameters),
                (self.buffers, fresh.buffers),
            ):
                for key, value in mine.items():
                    value.copy_(theirs[key])

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
        if self.device.type == "cuda":
            return vmap(one, randomness="different")(weights, self.buffers)
        count = len(next(iter(weights.values())))
        each = zip(_apart(weights, count), _apart(self.buffers, count), strict=True)
        return torch.stack([one(parameters, buffers) for parameters, buffers in each])

    def begin(self, recipe: Recipe) -> None:
        """Make ready to train by a recipe, from the weights as they are."""
        self.recipe, self.steps, self._records = recipe, 0, {}
        kind = OPTIMISERS[recipe.optimiser]
        self.optimiser = kind.make(list(self.parameters.values()), recipe.rate(0))
        self.template.train()

    def step(self, examples: Tensor, labels: Tensor, label_kind: str, *, seed: int = 0) -> None:
        """Take the next training step of the recipe that `begin` was given.

        Args:
            examples: `(m, *shape)` float32, preprocessed, on the students' device.
            labels: `(m, C)`, or `(students, m, C)` where each student has labels of its own.
            label_kind: `distribution` or `scores`.
            seed: of the order of mini-batches, and of what is done to images.
        """
        rows = batch_rows(len(examples), self.recipe.batch_size, seed, self.steps)
        batch, wanted = (
            (examples, labels)
            if rows is None
            else (examples[rows.to(examples.device)], labels[..., rows.to(labels.device), :])
        )
        shown = AUGMENTATIONS[self.recipe.augment]
        batch = shown.draw(batch, seed=seed, step=self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(self.steps)
        take = self._recording(batch, wanted, label_kind)
        if take is None:
            self._update(batch, wanted, label_kind)
        else:
            take(batch, wanted)
        self.steps += 1

    def _update(self, batch: Tensor, wanted: Tensor, label_kind: str) -> None:
        # The sum over students keeps their gradients apart: no weight is shared.
        value = student_loss(label_kind)(self.logits(batch), wanted).sum()
        self.optimiser.zero_grad()
        value.backward()
        self.optimiser.step()

    def _recording(self, batch: Tensor, wanted: Tensor, label_kind: str) -> Recorded[None] | None:
        """Return the step as a graph, recorded now or before; `None` where that is not possible.

        What a graph cannot follow is left out: rates that change, since they are numbers in it;
        and examples or labels that are to have gradients.
        """
        key = (batch.shape, batch.dtype, wanted.shape, wanted.dtype, label_kind)
        if key in self._records:
            return self._records[key]
        possible = (
            self.recorded
            and self.device.type == "cuda"
            and len(set(self.recipe.step_sizes)) < 2
            and not (batch.requires_grad or wanted.requires_grad)
        )
        if possible and self.recipe.checkpoints[-1] - self.steps < WORTH_RECORDING:
            return None
        self._records[key] = (
            record(
                lambda examples, labels: self._update(examples, labels, label_kind),
                (batch, wanted),
                changed=[*self.parameters.values(), *self.buffers.values()],
                optimisers=[self.optimiser],
            )
            if possible
            else None
        )
        return self._records[key]

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
            recipe: optimiser, batch size, augmentation and checkpoints.
            seed: of the order of mini-batches, and of what is done to images.
            progress: told the steps done.
        """
        check_batch(self.network, self.shape, min(recipe.batch_size, len(examples)))
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
        if self.device.type == "cuda":
            state = {**self.parameters, **self.buffers} if weights is None else weights
            return predict_stack(self.template, state, examples, batch_size=batch_size)
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
            module = copy.deepcopy(self._single)
            module.load_state_dict({k: v[index].detach() for k, v in state.items()})
            out.append(module.eval().requires_grad_(False))
        return out

    def part(self, indices: Iterable[int]) -> "Students":
        """Return some of the students as they are now, with copies of their weights."""
        chosen = list(indices)
        some = copy.copy(self)
        some.seeds = tuple(self.seeds[index] for index in chosen)
        rows = torch.tensor(chosen)
        some.parameters, some.buffers = (
            {key: value.detach()[rows.to(value.device)] for key, value in tensors.items()}
            for tensors in (self.parameters, self.buffers)
        )
        some._records = {}
        return some

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
        # Recorded steps go on with the optimiser's memory of before.
        self._records = {}
        unpack_optimiser(self.optimiser, state, f"{prefix}.optimiser")
        self.steps = int(state[f"{prefix}.steps"])


def _apart(stacked: Mapping[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    """Return every student's own tensors, views in which BatchNorm can gather."""
    rows = {key: value.unbind() for key, value in stacked.items()}
    return [{key: parts[index] for key, parts in rows.items()} for index in range(count)]
