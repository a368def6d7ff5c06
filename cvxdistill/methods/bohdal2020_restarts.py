"""When an online network is thrown away (Bohdal, Yang and Hospedales 2020).

<https://arxiv.org/abs/2006.08572>. The rule is the authors'; errors are counted here where they
keep percentages, so the moving sum is exact.
"""

from collections import deque

import torch
from torch import Tensor

from cvxdistill.methods.journal import State

# The last lives of networks that the students' steps are the mean of.
LIVES = 3


class Restarts:
    """When a network is thrown away: its errors have not fallen for a while.

    Kept is the sum of the errors of the last `patience` steps. A network is done once that sum has
    failed to fall below its lowest value `patience + 1` times in a row; its length is the number
    of steps up to the lowest value.

    Args:
        patience: steps in the sum, and steps that are waited.

    Attributes:
        steps: taken by the network of now.
        lengths: of the networks before it.

    Example:
        >>> rule = Restarts(patience=1)
        >>> [rule.after(errors) for errors in (9, 5, 5, 5)], rule.lengths
        ([False, False, False, True], [2])
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.lengths: list[int] = []
        self._begin()

    def _begin(self) -> None:
        self.steps, self._lowest, self._waited = 0, 0, 0
        self._window: deque[int] = deque(maxlen=self.patience)

    def after(self, errors: int) -> bool:
        """Take note of a step with this many errors; say whether the network is done."""
        self._window.append(errors)
        self.steps += 1
        total = sum(self._window)
        if self.steps < self.patience:
            return False
        if self.steps == self.patience or total < self._lowest:
            self._lowest, self._waited = total, 0
        elif self._waited < self.patience:
            self._waited += 1
        else:
            self.lengths.append(self.steps - self._waited - 1)
            self._begin()
            return True
        return False

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Return everything as integer tensors under `prefix`."""
        return {
            f"{prefix}.window": torch.tensor(list(self._window), dtype=torch.int64),
            f"{prefix}.lengths": torch.tensor(self.lengths, dtype=torch.int64),
            f"{prefix}.counts": torch.tensor([self.steps, self._lowest, self._waited]),
        }

    def restore(self, state: State, prefix: str) -> None:
        """Go back to a `state`."""
        self._window = deque(state[f"{prefix}.window"].tolist(), maxlen=self.patience)
        self.lengths = state[f"{prefix}.lengths"].tolist()
        self.steps, self._lowest, self._waited = state[f"{prefix}.counts"].tolist()


def student_steps(rules: list[Restarts]) -> int:
    """Return how long students are to be trained: the mean of the last three lengths.

    Those of every network; before the first restart, the steps of now.
    """
    lengths = [length for rule in rules for length in rule.lengths[-LIVES:]]
    return max(1, sum(lengths) // len(lengths) if lengths else rules[0].steps)
