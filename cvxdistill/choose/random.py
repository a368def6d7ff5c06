"""Base examples drawn uniformly."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from cvxdistill.choose.base import BaseRequest, Chooser
from cvxdistill.seeding import generator


@dataclasses.dataclass(frozen=True)
class Random(Chooser):
    """Uniformly without replacement, in the order drawn.

    Choose it as the yardstick of other choosers, or where classes are not known. For one seed,
    smaller draws are the beginnings of larger ones.

    Example:
        >>> from cvxdistill.data import load_splits
        >>> Random().choose(BaseRequest(load_splits("digits").train, 3)).shape
        torch.Size([3])
    """

    name: ClassVar[str] = "random"
    nested: ClassVar[bool] = True
    drawn: ClassVar[bool] = True

    def choose(self, request: BaseRequest) -> Tensor:
        """Return positions drawn without replacement.

        Raises:
            InputError: more examples than there are.
        """
        examples = request.count
        draw = generator(request.seed, "base", "random")
        return torch.randperm(len(request.data), generator=draw)[:examples]
