r"""The convex cross-entropy objective of labels, its derivatives, and a lower bound of its optimum.

With `H_e` the linear map from labels to predictions on the target of extractor `e`, and
`a_e = 1 / (E n_e)`,

    f(Y) = sum_e a_e sum_i [ logsumexp(s h_ei Y) - s t_ei . h_ei Y ] + |N Y|^2 + w |Y - Y0|^2,

where the rows of `N` hold the penalties. Write `R(Y) = |N Y|^2 + w |Y - Y0|^2`. Since
`logsumexp(u) = max over distributions q of q . u - q . log q`, any distributions `Q_e` give

    f(Y) >= - sum_e a_e <Q_e, log Q_e> + <J(Q), Y> + R(Y),   J(Q) = s sum_e a_e H_e'(Q_e - T_e),

for every `Y`, and so does the right side's minimum over `Y`, which is closed-form. At
`Q = softmax(s H Y)` the bound is `f(Y) - 1/2 |grad f(Y)|^2` in the inverse Hessian norm of `R`: it
closes as the gradient vanishes.
"""

import dataclasses
import math

import torch
from torch import Tensor

from cvxdistill.linalg import root_of_rows
from cvxdistill.problem import LabelProblem
from cvxdistill.solvers.penalty import penalty_root, penalty_strength

