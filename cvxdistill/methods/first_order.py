"""Labels by first-order gradients through any head on frozen extractors.

What the papers do. Bohdal, Yang and Hospedales (2020, https://arxiv.org/abs/2006.08572) learn
labels by the gradient of the loss on target batches through an inner fit on the base; where the
features are held still and the inner fit is a ridge regression, that gradient is one backward pass
through a linear solve. Bertinetto, Henriques, Torr and Vedaldi (2019,
https://arxiv.org/abs/1805.08136) had put closed-form ridge and logistic regression into
meta-learning as layers, and Lee, Maji, Ravichandran and Soatto (2019,
https://arxiv.org/abs/1904.03758) convex machines without a closed form, by differentiating the
optimality conditions of a support vector machine. Both learn the features underneath; labels are
given.

What differs here. The features stay as they are and the labels are what is learned. The whole
target is embedded once, so a step costs a fit and a product, no pass through a network. Heads are
fitted to convergence and differentiated at the optimum, logistic regression included, which
Bertinetto et al. stop after a few steps. The best labels of ten looks at the whole target come
back rather than the last ones, and where the exact optimum can be told (a squared loss, a head
linear in the labels) the result says how far it is.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_positive
from cvxdistill.features import Extractor, embed
from cvxdistill.heads import Head, LabelLinearHead, parse_head
from cvxdistill.labels import CONSTRAINTS, LOSSES, make_loss
from cvxdistill.methods.base import DistillTask, MethodResult
from cvxdistill.methods.iterative import IterativeMethod, Learner
from cvxdistill.problem import LabelProblem
from cvxdistill.seeding import derive_seed
from cvxdistill.solvers import DescentOptions, LabelDescent, start_labels

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class FirstOrder(IterativeMethod):
    """Projected gradient steps in the labels, through the fit of any registered head.

    Choose it where nothing exact is to be had: heads that are not linear in the labels (logistic,
    SVM, any cvxpy problem), the hinge loss, labels on few classes. Where `exact` applies, `exact`
    is quicker and this comes near it: to 1 % of the objective in the default number of steps.

    One pass of the target through each extractor. The features are kept, `4 n d` bytes an
    extractor, on the device while they fit into `memory` and beyond it in a temporary file that is
    mapped into memory. Each step fits the head once, so a step costs what a fit costs: under a
    millisecond for ridge, tens of milliseconds for logistic regression and SVM at 100 examples.

    Args:
        steps: number of steps.
        lr: learning rate of the first step; it falls to zero along a half cosine.
        batch_size: target examples a step.
        optimiser: `adam` or `sgd`.
        loss: a name in `LOSSES`; `None` is `squared` for heads that are linear in the labels and
            `cross_entropy` for others.
        constraint: a name in `CONSTRAINTS`; `None` is `free` for heads that are linear in the
            labels and `simplex` for others, which take labels as weights.
        temperature: of the cross-entropy; other losses have none.
        head: `task` for the head of the task, or a head of its own as in `head=logistic`.
        tolerance: relative norm of the projected gradient at which the steps have come to rest.
        memory: GiB of features above which they are kept in a file.

    Raises:
        InputError: unknown names, or numbers out of range.

    Example:
        >>> from cvxdistill.methods import parse_method
        >>> method = parse_method("first-order:head=logistic,steps=200")
        >>> method.head, method.steps
        ('logistic', 200)
    """

    steps: int = 500
    lr: float = 0.02
    batch_size: int = 1024
    optimiser: str = "adam"
    loss: str | None = None
    constraint: str | None = None
    temperature: float = 1.0
    head: str = "task"
    tolerance: float = 1e-3
    memory: float = 8.0

    name: ClassVar[str] = "first-order"

    def __post_init__(self) -> None:
        for key, known in (("loss", LOSSES), ("constraint", CONSTRAINTS)):
            if (chosen := getattr(self, key)) is not None:
                check_choice(key, chosen, known)
        check_positive("temperature", self.temperature)
        check_positive("lr", self.lr)
        check_positive("memory", self.memory, zero=True)
        if self.head != "task":
            parse_head(self.head)
        self.options(seed=0)

    def options(self, *, seed: int) -> DescentOptions:
        """Return how steps are taken."""
        return DescentOptions(
            optimiser=self.optimiser,
            learning_rate=self.lr,
            steps=self.steps,
            batch_size=self.batch_size,
            tolerance=self.tolerance,
            seed=seed,
        )

    def problem(self, task: DistillTask) -> LabelProblem:
        """Embed base and target, and return the label problem on their features.

        Raises:
            InputError: features that are not finite or do not depend on the image alone.
        """
        head = task.head if self.head == "task" else parse_head(self.head)
        linear = head.label_linear
        loss = self.loss or ("squared" if linear else "cross_entropy")
        constraint = self.constraint or ("free" if linear else "simplex")
        return LabelProblem(
            base_features=tuple(_base(extractor, task) for extractor in task.extractors),
            targets=_targets(task, in_file=_bytes(task) > self.memory * GIB),
            head=head,
            loss=make_loss(loss, temperature=self.temperature),
            constraint=CONSTRAINTS[constraint](),
            target_l2=task.target_l2,
            classes=task.target.num_classes,
        )

    def learner(self, task: DistillTask) -> "FirstOrderLearner":
        """Embed the target and look at it once; see `FirstOrderLearner`.

        Raises:
            InputError: as `problem`.
            IncompatibleError: a penalty that this head does not say.
        """
        return FirstOrderLearner(self, task)


class FirstOrderLearner(Learner):
    """One run of [FirstOrder][cvxdistill.methods.first_order.FirstOrder].

    Args:
        method: its options.
        task: what it works on.
    """

    def __init__(self, method: FirstOrder, task: DistillTask) -> None:
        self._task, self._steps = task, method.steps
        self._problem = method.problem(task)
        self._moments: LabelProblem | None = None
        head, constraint = self._problem.head, self._problem.constraint
        start = None
        if not (head.label_linear and constraint.convex):
            start = start_labels(self._on_moments(), None)
        options = method.options(seed=derive_seed(task.seed, method.name))
        self._descent = LabelDescent(self._problem, options, start=start)

    @property
    def total(self) -> int:
        """Number of steps."""
        return self._steps

    def step(self, index: int) -> None:
        """Take a step, unless the labels have come to rest."""
        if not self._descent.at_rest:
            self._descent.step(index)

    def state(self) -> dict[str, Tensor]:
        """Return labels, optimiser, and the best and the last look at the target."""
        return self._descent.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self._descent.restore(state)

    def result(self) -> MethodResult:
        """Return the best labels so far, with their distance to the optimum where it is known."""
        head: Head = self._problem.head
        exact = self._problem.loss.quadratic and isinstance(head, LabelLinearHead)
        judge = self._on_moments() if exact and head.finite_weights else None
        solution = self._descent.solution(judge=judge).raise_if_failed()
        return MethodResult(
            labels=solution.labels.cpu(),
            label_kind=solution.label_kind,
            status=solution.status,
            certificate=solution.certificate,
            target_passes=float(len(self._task.extractors)),
            stats=solution.stats,
            head=head,
        )

    def _on_moments(self) -> LabelProblem:
        """Return the problem on the target's moments, from which an optimum is known cheaply."""
        if self._moments is None:
            task = self._task
            held = [one[0] for one in self._problem.targets if isinstance(one, tuple)]
            pairs = zip(task.extractors, held, strict=True)
            moments = tuple(
                task.cache.statistics(
                    extractor,
                    task.target,
                    preprocessing=task.preprocessing,
                    device=task.device,
                    features=features,
                )
                for extractor, features in pairs
            )
            self._moments = dataclasses.replace(self._problem, targets=moments)
        return self._moments


