"""Learning through training: what Wang et al. (2018) and Sucholutsky and Schonlau (2019) share.

Networks take a number of gradient steps on the synthetic examples; how they then do on the target
is differentiated with respect to the examples, their labels and the step sizes, back through each
of those steps.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError
from cvxdistill.methods.base import DistillTask, MethodResult
from cvxdistill.methods.iterative import IterativeMethod, Learner
from cvxdistill.methods.journal import State
from cvxdistill.methods.labelling import Labelling
from cvxdistill.methods.unrolling import UnrolledGradient, unrolled_gradient
from cvxdistill.seeding import derive_seed, generator
from cvxdistill.students import (
    WORTH_RECORDING,
    Recipe,
    Students,
    batch_rows,
    check_batch,
    pack_optimiser,
    record,
    unpack_optimiser,
)

# Of the outer Adam, as in the first paper's code.
BETAS = (0.5, 0.999)
# Below this a step is none, and a recipe wants step sizes above zero.
LEAST_STEP = 1e-8


@dataclasses.dataclass(frozen=True)
class UnrolledMethod(IterativeMethod):
    """What is common to methods that learn examples through the training of networks.

    Args:
        steps: updates of the synthetic examples.
        inner_steps: gradient steps a network takes in an epoch.
        inner_epochs: epochs; each of the `inner_steps * inner_epochs` steps has a size of its own.
        divide: show `m // inner_steps` of the examples in each step instead of all of them, in an
            order that is drawn anew once fewer than that are left. Cheaper by `inner_steps`; less
            exact.
        networks: drawn afresh for each update, side by side.
        batch_size: target examples of an update.
        lr: of Adam on pixels in [0, 1]; all rates fall along half a cosine to zero.
        step_size: that all steps start from.
        step_lr: of Adam on the step sizes.
        noise: standard deviation of what is added to the base examples at the start.

    Raises:
        InputError: a number out of range.
    """

    steps: int = 1000
    inner_steps: int = 10
    inner_epochs: int = 3
    divide: bool = False
    networks: int = 4
    batch_size: int = 256
    lr: float = 0.01
    step_size: float = 0.1
    step_lr: float = 0.05
    noise: float = 0.0

    def __post_init__(self) -> None:
        for key in ("steps", "inner_steps", "inner_epochs", "networks", "batch_size"):
            if getattr(self, key) < 1:
                raise InputError(f"`{key}` must be 1 or more; got {getattr(self, key)}.")
        check_positive("lr", self.lr)
        check_positive("step_size", self.step_size)
        check_positive("step_lr", self.step_lr)
        check_positive("noise", self.noise, zero=True)

    def learner(self, task: DistillTask) -> "UnrolledLearner":
        """Return a learner whose examples are the base, with noise if wanted."""
        return UnrolledLearner(self, task, self.labelling(task))

    @abstractmethod
    def labelling(self, task: DistillTask) -> Labelling:
        """Return the labels that learning starts from."""


class UnrolledLearner(Learner):
    """Examples, labels and step sizes on their way, with the Adam that moves them."""

    def __init__(self, method: UnrolledMethod, task: DistillTask, labelling: Labelling) -> None:
        self.method, self.task, self.labelling = method, task, labelling
        self.target = task.target.to(task.device)
        images = task.base.images.to(task.device, torch.float32)
        if task.base.images.dtype == torch.uint8:
            images = images / 255.0
        if method.noise:
            stream = generator(task.seed, "noise")
            noise = torch.randn(images.shape, generator=stream)
            images = images + method.noise * noise.to(images)
        check_batch(task.network, task.base.shape, self.inner_batch)
        count = method.inner_steps * method.inner_epochs
        # Step sizes are softplus of what is learned, and so stay above zero.
        size = method.step_size
        start = size + math.log(-math.expm1(-size))
        sizes = torch.full((count,), start, device=task.device)
        self.values = {
            "images": images.clone().requires_grad_(),
            "step_sizes": sizes.requires_grad_(),
            "labels": labelling.start.to(images).requires_grad_(labelling.lr is not None),
        }
        rates = {"images": method.lr, "step_sizes": method.step_lr, "labels": labelling.lr}
        self.groups = [
            {"params": [self.values[key]], "lr": rate, "start": rate}
            for key, rate in rates.items()
            if rate is not None
        ]
        self.optimiser = torch.optim.Adam(self.groups, betas=BETAS)
        self.loss, self.done = torch.zeros((), device=task.device), 0
        # Updates in which training diverged.
        self.lost = torch.zeros((), dtype=torch.int64, device=task.device)
        self.networks = Students(
            task.network,
            task.target.shape,
            task.target.num_classes,
            seeds=self._seeds(0),
            device=task.device,
        )
        # The way back through training, as a graph where that was tried and could be done.
        self.gradient: Callable[..., UnrolledGradient] = self._unrolled
        self.tried = False

    @property
    def total(self) -> int:
        """Number of updates."""
        return self.method.steps

    @property
    def inner_batch(self) -> int:
        """Synthetic examples a gradient step of a network."""
        count = len(self.task.base)
        return max(1, count // self.method.inner_steps) if self.method.divide else count

    def step(self, index: int) -> None:
        """Draw networks, train them, and move the examples down the gradient of what they reach."""
        task, method = self.task, self.method
        self.networks.redraw(self._seeds(index))
        batch = derive_seed(task.seed, "unrolled target")
        drawn = batch_rows(len(self.target), method.batch_size, batch, index)
        query, truth = self.target.images, self.target.labels
        if drawn is not None:
            drawn = drawn.to(query.device)
            query, truth = query[drawn], truth[drawn]
        examples, labels, sizes = self._read()
        inputs = (
            examples.detach(),
            labels.detach(),
            sizes.detach(),
            task.preprocessing(query),
            truth,
            *self._rows(index),
        )
        if not self.tried:
            self._record(inputs, index)
        found = self.gradient(*inputs)
        self.optimiser.zero_grad()
        known = {examples: found.examples, sizes: found.step_sizes}
        if labels.requires_grad:
            known[labels] = found.labels
        # Training that diverged says nothing about the way; a gradient of zero replaces it without
        # the device having to be asked.
        finite = torch.stack([slope.sum() for slope in known.values()]).sum().isfinite()
        slopes = [torch.where(finite, slope, 0.0) for slope in known.values()]
        torch.autograd.backward(list(known), slopes)
        share = 0.5 * (1.0 + math.cos(math.pi * index / method.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = group["start"] * share
        self.optimiser.step()
        self.loss, self.done = found.loss.clone(), index + 1
        self.lost += ~finite

    def _read(self) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.task.preprocessing(self.values["images"]),
            self.labelling.read(self.values["labels"]),
            softplus(self.values["step_sizes"]).clamp_min(LEAST_STEP),
        )

    def _seeds(self, index: int) -> list[int]:
        seed = self.task.seed
        return [derive_seed(seed, "unrolled", index, i) for i in range(self.method.networks)]

    def _rows(self, index: int) -> list[Tensor]:
        """Return the mini-batch of each step of the networks; none where each sees everything."""
        order = derive_seed(self.task.seed, "unrolled order", index)
        steps = range(len(self.values["step_sizes"]))
        rows = [batch_rows(len(self.task.base), self.inner_batch, order, step) for step in steps]
        return [part.to(self.task.device) for part in rows if part is not None]

    def _unrolled(
        self,
        examples: Tensor,
        labels: Tensor,
        sizes: Tensor,
        query: Tensor,
        truth: Tensor,
        *rows: Tensor,
    ) -> UnrolledGradient:
        parts = rows or [None] * len(sizes)
        return unrolled_gradient(self.networks, examples, labels, sizes, query, truth, parts)

    def _record(self, inputs: Sequence[Tensor], index: int) -> None:
        self.tried = True
        if self.task.device.type == "cuda" and self.total - index >= WORTH_RECORDING:
            # Weights are read only, but BatchNorm gathers.
            changed = list(self.networks.buffers.values())
            self.gradient = record(self._unrolled, inputs, changed=changed) or self._unrolled

    def state(self) -> dict[str, Tensor]:
        """Return examples, labels and step sizes, and what Adam remembers."""
        values = {f"values.{key}": value.detach().clone() for key, value in self.values.items()}
        counts = {"lost": self.lost.clone(), "done": torch.tensor(self.done)}
        numbers = {"loss": self.loss.clone(), **counts}
        return {**values, **numbers, **pack_optimiser(self.optimiser, "optimiser")}

    def restore(self, state: State) -> None:
        """Go back to a state."""
        with torch.no_grad():
            for key, value in self.values.items():
                value.copy_(state[f"values.{key}"])
        unpack_optimiser(self.optimiser, state, "optimiser")
        self.loss, self.done = state["loss"].clone(), int(state["done"])
        self.lost.copy_(state["lost"])

    def result(self) -> MethodResult:
        """Return examples, labels and a recipe with the step sizes, as they are now.

        Raises:
            InputError: training diverged in every update, so that nothing was learned.
        """
        lost, loss = int(self.lost), float(self.loss)
        if self.done and lost == self.done:
            raise InputError(
                f"training on the examples diverged in all of the {lost} updates, so nothing was "
                f"learned: `step_size` {self.method.step_size} is too large for "
                f"`{self.task.network}`. Give a smaller one."
            )
        with torch.no_grad():
            sizes = self._read()[2].tolist()
            labels = self.labelling.read(self.values["labels"].double().cpu())
        seen = self.done * self.method.networks * min(self.method.batch_size, len(self.target))
        return MethodResult(
            labels=labels.detach(),
            label_kind="distribution",
            target_passes=seen / len(self.target),
            stats={
                **({"target_loss": loss} if self.done and math.isfinite(loss) else {}),
                "diverged_updates": float(lost),
                "assigned_classes": float(self.labelling.assigned),
                "mean_step_size": sum(sizes) / len(sizes),
            },
            recipe=Recipe(
                checkpoints=(len(sizes),),
                batch_size=self.inner_batch,
                optimiser="sgd",
                step_sizes=tuple(sizes),
            ),
            examples=self.values["images"].detach().cpu().clone(),
        )
