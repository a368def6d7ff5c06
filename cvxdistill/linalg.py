"""Dense linear algebra of the label problem, in float64: square roots and least squares.

Normal equations square the condition number. Everything here therefore works with a square root
`F` of the normal matrix (`F'F = A`), so that `|F x - g|^2` replaces `x'Ax - 2x'b`.
"""

import dataclasses
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

# A Cholesky factor whose smallest pivot is below this fraction of the largest stands for a matrix
# with a condition number above about 1e13; its last digits are then noise and the
# eigendecomposition, which drops the numerical null space, takes over.
PIVOT_RATIO = 3e-7


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticRoot:
    """A quadratic `|factor V - rhs|^2 + residual` in the unknown `V (q, C)`.

    Attributes:
        factor: `(p, q)` float64, with `factor' factor` the normal matrix.
        rhs: `(p, C)` float64.
        residual: a sum of squares that does not depend on `V`.
        rank: numerical rank of `factor`.
    """

    factor: Tensor
    rhs: Tensor
    residual: float
    rank: int

    def value(self, unknown: Tensor) -> float:
        """Return the quadratic at `unknown (q, C)`."""
        return float((self.factor @ unknown - self.rhs).square().sum()) + self.residual

    def minimiser(self) -> Tensor:
        """Return the `V (q, C)` of least norm among those that minimise the quadratic."""
        p, q = self.factor.shape
        if p == q and self.rank == q and bool((self.factor.tril(-1) == 0).all()):
            solved: Tensor = torch.linalg.solve_triangular(self.factor, self.rhs, upper=True)
            return solved
        return least_squares(self.factor, self.rhs).solution


def root_of_normal_equations(matrix: Tensor, rhs: Tensor, total: float) -> QuadraticRoot:
    r"""Turn `tr(V'AV) - 2 tr(V'B) + total` into a sum of squares.

    Cholesky when `A` is safely positive definite, else the eigendecomposition without the
    directions that rounding made.

    Args:
        matrix: `A (q, q)` float64, symmetric positive semidefinite.
        rhs: `B (q, C)` float64, in the range of `A`.
        total: the constant term.

    Example:
        >>> A, B = 4 * torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
        >>> root_of_normal_equations(A, B, 1.0).minimiser().flatten().tolist()
        [0.25, 0.25]
    """
    upper, info = torch.linalg.cholesky_ex(matrix, upper=True)
    pivots = upper.diagonal()
    if int(info) == 0 and float(pivots.min()) > PIVOT_RATIO * float(pivots.max()):
        solved = torch.linalg.solve_triangular(upper.mT, rhs, upper=False)
        residual = max(total - float(solved.square().sum()), 0.0)
        return QuadraticRoot(upper, solved, residual, rank=len(pivots))
    values, vectors = torch.linalg.eigh(matrix)
    # Eigenvalues of an exact zero come out as large as eps * size * the largest one.
    cutoff = float(values[-1]) * len(values) * torch.finfo(values.dtype).eps
    kept = values > max(cutoff, 0.0)
    roots = values[kept].sqrt()
    basis = vectors[:, kept]
    solved = (basis.mT @ rhs) / roots[:, None]
    residual = max(total - float(solved.square().sum()), 0.0)
    return QuadraticRoot(roots[:, None] * basis.mT, solved, residual, rank=int(kept.sum()))


def root_of_rows(blocks: Iterable[tuple[Tensor, Tensor]]) -> QuadraticRoot:
    """Turn `sum |Z V - T|^2` over blocks of rows into one triangular sum of squares.

    A QR of `[Z T]`, block after block, so that the condition number is never squared and memory
    holds one block: `R = qr([R; block])`.

    Args:
        blocks: pairs `(rows, q)`, `(rows, C)` of float64 matrices.

    Example:
        >>> Z = torch.eye(3, 2, dtype=torch.float64)
        >>> T = torch.ones(3, 1, dtype=torch.float64)
        >>> round(root_of_rows([(Z[:2], T[:2]), (Z[2:], T[2:])]).residual, 12)
        1.0
    """
    triangle: Tensor | None = None
    q = 0
    for rows, targets in blocks:
        q = rows.shape[1]
        stacked = torch.cat([rows, targets], dim=1)
        if triangle is not None:
            stacked = torch.cat([triangle, stacked])
        triangle = torch.linalg.qr(stacked, mode="r").R
    if triangle is None:
        raise ValueError("expected at least one block of rows; got none.")
    factor, rhs = triangle[:q, :q], triangle[:q, q:]
    residual = float(triangle[q:, q:].square().sum())
    pivots = factor.diagonal().abs()
    # An unpivoted QR does not reveal the rank, but a tiny pivot shows that it is short; only then
    # are the singular values worth their price.
    rank = q
    if factor.shape[0] < q or float(pivots.min()) <= PIVOT_RATIO * float(pivots.max()):
        rank = matrix_rank(factor)
    return QuadraticRoot(factor, rhs, residual, rank=rank)


