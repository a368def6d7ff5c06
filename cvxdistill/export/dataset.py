"""A map-style PyTorch data set over a distilled set, with transforms."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cvxdistill.artifact import Distilled


class DistilledDataset(Dataset[tuple[Any, Tensor]]):
    """The examples with their labels, for a `DataLoader`.

    `Distilled.as_dataset()` is the same without transforms. Choose this one for augmentation, or
    to hand images to a model with a preprocessing of its own.

    Args:
        distilled: the distilled set.
        transform: applied to each example `(c, h, w)` or `(d,)` when it is asked for, such as a
            transform of `torchvision.transforms.v2`.
        preprocess: do the artefact's own preprocessing first, which gives float32 as networks
            have seen it while the labels were made; otherwise examples come as they are stored.

    Example:
        >>> from cvxdistill.data import ImageSet
        >>> base = ImageSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), name="toy")
        >>> made = Distilled(base, torch.eye(2, dtype=torch.float64), "distribution", ("a", "b"))
        >>> image, label = DistilledDataset(made, transform=torch.flatten)[1]
        >>> image.shape, label
        (torch.Size([64]), tensor([0., 1.]))
    """

    def __init__(
        self,
        distilled: Distilled,
        *,
        transform: Callable[[Tensor], Any] | None = None,
        preprocess: bool = True,
    ) -> None:
        ready = distilled.preprocessing if preprocess else _as_stored
        self.examples = ready(distilled.examples)
        self.labels = distilled.labels.to(torch.float32)
        self.class_names = distilled.class_names
        self.label_kind = distilled.label_kind
        self.transform = transform

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        example = self.examples[index]
        ready = example if self.transform is None else self.transform(example)
        return ready, self.labels[index]


def _as_stored(examples: Tensor) -> Tensor:
    return examples