# Rows of a target that are worked on at a time: small enough for the cache.
BLOCK_ROWS = 4096
# Directions in which penalty and prior are this flat, relative to their steepest, count as free.
FLAT = 1e-13
# What rounding may leave of a gradient that is zero in exact arithmetic.
ROUNDING = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class SoftmaxState:
    """The objective at one point.

    Attributes:
        labels: `(m, C)`.
        value: the objective.
        fit: its cross-entropy part.
        force: `J(softmax)`, the gradient `(m, C)` of the cross-entropy part.
        gradient: of the whole objective, `(m, C)`.
        shares: the softmax of each extractor, `(n_e, C)`.
        negentropy: `sum_e a_e <Q_e, log Q_e>` at those shares.
        mean_share: mean softmax `(C,)` over all extractors' targets.
    """

    labels: Tensor
    value: float
    fit: float
    force: Tensor
    gradient: Tensor
    shares: tuple[Tensor, ...]
    negentropy: float
    mean_share: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class SoftmaxObjective:
    """The parts of the objective that do not change; memory is `8 m` bytes a target example.

    Attributes:
        transfers: `H_e (n_e, m)` float64.
        targets: `T_e (n_e, C)` distributions.
        scale: `s`, the inverse temperature.
        root: `N (q, m)`, the square root of the penalties.
        prior: `Y0 (m, C)`, zero without a prior.
        weight: `w`.
        offsets: `F_e (n_e, C)`, logits that are there without any labels and are added to
            `s H_e Y`; none when empty. `DualBound` knows none.
    """

    transfers: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    scale: float
    root: Tensor
    prior: Tensor
    weight: float
    offsets: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, problem: LabelProblem, scale: float) -> "SoftmaxObjective":
        """Compute the transfers and the penalties of a problem on features and labels."""
        transfers, targets, roots = [], [], []
        extractors = len(problem.targets)
        for mapped, target in zip(problem.label_maps, problem.targets, strict=True):
            assert isinstance(target, tuple), "checked by LabelSolver.solve"
            features, labels = target
            blocks = (block.to(torch.float64) for block in features.detach().split(BLOCK_ROWS))
            transfers.append(torch.cat([mapped.transfer(block) for block in blocks]))
            coded = problem.loss.code(labels, num_classes=problem.num_classes)
            targets.append(coded.to(transfers[-1].device))
            lam = penalty_strength(problem.head, target, problem.target_l2)
            if lam > 0:
                weight = (lam / (extractors * len(features))) ** 0.5
                intercept = getattr(problem.head, "intercept", "none")
                roots.append(weight * penalty_root(mapped, intercept))
        like = transfers[0]
        zero = like.new_zeros(like.shape[1], problem.num_classes)
        prior = zero if problem.prior is None else problem.prior.to(zero)
        root = torch.cat(roots) if roots else like.new_zeros(1, like.shape[1])
        if len(root) > root.shape[1]:
            root = torch.linalg.qr(root, mode="r").R
        weight = problem.prior_weight
        return cls(tuple(transfers), tuple(targets), scale, root, prior, weight)

    def share(self, index: int) -> float:
        """Return `a_e`."""
        return 1.0 / (len(self.transfers) * len(self.transfers[index]))

    def at(self, labels: Tensor) -> SoftmaxState:
        """Return value and gradient at `labels (m, C)`, in one pass over the targets."""
        fit, negentropy = 0.0, 0.0
        force, mean = torch.zeros_like(labels), labels.new_zeros(labels.shape[1])
        shares = []
        for index, (transfer, target) in enumerate(zip(self.transfers, self.targets, strict=True)):
            blocks = []
            a = self.share(index)
            pairs = zip(transfer.split(BLOCK_ROWS), target.split(BLOCK_ROWS), strict=True)
            offsets = self.offsets[index].split(BLOCK_ROWS) if self.offsets else ()
            for block, (rows, goal) in enumerate(pairs):
                logits = self.scale * (rows @ labels)
                if offsets:
                    logits = logits + offsets[block]
                normaliser = logits.logsumexp(1, keepdim=True)
                share = (logits - normaliser).exp()
                total = float(normaliser.sum())
                fit += a * (total - float((goal * logits).sum()))
                negentropy += a * (float((share * logits).sum()) - total)
                force = force + (a * self.scale) * (rows.mT @ (share - goal))
                mean = mean + a * share.sum(0)
                blocks.append(share)
            shares.append(torch.cat(blocks))
        pull = labels - self.prior
        penalised = self.root @ labels
        gradient = force + 2 * (self.root.mT @ penalised) + 2 * self.weight * pull
        value = fit + float(penalised.square().sum()) + self.weight * float(pull.square().sum())
        return SoftmaxState(labels, value, fit, force, gradient, tuple(shares), negentropy, mean)

    def curvature(self, state: SoftmaxState, direction: Tensor) -> Tensor:
        """Return the Hessian at `state` times `direction (m, C)`, in one pass over the targets."""
        result = 2 * (self.root.mT @ (self.root @ direction)) + 2 * self.weight * direction
        for index, (transfer, share) in enumerate(zip(self.transfers, state.shares, strict=True)):
            factor = self.share(index) * self.scale**2
            pairs = zip(transfer.split(BLOCK_ROWS), share.split(BLOCK_ROWS), strict=True)
            for rows, q in pairs:
                moved = q * (rows @ direction)
                moved -= q * moved.sum(1, keepdim=True)
                result = result + factor * (rows.mT @ moved)
        return result

    def gram(self) -> Tensor:
        """Return `s^2 sum_e a_e H_e'H_e (m, m)`; half of it bounds the Hessian of a class."""
        return self.scale**2 * sum(
            (self.share(i) * (rows.mT @ rows) for i, rows in enumerate(self.transfers)),
            start=self.prior.new_zeros(len(self.prior), len(self.prior)),
        )

    def ridge(self) -> Tensor:
        """Return the Hessian of penalty and prior, `(m, m)`, the same for all classes."""
        eye = torch.eye(self.root.shape[1], dtype=self.root.dtype, device=self.root.device)
        return 2 * (self.root.mT @ self.root) + 2 * self.weight * eye

    def zero_force(self) -> Tensor:
        """Return `- s sum_e a_e H_e' T_e (m, C)`."""
        pairs = zip(self.transfers, self.targets, strict=True)
        return -self.scale * sum(
            (self.share(i) * (rows.mT @ goal) for i, (rows, goal) in enumerate(pairs)),
            start=torch.zeros_like(self.prior),
        )

    def entropy(self) -> float:
        """Return the mean entropy of the targets, below which no cross-entropy goes."""
        return -sum(
            self.share(i) * float(torch.special.xlogy(goal, goal).sum())
            for i, goal in enumerate(self.targets)
        )


