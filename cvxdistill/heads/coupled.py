r"""Newton systems of heads whose classes are coupled example by example.

Multinomial logistic regression and the interior-point steps of the Crammer-Singer machine have
Hessians of one form, in unknowns `V (q, C)`:

    H = sum_i x_i x_i' (x) L(u_i)  +  diag(penalty) (x) I  +  tie e e' (x) 1 1',
    L(u) = diag(u sum u) - u u',

with `x_i` the rows of the design, `L(u)` the Laplacian of a graph over the classes with weights
`u_c u_e`, and `e` the place of an intercept that is not penalised. Such an intercept is determined
up to a constant over the classes; the last term adds `tie/2 (sum_c b_c)^2` to the objective, which
is zero at the optimum of least norm, so it fixes the constant without moving anything else.
"""

import dataclasses

import torch
from torch import Tensor

from cvxdistill.errors import SolveError

# Above this many unknowns a factorisation of their matrix (128 MB here) costs more than conjugate
# gradients with the class blocks as preconditioner.
DIRECT_LIMIT = 4000
CG_TOLERANCE = 1e-13
CG_STEPS = 5000
# Fractions of the mean diagonal tried in turn where rounding makes the matrix indefinite.
LADDER = (0.0, 1e-15, 1e-13, 1e-11)


@dataclasses.dataclass(frozen=True, eq=False)
class Coupled:
    """The fixed parts of the system.

    Attributes:
        design: `X (m, q)`, its last column ones where an intercept is free.
        penalty: `(q,)`, zero at a free intercept.
        tie: strength of the term that fixes the constant; zero without a free intercept.
    """

    design: Tensor
    penalty: Tensor
    tie: float

    @classmethod
    def of(cls, coordinates: Tensor, lam: Tensor, *, free: bool, tie: float) -> "Coupled":
        """Append the column of a free intercept to `coordinates (m, r)`."""
        penalty = lam.expand(coordinates.shape[1])
        if not free:
            return cls(coordinates, penalty, 0.0)
        ones = coordinates.new_ones(len(coordinates), 1)
        return cls(torch.cat([coordinates, ones], 1), torch.cat([penalty, lam.new_zeros(1)]), tie)

    def smooth_gradient(self, unknown: Tensor) -> Tensor:
        """Return the gradient `(q, C)` of the penalty and of the tie."""
        gradient = self.penalty[:, None] * unknown
        if self.tie:
            gradient[-1] += self.tie * unknown[-1].sum()
        return gradient

    def smooth_value(self, unknown: Tensor) -> Tensor:
        """Return the penalty and the tie at `unknown (q, C)`."""
        return 0.5 * (unknown * self.smooth_gradient(unknown)).sum()


@dataclasses.dataclass(frozen=True, eq=False)
class CoupledHessian:
    """The system at one point; call it to solve.

    Attributes:
        parts: what does not change from step to step.
        weights: `u (m, C)`, zero or more.
        own: the diagonals of the Laplacians, `(m, C)`.
        factor: Cholesky factors, of the whole matrix or of its class blocks.
        direct: which of the two.
    """

    parts: Coupled
    weights: Tensor
    own: Tensor
    factor: Tensor
    direct: bool

    @classmethod
    def at(cls, parts: Coupled, weights: Tensor) -> "CoupledHessian":
        """Factorise at `weights (m, C)`.

        Raises:
            SolveError: not positive definite, even with the last jitter of the ladder.
        """
        classes, q = weights.shape[1], parts.design.shape[1]
        own = weights * _sum_of_others(weights)
        blocks = parts.design.mT @ (own.mT[:, :, None] * parts.design)
        blocks.diagonal(dim1=-2, dim2=-1).add_(parts.penalty)
        if classes * q > DIRECT_LIMIT:
            if parts.tie:
                blocks[:, -1, -1] += parts.tie
            return cls(parts, weights, own, _cholesky(blocks), direct=False)
        wide = (weights[:, :, None] * parts.design[:, None, :]).reshape(len(weights), -1)
        matrix = (wide.mT @ wide).neg_().view(classes, q, classes, q)
        index = torch.arange(classes, device=matrix.device)
        matrix[index, :, index, :] = blocks
        if parts.tie:
            matrix[:, -1, :, -1] += parts.tie
        return cls(parts, weights, own, _cholesky(matrix.view(classes * q, -1)), direct=True)

    def apply(self, unknown: Tensor) -> Tensor:
        """Return `H V (q, C)`."""
        moved = self.parts.design @ unknown
        # A Laplacian does not see a constant; taken off at the heaviest class, it leaves sums
        # without cancellation.
        moved = moved - moved.gather(1, self.weights.argmax(1, keepdim=True))
        pull = self.weights * moved
        inner = self.own * moved - self.weights * (pull.sum(1, keepdim=True) - pull)
        return self.parts.design.mT @ inner + self.parts.smooth_gradient(unknown)

    def __call__(self, rhs: Tensor) -> Tensor:
        """Return `H^-1 rhs` for `rhs (q, C)`.

        Raises:
            SolveError: conjugate gradients that do not converge.
        """
        if not self.direct:
            return self._conjugate_gradients(rhs)
        solved = torch.cholesky_solve(rhs.mT.reshape(-1, 1), self.factor)
        # One refinement takes out what the jitter or the conditioning put in.
        solved = solved.view(rhs.shape[1], rhs.shape[0]).mT
        error = rhs - self.apply(solved)
        again = torch.cholesky_solve(error.mT.reshape(-1, 1), self.factor)
        return solved + again.view(rhs.shape[1], rhs.shape[0]).mT

    def _precondition(self, rhs: Tensor) -> Tensor:
        return torch.cholesky_solve(rhs.mT[:, :, None], self.factor)[:, :, 0].mT

    def _conjugate_gradients(self, rhs: Tensor) -> Tensor:
        unknown, residual = torch.zeros_like(rhs), rhs.clone()
        direction = scaled = self._precondition(residual)
        product = (residual * scaled).sum()
        goal = CG_TOLERANCE * float(rhs.norm())
        for _ in range(CG_STEPS):
            if float(residual.norm()) <= goal:
                return unknown
            image = self.apply(direction)
            step = product / (direction * image).sum()
            unknown = unknown + step * direction
            residual = residual - step * image
            scaled = self._precondition(residual)
            before, product = product, (residual * scaled).sum()
            direction = scaled + (product / before) * direction
        raise SolveError(
            f"conjugate gradients stopped after {CG_STEPS} steps at a relative residual of "
            f"{float(residual.norm() / rhs.norm()):.1e}, above {CG_TOLERANCE:.0e}. Raise `l2`, or "
            "rescale the features."
        )


def _cholesky(matrix: Tensor) -> Tensor:
    """Factorise one matrix or a batch, with the smallest jitter of the ladder that works."""
    mean = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    for jitter in LADDER:
        if jitter:
            eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
            matrix = matrix + (jitter * mean)[..., None, None] * eye
        factor, info = torch.linalg.cholesky_ex(matrix)
        if not bool(info.any()):
            lower: Tensor = factor
            return lower
    raise SolveError(
        "a Newton system is numerically singular (mean diagonal "
        f"{float(mean.mean()):.1e}). Raise `l2`, or rescale the features."
    )


def _sum_of_others(weights: Tensor) -> Tensor:
    """Return `sum_{e != c} u_e`, to full relative precision where one class dominates."""
    top = weights.argmax(1, keepdim=True)
    others = weights.sum(1, keepdim=True) - weights
    return others.scatter(1, top, weights.scatter(1, top, 0.0).sum(1, keepdim=True))
