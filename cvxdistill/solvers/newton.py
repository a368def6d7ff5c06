"""Newton steps by conjugate gradients, for the cross-entropy of free labels."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from cvxdistill.solvers.softmax import SoftmaxObjective, SoftmaxState

# Rows of the targets, for each base example, from which the preconditioner is computed: with 80,
# conjugate gradients need half the passes over the target that one shared matrix needs.
SAMPLE = 80
# Numbers in the class blocks of the preconditioner, 400 MB; beyond, classes share one matrix.
BLOCK_NUMBERS = 50_000_000
SUFFICIENT, SHORTEST = 1e-4, 2.0**-30
INNER_STEPS = 250


@dataclasses.dataclass(eq=False)
class NewtonResult:
    """Where Newton's method ended, with the Newton steps and the passes over the targets."""

    state: SoftmaxState
    steps: int
    passes: int


def newton(
    objective: SoftmaxObjective,
    labels: Tensor,
    *,
    done: Callable[[SoftmaxState], bool],
    max_steps: int,
) -> NewtonResult:
    """Minimise the objective over free labels.

    Each step solves the Newton equations by preconditioned conjugate gradients, the more exactly
    the nearer the optimum, and is halved until the objective falls enough (Armijo).

    Args:
        objective: of the labels.
        labels: the start `(m, C)`.
        done: says of a state whether it is good enough.
        max_steps: limit of Newton steps.

    References:
        Dembo, Eisenstat and Steihaug 1982, "Inexact Newton methods",
        https://doi.org/10.1137/0719025
    """
    shared = Preconditioner.shared(objective)
    result = NewtonResult(objective.at(labels), 0, 1)
    while result.steps < max_steps and not done(result.state):
        state = result.state
        condition = Preconditioner.at(objective, state, shared)
        direction, passes = _direction(objective, state, condition)
        result.passes += passes
        slope = float((state.gradient * direction).sum())
        length = 1.0
        while length > SHORTEST:
            trial = objective.at(state.labels + length * direction)
            result.passes += 1
            # The last digits of a difference of objectives are rounding.
            if trial.value <= state.value + SUFFICIENT * length * slope + 1e-15 * abs(state.value):
                break
            length /= 2
        else:
            return result
        result.state, result.steps = trial, result.steps + 1
    return result


def _direction(
    objective: SoftmaxObjective, state: SoftmaxState, condition: "Preconditioner"
) -> tuple[Tensor, int]:
    """Solve the Newton equations; also return the passes over the targets."""
    unknown, residual = torch.zeros_like(state.gradient), -state.gradient
    scaled = condition(residual)
    direction = scaled
    product = first = float((residual * scaled).sum())
    accuracy = min(0.1, max(first, 0.0) ** 0.5)
    for step in range(1, INNER_STEPS + 1):
        image = objective.curvature(state, direction)
        bend = float((direction * image).sum())
        if bend <= 0:
            # Rounding in a flat direction: what has been found so far is a descent direction.
            return (unknown if step > 1 else direction), step
        unknown = unknown + (product / bend) * direction
        residual = residual - (product / bend) * image
        scaled = condition(residual)
        before, product = product, float((residual * scaled).sum())
        if product <= accuracy**2 * first:
            break
        direction = scaled + (product / before) * direction
    return unknown, step


@dataclasses.dataclass(frozen=True, eq=False)
class Preconditioner:
    """An approximate inverse Hessian: one block a class, and the shift of all classes apart.

    A softmax does not see what is added to all classes alike, so in that direction only penalty
    and prior have curvature; everywhere else a block a class is close to the Hessian.

    Attributes:
        blocks: Cholesky factors, `(C, m, m)` or `(m, m)`.
        shift: Cholesky factor of the curvature `(m, m)` in what classes share.
    """

    blocks: Tensor
    shift: Tensor

    @classmethod
    def shared(cls, objective: SoftmaxObjective) -> "Preconditioner":
        """Return one matrix for all classes: the Hessian at equal shares."""
        classes = objective.prior.shape[1]
        gram, ridge = objective.gram(), objective.ridge()
        whole = gram / classes + ridge
        return cls(_cholesky(whole, whole), _cholesky(ridge, whole))

    @classmethod
    def at(
        cls, objective: SoftmaxObjective, state: SoftmaxState, shared: "Preconditioner"
    ) -> "Preconditioner":
        """Return blocks at a state from a sample of the targets' rows."""
        m, classes = state.labels.shape
        if classes * m * m > BLOCK_NUMBERS:
            return shared
        rows = sum(len(transfer) for transfer in objective.transfers)
        stride = max(rows // (SAMPLE * m), 1)
        blocks = state.labels.new_zeros(classes, m, m)
        for index, (transfer, share) in enumerate(
            zip(objective.transfers, state.shares, strict=True)
        ):
            picked, q = transfer[::stride], share[::stride]
            weights = (q * (1 - q)).sqrt() * (objective.share(index) * stride) ** 0.5
            for c in range(classes):
                scaled = picked * (objective.scale * weights[:, c : c + 1])
                blocks[c] += scaled.mT @ scaled
        whole = shared.blocks @ shared.blocks.mT
        # A class that the sample hardly has would leave its block singular.
        blocks = blocks + objective.ridge() + 1e-4 * whole
        return cls(_cholesky(blocks, whole), shared.shift)

    def __call__(self, residual: Tensor) -> Tensor:
        """Return the approximate Newton direction for `residual (m, C)`."""
        common = residual.mean(1, keepdim=True)
        apart = (residual - common).mT[..., None]
        solved = torch.cholesky_solve(apart, self.blocks)[..., 0].mT
        solved = solved - solved.mean(1, keepdim=True)
        return solved + torch.cholesky_solve(common, self.shift)


def _cholesky(matrix: Tensor, scale: Tensor) -> Tensor:
    """Factorise with the least of a ladder of jitters, relative to the size of `scale`."""
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    size = max(float(scale.diagonal(dim1=-2, dim2=-1).mean()), 1e-300)
    jitter = 1e-14
    factor, info = torch.linalg.cholesky_ex(matrix + jitter * size * eye)
    while bool(info.any()) and jitter < 1:
        jitter *= 100
        factor, info = torch.linalg.cholesky_ex(matrix + jitter * size * eye)
    solved: Tensor = factor
    return solved
