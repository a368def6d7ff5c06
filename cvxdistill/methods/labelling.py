"""Labels of learned examples: learned along with them, or fixed."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.labels import one_hot
from cvxdistill.methods.base import DistillTask


@dataclasses.dataclass(frozen=True, eq=False)
class Labelling:
    """Labels `(m, C)` as they are learned, or not.

    Attributes:
        start: float64 labels, or their logits where they are learned.
        lr: of Adam on the logits; `None` keeps the labels fixed.
        assigned: the classes are not the base examples' own.
    """

    start: Tensor
    lr: float | None
    assigned: bool

    def read(self, value: Tensor) -> Tensor:
        """Return the distributions that `value`, once `start`, stands for."""
        return value if self.lr is None else value.softmax(-1)


def starting_classes(task: DistillTask) -> tuple[Tensor, bool]:
    """Return one-hot labels `(m, C)` float64, and whether the classes had to be assigned.

    True classes where base and target agree on them; else example `i` stands for class `i % C`,
    since whatever it showed it will be changed to show that.
    """
    if task.base.class_names == task.target.class_names:
        return one_hot(task.base.labels.cpu(), task.target.num_classes), False
    classes = torch.arange(len(task.base)) % task.target.num_classes
    return one_hot(classes, task.target.num_classes), True