def _base(extractor: Extractor, task: DistillTask) -> Tensor:
    images, ready = task.base.images, task.preprocessing
    # float64 from here on: labels in float32 would cap what they can reproduce at 1e-7.
    return embed(extractor, images, preprocessing=ready, device=task.device).to(torch.float64)


def _bytes(task: DistillTask) -> int:
    """Return what the features of the target take."""
    return 4 * len(task.target) * sum(one.num_features for one in task.extractors)


def _targets(task: DistillTask, *, in_file: bool) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return features and classes of the target, one pair an extractor."""
    pool, place = len(task.extractors), torch.device("cpu") if in_file else task.device
    classes, pairs = task.target.labels.to(place), []
    for index, extractor in enumerate(task.extractors):

        def report(stage: str, done: int, total: int, shift: int = index) -> None:
            task.progress(stage, shift * total + done, pool * total)

        features = embed(
            extractor,
            task.target.images,
            preprocessing=task.preprocessing,
            device=task.device,
            out=_mapped(len(task.target), extractor.num_features) if in_file else None,
            progress=report,
        )
        pairs.append((features, classes))
    return tuple(pairs)


def _mapped(rows: int, columns: int) -> Tensor:
    """Return a float32 matrix in a file without a name, which is gone with the matrix."""
    with tempfile.TemporaryFile() as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, columns)))
