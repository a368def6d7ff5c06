"""How students are trained, and the order in which they see their examples."""

import dataclasses
from functools import lru_cache

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_positive
from cvxdistill.errors import InputError
from cvxdistill.seeding import generator
from cvxdistill.students.augmentations import AUGMENTATIONS
from cvxdistill.students.optimisers import OPTIMISERS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How students are trained.

    Attributes:
        checkpoints: numbers of steps among which validation chooses, in rising order.
        batch_size: examples a step; a smaller set is used whole in each step.
        lr: learning rate; `None` is the optimiser's own in `OPTIMISERS`.
        optimiser: a name in `OPTIMISERS`.
        step_sizes: learning rates of single steps, in turn and from the first again, where a
            method learned them; in the place of `lr`.
        augment: what is done to images before each step, a name in `AUGMENTATIONS`.

    Raises:
        InputError: no checkpoints, an unknown optimiser or augmentation, or numbers out of range.

    Example:
        >>> Recipe(checkpoints=(100,), optimiser="momentum").rate(0)
        0.01
        >>> Recipe(checkpoints=(4,), optimiser="sgd", step_sizes=(0.2, 0.1)).rate(3)
        0.1
    """

    checkpoints: tuple[int, ...] = (50, 100, 200)
    batch_size: int = 128
    lr: float | None = None
    optimiser: str = "adam"
    step_sizes: tuple[float, ...] = ()
    augment: str = "none"

    def __post_init__(self) -> None:
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_choice("augment", self.augment, AUGMENTATIONS)
        steps = self.checkpoints
        if not steps or steps[0] < 1 or list(steps) != sorted(set(steps)):
            raise InputError(f"`checkpoints` must be rising positive steps; got {steps}.")
        if self.batch_size < 1:
            raise InputError(f"`batch_size` must be 1 or more; got {self.batch_size}.")
        if self.lr is not None:
            check_positive("lr", self.lr)
        for size in self.step_sizes:
            check_positive("step_sizes", size)
        if self.lr is not None and self.step_sizes:
            raise InputError("give `lr` or `step_sizes`, not both.")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if self.step_sizes:
            return self.step_sizes[step % len(self.step_sizes)]
        return OPTIMISERS[self.optimiser].lr if self.lr is None else self.lr


def batch_rows(count: int, size: int, seed: int, step: int) -> Tensor | None:
    """Return the rows of the mini-batch of a step; `None` stands for all rows.

    Epoch after epoch in fresh order, the short batch at the end of an epoch left out, since its
    gradient is noisier. The rows follow from the numbers alone: work that was interrupted goes on
    with the same batches without any state.

    Args:
        count: number of examples.
        size: examples a batch; all of them where there are no more.
        seed: of the order.
        step: counted from 0.

    Example:
        >>> sorted(torch.cat([batch_rows(6, 2, 0, step) for step in range(3)]).tolist())
        [0, 1, 2, 3, 4, 5]
    """
    if count <= size:
        return None
    epoch, place = divmod(step, count // size)
    return _order(count, seed, epoch)[place * size : (place + 1) * size]


@lru_cache(maxsize=8)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "batches", epoch))