class DualBound:
    """Lower bounds of the objective over all labels, from any state.

    Args:
        objective: whose optimum is bounded.
    """

    def __init__(self, objective: SoftmaxObjective) -> None:
        self._objective = objective
        weight, prior = objective.weight, objective.prior
        rows = [(objective.root, prior.new_zeros(len(objective.root), 1))]
        if weight > 0:
            eye = torch.eye(len(prior), dtype=prior.dtype, device=prior.device)
            rows.append((weight**0.5 * eye, prior.new_zeros(len(prior), 1)))
        triangle = root_of_rows(rows).factor
        _, values, self._basis = torch.linalg.svd(triangle, full_matrices=True)
        values = torch.nn.functional.pad(values, (0, len(prior) - len(values)))
        self._steep = values > FLAT * values.max().clamp_min(1e-300)
        self._curvature = 2 * values.square()
        self._zero = objective.zero_force()
        self._entropy = objective.entropy()
        self._column = objective.scale * sum(
            (objective.share(i) * rows.sum(0) for i, rows in enumerate(objective.transfers)),
            start=prior.new_zeros(len(prior)),
        )
        goals = enumerate(objective.targets)
        self._mean_goal = sum(
            (objective.share(i) * goal.sum(0) for i, goal in goals),
            start=prior.new_zeros(prior.shape[1]),
        )

    def __call__(self, state: SoftmaxState) -> float:
        """Return a number that no labels go below; at least the entropy of the targets."""
        force, negentropy = self._balance(state)
        weight, prior = self._objective.weight, self._objective.prior
        slope = self._basis @ (force - 2 * weight * prior)
        flat = slope[~self._steep]
        if flat.numel() and float(flat.norm()) > ROUNDING * float(self._zero.norm()):
            return self._entropy
        steep = slope[self._steep].square() / self._curvature[self._steep][:, None]
        lower = weight * float(prior.square().sum()) - negentropy - 0.5 * float(steep.sum())
        return max(lower, self._entropy)

    def _balance(self, state: SoftmaxState) -> tuple[Tensor, float]:
        """Return the force and the negative entropy at shares whose mean is that of the targets.

        A free intercept is neither penalised nor bounded, so the bound is finite only where the
        force along it, the difference of the two means, is zero. Mixing every row with one and the
        same distribution makes it so; the mixture's entropy is bounded by concavity, and near the
        optimum next to nothing has to be mixed in.
        """
        over = (state.mean_share - self._mean_goal) / state.mean_share.clamp_min(1e-300)
        mixed = min(max(float(over.max()), 0.0), 1.0)
        ones = torch.ones(len(self._column), dtype=over.dtype, device=over.device)
        along = self._basis @ ones
        if mixed == 0 or float(along[~self._steep].norm()) < 0.5 * float(ones.norm()):
            return state.force, state.negentropy
        # What is added to the mean of the shares must be a distribution up to rounding.
        extra = (state.mean_share + (self._mean_goal - state.mean_share) / mixed).clamp_min(0)
        extra = extra / extra.sum()
        force = (1 - mixed) * state.force
        force = force + mixed * (self._column[:, None] * extra + self._zero)
        entropy = float(torch.special.xlogy(extra, extra).sum())
        return force, (1 - mixed) * state.negentropy + mixed * entropy


def relative_gap(value: float, lower: float) -> float:
    """Return `(value - lower) / value`, at least zero; infinite where it is not a number."""
    gap = max(value - lower, 0.0) / max(abs(value), 1e-300)
    return gap if math.isfinite(gap) else math.inf
