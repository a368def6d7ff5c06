"""Images and labels learned through training: Sucholutsky and Schonlau (2019).

"Soft-Label Dataset Distillation and Text Dataset Distillation", <https://arxiv.org/abs/1910.02551>.
The paper takes the system of Wang et al. (2018) and lets the labels be learned along with the
images and the step sizes, by the same second-order gradients. A label is then a vector of its own
for each image, so that fewer images than classes can teach all of them. It starts from one-hot
labels or random ones and puts the learned numbers into a cross-entropy as they are, negative ones
too; a softmax over them is a variant in the authors' code.

Where this differs: labels are always the softmax of what is learned, and so are distributions,
which students elsewhere know how to read. They start from smoothed classes, since no softmax
reaches one-hot labels. The rest is as in `wang2018_images.py`.
"""

import dataclasses
from typing import ClassVar

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError
from cvxdistill.methods.base import DistillTask
from cvxdistill.methods.labelling import Labelling, starting_classes
from cvxdistill.methods.wang2018_unrolled import UnrolledMethod


@dataclasses.dataclass(frozen=True)
class ImagesLabels(UnrolledMethod):
    """Learn images, soft labels and step sizes through the training of freshly drawn networks.

    Choose it over `images` where there are fewer examples than classes, or other classes than the
    target's; the cost is the same.

    Args:
        steps: updates of images and labels.
        inner_steps: gradient steps a network takes in an epoch.
        inner_epochs: epochs; each of the `inner_steps * inner_epochs` steps has a size of its own.
        divide: share the images of an epoch out among its steps, in random order, instead of
            showing all of them in each step. Cheaper by `inner_steps`; less exact.
        networks: drawn afresh for each update, side by side.
        batch_size: target examples of an update.
        lr: of Adam on pixels in [0, 1]; all rates fall along half a cosine to zero.
        step_size: that all steps start from.
        step_lr: of Adam on the step sizes.
        noise: standard deviation of what is added to the base images at the start.
        smoothing: share of the uniform distribution in the labels at the start.
        label_lr: of Adam on the logits of the labels.

    Raises:
        InputError: a number out of range.

    Example:
        >>> ImagesLabels(smoothing=0.2).smoothing
        0.2

    References:
        https://arxiv.org/abs/1910.02551
    """

    smoothing: float = 0.1
    label_lr: float = 0.05

    name: ClassVar[str] = "images-labels"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("label_lr", self.label_lr)
        if not 0 < self.smoothing < 1:
            raise InputError(f"`smoothing` must lie in (0, 1); got {self.smoothing}.")

    def labelling(self, task: DistillTask) -> Labelling:
        """Return the logits of smoothed classes."""
        labels, assigned = starting_classes(task)
        share = self.smoothing / task.target.num_classes
        return Labelling(((1 - self.smoothing) * labels + share).log(), self.label_lr, assigned)
