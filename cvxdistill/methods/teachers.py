"""Teachers: networks trained side by side on the target, to be asked about other images."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cvxdistill.methods.base import DistillTask
from cvxdistill.methods.choosing import ensemble_logits
from cvxdistill.seeding import derive_seed
from cvxdistill.students import AUGMENTATIONS, Recipe, Students, batch_rows, check_batch


class Teachers:
    """An ensemble that learns the target's classes by mini-batches, Adam and cross-entropy.

    They differ in their initial weights and see the same batches, which are then cut out and
    preprocessed once for all of them. The target lies on the device as it is stored, in bytes.
    What is between two steps is in `state`; the batches follow from the task's seed.

    Args:
        task: gives target, network, preprocessing, seed and device.
        count: number of teachers.
        batch_size: target examples a step.
        stream: name of the draws of initial weights and batches.
        augment: what students will see of the images that the teachers are asked about, a name in
            `AUGMENTATIONS`: they are asked about all of it.

    Raises:
        InputError: augmentation of what are no images, or too few examples for BatchNorm.

    Attributes:
        students: the stack; `students.steps` is the number of batches seen.
    """

    def __init__(
        self,
        task: DistillTask,
        count: int,
        *,
        batch_size: int = 256,
        stream: str = "teacher",
        augment: str = "none",
    ) -> None:
        AUGMENTATIONS[augment].check(task.base.shape)
        self._target = task.target.to(task.device)
        self._preprocessing = task.preprocessing
        self._batches = derive_seed(task.seed, stream, "batches")
        self._augment, self._views = augment, derive_seed(task.seed, stream, "views")
        self.count, self.batch_size = count, min(batch_size, len(task.target))
        # Students will see the base as a whole where it is small.
        check_batch(task.network, task.base.shape, min(self.batch_size, len(task.base)))
        self.students = Students(
            task.network,
            task.target.shape,
            task.target.num_classes,
            seeds=[derive_seed(task.seed, stream, index) for index in range(count)],
            device=task.device,
        )
        # How many steps there will be is the caller's affair, and Adam's rate is the same in all
        # of them; that there will be many makes them worth recording on a GPU.
        self.students.begin(Recipe(checkpoints=(2**31,), batch_size=self.batch_size))

    @property
    def epochs(self) -> float:
        """Passes over the target so far, the same for each teacher."""
        return self.students.steps * self.batch_size / len(self._target)

    @property
    def target_passes(self) -> float:
        """Passes over the target so far, summed over teachers."""
        return self.epochs * self.count

    def step(self) -> None:
        """Learn from the next mini-batch."""
        rows = batch_rows(len(self._target), self.batch_size, self._batches, self.students.steps)
        images, classes = self._target.images, self._target.labels
        if rows is not None:
            rows = rows.to(images.device)
            images, classes = images[rows], classes[rows]
        wanted = one_hot(classes, self._target.num_classes).float()
        self.students.step(self._preprocessing(images), wanted, "distribution")

    def logits(self, images: Tensor) -> Tensor:
        """Return the ensemble's mean centred logits `(n, C)` of images before preprocessing."""
        device = self._target.images.device
        examples = self._preprocessing(images.to(device))
        views = AUGMENTATIONS[self._augment].views(examples, seed=self._views)
        apart: Tensor = ensemble_logits(self.students, views).unflatten(0, (-1, len(images)))
        return apart.mean(0)

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on."""
        return self.students.state("teachers")

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self.students.restore(state, "teachers")


def geometric_steps(total: int, count: int, *, span: float = 16.0) -> tuple[int, ...]:
    """Return at most `count` rising numbers of steps from `total / span` to `total`.

    Early and late stopping are told apart on a logarithmic scale.

    Example:
        >>> geometric_steps(1000, 3)
        (62, 250, 1000)
    """
    powers = torch.linspace(-1.0, 0.0, count).tolist() if count > 1 else [0.0]
    return tuple(sorted({max(1, int(total * span**power)) for power in powers}))
