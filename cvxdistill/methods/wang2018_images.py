"""Images learned through training: Wang, Zhu, Torralba and Efros (2018).

"Dataset Distillation", <https://arxiv.org/abs/1811.10959>. The paper looks for a few images, and
the sizes of the gradient steps to be taken on them, such that a network which takes these steps
from its initial weights does well on real data. The loss on a batch of real data is differentiated
back through all steps (second-order), over initial weights drawn afresh each time, so that the
images serve networks nobody has seen. Labels are fixed, as many images for each class. Its setting
for random initial weights: 10 steps, each with 10 images of its own, gone through 3 times, with 30
step sizes.

Where this differs: each step shows all images by default, since a labelled set has no order in
which it is to be seen (`divide` shares them out among steps, in an order drawn afresh); images
start as the base images, not as noise, and are learned as pixels in [0, 1] before preprocessing;
several networks train side by side for each update; memory holds one step's graph at a time;
Adam's rates fall along a cosine, and step sizes start larger and move faster, since the paper's
400 epochs are too dear.
"""

import dataclasses
from typing import ClassVar

from cvxdistill.methods.base import DistillTask
from cvxdistill.methods.labelling import Labelling, starting_classes
from cvxdistill.methods.wang2018_unrolled import UnrolledMethod


@dataclasses.dataclass(frozen=True)
class Images(UnrolledMethod):
    """Learn images and step sizes through the training of freshly drawn networks.

    Choose it to compare with learned images. It costs `networks * inner_steps * inner_epochs`
    gradients of second order for each of its `steps`, so it belongs on a GPU, and what it learns
    suits few steps of plain gradient descent, as its recipe says, better than other optimisers.

    Labels are the true classes; where the base has other classes than the target, example `i`
    stands for class `i % C`, and `assigned_classes` among the statistics is 1.

    Args:
        steps: updates of the images.
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

    Raises:
        InputError: a number out of range.

    Example:
        >>> Images(inner_epochs=1).inner_steps
        10

    References:
        https://arxiv.org/abs/1811.10959
    """

    name: ClassVar[str] = "images"

    def labelling(self, task: DistillTask) -> Labelling:
        """Return the classes, which stay."""
        labels, assigned = starting_classes(task)
        return Labelling(labels, None, assigned)