@dataclasses.dataclass(frozen=True, eq=False)
class LeastSquares:
    """Solution of `min |K Y - G|^2 + weight |Y|^2`, of least norm where it is not unique.

    Attributes:
        solution: `(m, C)` float64.
        rank: numerical rank of `K`.
        condition: ratio of the largest to the smallest singular value that was kept.
    """

    solution: Tensor
    rank: int
    condition: float


def least_squares(matrix: Tensor, rhs: Tensor, *, weight: float = 0.0) -> LeastSquares:
    """Solve `min |K Y - G|^2 + weight |Y|^2` by a QR and the singular values of the triangle.

    Singular values below `eps * max(P, m)` of the largest count as zero.

    Args:
        matrix: `K (P, m)` float64.
        rhs: `G (P, C)` float64.
        weight: of the quadratic penalty, zero or more.

    Example:
        >>> K = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
        >>> least_squares(K, torch.ones(2, 1, dtype=torch.float64)).solution.item()
        0.5
    """
    tall = matrix.shape[0] > matrix.shape[1]
    if tall:
        basis, triangle = torch.linalg.qr(matrix)
        rhs = basis.mT @ rhs
    else:
        triangle = matrix
    left, values, right = torch.linalg.svd(triangle, full_matrices=False)
    kept = values > _cutoff(values, matrix.shape)
    values, left, right = values[kept], left[:, kept], right[kept]
    shrunk = values / (values.square() + weight)
    solution = right.mT @ (shrunk[:, None] * (left.mT @ rhs))
    condition = float(values[0] / values[-1]) if len(values) else float("inf")
    return LeastSquares(solution, rank=len(values), condition=condition)


def solve_symmetric(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """Factorise a symmetric, perhaps indefinite or singular matrix; return the map `b -> A^+ b`.

    Rows and columns are scaled to entries of at most one (Ruiz 2001). LU where that solves a
    probe; otherwise the eigendecomposition of the scaled matrix without its numerical null space.

    Args:
        matrix: `(q, q)` float64.

    Example:
        >>> A = torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
        >>> solve_symmetric(A)(torch.tensor([2.0, 4.0], dtype=torch.float64)).tolist()
        [2.0, 1.0]
    """
    scale = matrix.new_ones(len(matrix))
    for _ in range(3):
        largest = (scale[:, None] * matrix * scale).abs().amax(1)
        scale = scale / torch.where(largest > 0, largest, 1.0).sqrt()
    scaled = scale[:, None] * matrix * scale
    factor, pivots, info = torch.linalg.lu_factor_ex(scaled)
    if int(info) == 0:
        diagonal = factor.diagonal().abs()
        if float(diagonal.min()) > 1e-12 * float(diagonal.max()):
            return lambda rhs: (
                scale * torch.linalg.lu_solve(factor, pivots, (scale * rhs)[:, None]).squeeze(1)
            )
    values, vectors = torch.linalg.eigh(scaled)
    kept = values.abs() > _cutoff(values.abs(), scaled.shape) * 1e2
    values, vectors = values[kept], vectors[:, kept]
    return lambda rhs: scale * (vectors @ ((vectors.mT @ (scale * rhs)) / values))


def matrix_rank(matrix: Tensor) -> int:
    """Return the number of singular values above `eps * max(shape)` of the largest.

    Example:
        >>> matrix_rank(torch.ones(3, 5, dtype=torch.float64))
        1
    """
    if matrix.shape[0] > 2 * matrix.shape[1]:
        matrix = torch.linalg.qr(matrix, mode="r").R
    values = torch.linalg.svdvals(matrix)
    return int((values > _cutoff(values, matrix.shape)).sum())


def _cutoff(values: Tensor, shape: torch.Size) -> float:
    largest = float(values.max()) if len(values) else 0.0
    return largest * max(shape) * torch.finfo(values.dtype).eps
