"""Labels that follow networks in training: the loop of both methods of Bohdal et al. (2020)."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from cvxdistill.errors import InputError
from cvxdistill.labels import INITS, ClampRenormalise
from cvxdistill.methods.base import DistillTask, MethodResult
from cvxdistill.methods.bohdal2020_common import OnlineLabels
from cvxdistill.methods.bohdal2020_restarts import student_steps
from cvxdistill.methods.choosing import choose_labels
from cvxdistill.methods.iterative import Learner
from cvxdistill.methods.journal import State
from cvxdistill.seeding import derive_seed, generator
from cvxdistill.students import (
    WORTH_RECORDING,
    Recipe,
    batch_rows,
    check_batch,
    pack_optimiser,
    record,
    unpack_optimiser,
)

# Theirs: the validation part of MNIST as a whole.
VALIDATION_EXAMPLES = 10_000
# Lengths of training tried in each validation and at the end, as multiples of what the restarts
# suggest. On MNIST, students trained on early labels of `online-ridge` do best at a fifth of it.
FACTORS = (0.25, 0.5, 1)
FINAL_FACTORS = (*FACTORS, 2, 4)
# Students at the end, at least: one choice decides the recipe, so more care is taken with it.
FINAL_STUDENTS = 3


class OnlineLearner(Learner):
    """Labels learned while `networks` networks are trained on them.

    A subclass trains the networks: `update` takes one step of theirs and of the labels, `redraw`
    gives one of them new weights, and `state` and `restore` add theirs to what is kept here. All
    this is done in the memory where things lie, so that on CUDA a step can be recorded as a graph.

    Args:
        method: the options.
        task: what is to be labelled, for what.
        networks: trained side by side.

    Raises:
        InputError: a network without weights, or an `init` that needs true labels where there are
            none.
    """

    def __init__(self, method: OnlineLabels, task: DistillTask, networks: int = 1) -> None:
        if not task.network.trainable:
            raise InputError(f"`{task.network}` has no weights to train; choose another student.")
        self.method, self.task = method, task
        count, classes = len(task.base), task.target.num_classes
        # A uniform start needs no true classes, so it also serves bases from other data sets.
        foreign = task.base.class_names != task.target.class_names
        if foreign and method.init != "uniform":
            raise InputError(
                f"`init={method.init}` needs true labels, which do not exist across data sets: "
                f"`{task.base.name}` and `{task.target.name}` have different classes. Use "
                "init=uniform."
            )
        truth = task.base.labels
        self.labels = INITS[method.init](truth, classes).to(task.device, torch.float64)
        self.optimiser = adam([self.labels], method.lr)
        self.base = task.preprocessing(task.base.images.to(task.device))
        self.images = task.target.images.to(task.device)
        self.classes = task.target.labels.to(task.device)
        self.inner = method.inner_size(count)
        check_batch(task.network, task.base.shape, self.inner)
        self.rules = [method.restarts(count, classes) for _ in range(networks)]
        self.best, self.best_accuracy = self.labels.clone(), -1.0
        self.best_steps, self.validated, self.done = 1, -1, 0
        # A step, as a graph where that was tried and could be done.
        self.take: Callable[[Tensor, Tensor, Tensor], Tensor] = self.update
        self.tried = False

    @property
    def total(self) -> int:
        """Number of label updates."""
        return self.method.steps

    @abstractmethod
    def update(self, images: Tensor, classes: Tensor, rows: Tensor) -> Tensor:
        """Take one step of the networks and of the labels.

        Args:
            images: `(n, *shape)` preprocessed examples of the target.
            classes: `(n,)` their classes.
            rows: `(b,)` the base examples of this step.

        Returns:
            `(networks,)` errors made on the target's examples before the labels changed.
        """

    def changed(self) -> list[Tensor]:
        """Return the tensors that a step changes; a subclass adds its own."""
        return [self.labels]

    def optimisers(self) -> list[Optimizer]:
        """Return the optimisers that take a step in each step; a subclass adds its own."""
        return [self.optimiser]

    @abstractmethod
    def redraw(self, network: int, seed: int) -> None:
        """Give a network fresh weights and all that goes with them."""

    def network_seed(self, network: int) -> int:
        """Return the seed of the weights that a network starts its present life from."""
        life = len(self.rules[network].lengths)
        return derive_seed(self.task.seed, "network", network, life)

    def step(self, index: int) -> None:
        """Take one step; restart networks and validate where it is time."""
        size, seed = self.method.batch_size, self.task.seed
        rows = batch_rows(len(self.images), size, derive_seed(seed, "target"), index)
        picked = torch.arange(len(self.images)) if rows is None else rows
        picked = picked.to(self.images.device)
        stream = generator(seed, "base rows", index)
        inner = torch.randperm(len(self.base), generator=stream)[: self.inner]
        inputs = (
            self.task.preprocessing(self.images[picked]),
            self.classes[picked],
            inner.to(self.images.device),
        )
        if not self.tried:
            self._record(inputs, index)
        wrong = self.take(*inputs)
        # The one wait for the device in a step: whether a network goes on is decided by its errors.
        for network, errors in enumerate(wrong.tolist()):
            if self.rules[network].after(errors):
                self.redraw(network, self.network_seed(network))
        self.done = index + 1
        if self.task.has_validation and self.done % self.method.validate_every == 0:
            self.best, self.best_steps, self.best_accuracy = self._validated()
            self.validated = self.done

    def _record(self, inputs: Sequence[Tensor], index: int) -> None:
        self.take, self.tried = self.update, True
        if self.task.device.type == "cuda" and self.total - index >= WORTH_RECORDING:
            step = record(self.update, inputs, changed=self.changed(), optimisers=self.optimisers())
            self.take = step or self.update

    def learn(self, rows: Tensor, gradient: Tensor) -> None:
        """Move the labels of `rows` against the gradient `(b, C)`, and make distributions of them.

        Adam's momentum also moves the labels of other rows, as it does in the authors' code.
        """
        self.labels.grad = torch.zeros_like(self.labels).index_copy_(0, rows, gradient.double())
        self.optimiser.step()
        self.labels.copy_(ClampRenormalise().project(self.labels.clamp_max(1)))

    def _validated(self) -> tuple[Tensor, int, float]:
        """Return the best labels, steps and accuracy, those of now included; the later win ties."""
        steps = student_steps(self.rules)
        tried = _multiples(steps, FACTORS)
        found = self._choose(self.labels, tried, self.method.students, f"after {self.done}")
        if found[1] >= self.best_accuracy:
            return self.labels.clone(), steps, found[1]
        return self.best, self.best_steps, self.best_accuracy

    def _choose(
        self, labels: Tensor, checkpoints: tuple[int, ...], students: int, stream: str
    ) -> tuple[Recipe, float]:
        chosen = choose_labels(
            self.task,
            {0: labels},
            "distribution",
            recipe=self._recipe(checkpoints),
            students=students,
            stream=stream,
            max_validation=VALIDATION_EXAMPLES,
        )
        return chosen.recipe, chosen.accuracy

    def _recipe(self, checkpoints: tuple[int, ...]) -> Recipe:
        return Recipe(checkpoints, batch_size=self.inner, lr=1e-3, optimiser="adam")

    def state(self) -> dict[str, Tensor]:
        """Return labels, their optimiser, the restarts and the best so far."""
        out = {
            "labels": self.labels.clone(),
            "best": self.best.clone(),
            "best_accuracy": torch.tensor(self.best_accuracy, dtype=torch.float64),
            "counts": torch.tensor([self.best_steps, self.validated, self.done]),
            **pack_optimiser(self.optimiser, "labels_optimiser"),
        }
        for network, rule in enumerate(self.rules):
            out |= rule.state(f"restarts.{network}")
        return out

    def restore(self, state: State) -> None:
        """Go back to a state."""
        # A recorded step would go on with the optimisers' memory of before.
        self.take, self.tried = self.update, False
        self.labels.copy_(state["labels"])
        self.best = state["best"].clone()
        self.best_accuracy = float(state["best_accuracy"])
        self.best_steps, self.validated, self.done = state["counts"].tolist()
        unpack_optimiser(self.optimiser, state, "labels_optimiser")
        for network, rule in enumerate(self.rules):
            rule.restore(state, f"restarts.{network}")

    def result(self) -> MethodResult:
        """Return the labels that did best on validation, and how students are to be trained."""
        labels, steps, accuracy = self.labels, student_steps(self.rules), None
        recipe = self._recipe((steps,))
        if self.task.has_validation:
            labels, steps, accuracy = self.best, self.best_steps, self.best_accuracy
            if self.validated != self.done:
                labels, steps, accuracy = self._validated()
            tried = _multiples(steps, FINAL_FACTORS)
            students = max(FINAL_STUDENTS, self.method.students)
            recipe, _ = self._choose(labels, tried, students, "final")
        seen = self.done * min(self.method.batch_size, len(self.images)) * len(self.rules)
        stats = {
            "restarts": float(sum(len(rule.lengths) for rule in self.rules)),
            "suggested_steps": float(steps),
        }
        if accuracy is not None:
            stats["validation_accuracy"] = accuracy
        return MethodResult(
            labels=labels.detach().cpu(),
            label_kind="distribution",
            target_passes=seen / len(self.images),
            stats=stats,
            recipe=recipe,
        )


def adam(parameters: list[Tensor], lr: float) -> torch.optim.Adam:
    """Return PyTorch's Adam in its quickest form."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def _multiples(steps: int, factors: tuple[float, ...]) -> tuple[int, ...]:
    """Return whole multiples of a number of steps, in rising order, each once."""
    return tuple(sorted({max(1, int(factor * steps)) for factor in factors}))
