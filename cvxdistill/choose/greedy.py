"""Base examples by exact forward selection."""

import dataclasses
from typing import ClassVar

from torch import Tensor

from cvxdistill.choose.base import BaseRequest, Chooser
from cvxdistill.choose.forward import select_forward
from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead


@dataclasses.dataclass(frozen=True)
class Greedy(Chooser):
    """Each next example is the one that lowers the solved label objective most.

    Choose it where the extractor is known and fewer examples than features are wanted. Only the
    target's moments are looked at, not the classes of the candidates, so classes may be missing
    from the choice: true labels on it are no baseline. It chooses for a ridge head and its exact
    labels; see `select_forward` for the algorithm and for what it predicts.

    Attributes:
        exchanges: passes of exchanges over the choice, at most; they lower the objective further,
            each for about twice the price of the choice itself. Only without them is a smaller
            choice the beginning of a larger one.

    Raises:
        InputError: a negative number of passes.

    Example:
        >>> import torch
        >>> from cvxdistill.data import ImageSet
        >>> z = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        >>> data = ImageSet(z, (z[:, 0] > 0).long(), ("minus", "plus"), name="toy")
        >>> Greedy().choose(BaseRequest(data, 2)).shape
        torch.Size([2])
    """

    exchanges: int = 0

    name: ClassVar[str] = "greedy"
    needs_features: ClassVar[bool] = True
    nested: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.exchanges < 0:
            raise InputError(f"`exchanges` must be zero or more passes; got {self.exchanges}.")

    def choose(self, request: BaseRequest) -> Tensor:
        """Return the positions that `select_forward` selects.

        Raises:
            InputError: images whose features were not given, sizes that do not fit, or another
                head than ridge.
        """
        if not isinstance(request.head, RidgeHead):
            raise InputError(
                "the chooser `greedy` needs a RidgeHead, whose label objective it computes; got "
                f"{type(request.head).__name__}. Choose with another, or for a RidgeHead."
            )
        return select_forward(
            request.embedded,
            request.moments,
            request.count,
            head=request.head,
            target_l2=request.target_l2,
            exchanges=self.exchanges,
        ).positions
