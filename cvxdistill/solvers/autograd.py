"""The label objective of any head and loss, sampled or in full, with gradients by autograd."""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.checks import check_class_labels
from cvxdistill.errors import IncompatibleError
from cvxdistill.heads import LinearFit
from cvxdistill.heads.fit import HeadFit
from cvxdistill.problem import LabelProblem
from cvxdistill.solvers.penalty import penalty_root, penalty_strength

BLOCK_ROWS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class FullPass:
    """Objective and gradient on the whole target at `labels (m, C)`."""

    labels: Tensor
    value: float
    gradient: Tensor


class StochasticObjective:
    """The objective of `cvxdistill.problem`, for heads that need not be linear in the labels.

    A head that is linear in the labels is factorised once. Others are fitted at every look, and
    their penalty is half of `lam |W|^2`, as in their own objectives.

    Args:
        problem: on features and labels.
    """

    def __init__(self, problem: LabelProblem) -> None:
        self._problem = problem
        self._linear = problem.head.label_linear
        self._bases = [base.detach().to(torch.float64) for base in problem.base_features]
        self._strengths = [
            penalty_strength(problem.head, target, problem.target_l2) for target in problem.targets
        ]
        self._intercept = getattr(problem.head, "intercept", "none")
        # Classes are checked here and looked up in each step: checks there would wait for a GPU.
        count, place = problem.num_classes, self._bases[0].device
        every = torch.arange(count, device=place)
        self._codes = problem.loss.code(every, num_classes=count).to(place)
        for _, classes in map(self._pair, range(len(problem.targets))):
            if classes.is_floating_point():
                problem.loss.code(classes, num_classes=count)
            else:
                check_class_labels("target labels", classes, num_classes=count)
        self._roots: list[Tensor | None] = [None] * len(self._bases)
        if self._linear:
            self._roots = [
                penalty_root(mapped, self._intercept) if lam > 0 else None
                for mapped, lam in zip(problem.label_maps, self._strengths, strict=True)
            ]

    def sample(self, labels: Tensor, draws: torch.Generator, batch_size: int) -> Tensor:
        """Return an unbiased estimate of the objective, a scalar with a graph.

        One extractor with `batch_size` of its target's examples, or all where there are no more.
        """
        index = int(torch.randint(len(self._bases), (), generator=draws))
        features, classes = self._pair(index)
        if batch_size < len(features):
            picked = torch.randint(len(features), (batch_size,), generator=draws)
            picked = picked.to(features.device)
            features, classes = features[picked], classes[picked]
        fit = self._fit(index, labels)
        loss = self._loss(fit, features, classes)
        return loss + self._penalty(index, fit, labels) + self._pull(labels)

    def full(self, labels: Tensor) -> FullPass:
        """Return objective and gradient on the whole target, in blocks of rows."""
        leaf = labels.detach().clone().requires_grad_()
        pull = self._pull(leaf)
        value, gradient = float(pull.detach()), torch.autograd.grad(pull, leaf)[0]
        for index in range(len(self._bases)):
            fit = self._fit(index, leaf)
            penalty = self._penalty(index, fit, leaf) + 0 * leaf.sum()
            share = 1.0 / len(self._bases)
            value += share * float(penalty.detach())
            (slope,) = torch.autograd.grad(penalty, leaf, retain_graph=True)
            error, force = self._whole_loss(index, fit, leaf)
            value += share * error
            gradient = gradient + share * (slope + force)
        return FullPass(labels, value, gradient)

    def _whole_loss(self, index: int, fit: HeadFit, labels: Tensor) -> tuple[float, Tensor]:
        """Return the mean loss over the target and its gradient, without a graph over the target.

        The gradient is gathered in the weights of a fit, where it has them, so that the way back
        through the fit is gone once.
        """
        features, classes = self._pair(index)
        inputs: tuple[Tensor, ...] = (labels,)
        if isinstance(fit, LinearFit):
            weights, offset = (t.detach().requires_grad_() for t in (fit.weights, fit.intercept))
            inputs, seen = (weights, offset), LinearFit(weights, offset)
        else:
            seen = fit  # type: ignore[assignment]
        total, forces = 0.0, [torch.zeros_like(one) for one in inputs]
        pairs = zip(features.split(BLOCK_ROWS), classes.split(BLOCK_ROWS), strict=True)
        for rows, goal in pairs:
            loss = self._loss(seen, rows, goal) * (len(rows) / len(features))
            total += float(loss.detach())
            slopes = torch.autograd.grad(loss, inputs, retain_graph=not isinstance(fit, LinearFit))
            forces = [force + slope for force, slope in zip(forces, slopes, strict=True)]
        if isinstance(fit, LinearFit):
            outputs = [fit.weights, fit.intercept]
            joined = sum((o * f).sum() for o, f in zip(outputs, forces, strict=True))
            return total, torch.autograd.grad(joined, labels)[0]  # type: ignore[arg-type]
        return total, forces[0]

    def _pair(self, index: int) -> tuple[Tensor, Tensor]:
        target = self._problem.targets[index]
        assert isinstance(target, tuple), "checked by LabelSolver.solve"
        return target

    def _fit(self, index: int, labels: Tensor) -> HeadFit:
        if self._linear:
            return self._problem.label_maps[index].fit(labels)
        return self._problem.head.fit(self._bases[index], labels)

    def _loss(self, fit: HeadFit, features: Tensor, classes: Tensor) -> Tensor:
        loss, place = self._problem.loss, self._bases[0].device
        goal = classes.to(place)
        goal = goal.to(torch.float64) if goal.is_floating_point() else self._codes[goal.long()]
        # A target that is too large for the device comes from elsewhere, block by block.
        return loss.value(fit(features.detach().to(place, torch.float64)), goal)

    def _penalty(self, index: int, fit: HeadFit, labels: Tensor) -> Tensor:
        features, _ = self._pair(index)
        lam, root = self._strengths[index], self._roots[index]
        if lam == 0:
            return labels.new_zeros(())
        if root is not None:
            return lam / len(features) * (root @ labels).square().sum()
        if not isinstance(fit, LinearFit):
            raise IncompatibleError(
                "a penalty in the label objective needs a head with finite weights; got a fit of "
                f"type {type(fit).__name__}. Give `target_l2=0.0`."
            )
        squares = fit.weights.square().sum()
        if self._intercept == "penalised":
            squares = squares + fit.intercept.square().sum()
        return 0.5 * lam / len(features) * squares

    def _pull(self, labels: Tensor) -> Tensor:
        problem = self._problem
        if problem.prior is None:
            return 0 * labels.sum()
        return problem.prior_weight * (labels - problem.prior.to(labels)).square().sum()
