"""What the two methods of Bohdal, Yang and Hospedales (2020) share.

Both learn labels while networks are trained on them. In each step a network takes in a mini-batch
of base examples with the labels as they are, is asked about a mini-batch of the target, and the
labels follow the gradient of what it got wrong. Networks are thrown away and drawn anew once they
stop getting better, so that the labels have to serve whole trainings and not the end of one. How
long the networks lasted is how long students are to be trained.

"Flexible dataset distillation: learn labels instead of images",
<https://arxiv.org/abs/2006.08572>; the authors' code is <https://github.com/ondrejbohdal/label-distillation>.

Where both methods differ from that code:

- Labels are kept in float64, and a row without a positive entry becomes uniform, not NaN.
- Batches of the target are all of one size: the short one at the end of an epoch is left out. The
  restarts' moving average is over counts of errors, which is then the same and free of rounding.
- Validation trains the student that will be evaluated, a network under a linear layer, with Adam.
  So does their second-order method; their ridge method trains students under its own kind of head.
- A student's head is not the online network's, so neither is the number of steps it wants: each
  validation also looks at a half and a quarter of the length that restarts suggest, which costs no
  further training, and the last one at 2 and 4 times that length too. Theirs is that length alone.
- Without validation examples the last labels are taken, and the length that restarts suggest.
"""

import dataclasses

from cvxdistill.checks import check_choice, check_positive
from cvxdistill.errors import InputError
from cvxdistill.labels import INITS
from cvxdistill.methods.bohdal2020_restarts import Restarts
from cvxdistill.methods.iterative import IterativeMethod


@dataclasses.dataclass(frozen=True)
class OnlineLabels(IterativeMethod):
    """Options of both methods; the defaults are those of the authors' runs on MNIST.

    Args:
        steps: label updates; theirs are 400 epochs of 49 batches.
        batch_size: target examples a step.
        inner_batch: base examples a step; `None` is theirs: half the base set, between 10 and 50.
        init: labels to start from, a name in `INITS`.
        lr: of Adam on the labels.
        network_lr: of Adam on the network.
        patience: steps that the restarts' moving average looks back and waits; `None` is theirs:
            100 for more than ten classes, else 200 for more than 100 base examples, else 50.
        validate_every: steps between two validations; theirs are 5 epochs.
        students: trained in each validation.

    Raises:
        InputError: an unknown `init`, or numbers out of range.
    """

    steps: int = 19_600
    batch_size: int = 1024
    inner_batch: int | None = None
    init: str = "uniform"
    lr: float = 1e-3
    network_lr: float = 1e-3
    patience: int | None = None
    validate_every: int = 245
    students: int = 1

    def __post_init__(self) -> None:
        check_choice("init", self.init, INITS)
        check_positive("lr", self.lr)
        check_positive("network_lr", self.network_lr)
        counts = ("steps", "batch_size", "inner_batch", "patience", "validate_every", "students")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be 1 or more; got {value}.")

    def inner_size(self, base_examples: int) -> int:
        """Return the number of base examples a step."""
        size = self.inner_batch or min(50, max(10, base_examples // 2))
        return min(size, base_examples)

    def restarts(self, base_examples: int, num_classes: int) -> Restarts:
        """Return the rule by which one network is thrown away."""
        usual = 100 if num_classes > 10 else 200 if base_examples > 100 else 50
        return Restarts(self.patience or usual)
