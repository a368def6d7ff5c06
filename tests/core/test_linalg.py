"""Square roots of quadratics and least squares, against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.linalg
import torch
from cases import CLOSED_FORM, OPTIMAL_VALUE, draw
from hypothesis import given
from hypothesis import strategies as st
from truths import relative_error

from cvxdistill.linalg import (
    least_squares,
    matrix_rank,
    root_of_normal_equations,
    root_of_rows,
)

SIZES = [(9, 4), (5, 5), (4, 9), (1, 3), (3, 1)]


def low_rank(p, q, rank, *, seed=0):
    return draw(p, rank, seed=seed) @ draw(rank, q, seed=seed + 1)


def lstsq(matrix, rhs):
    return torch.from_numpy(np.linalg.lstsq(matrix.numpy(), rhs.numpy(), rcond=1e-12)[0])


def minimum(matrix, rhs):
    return float((matrix @ lstsq(matrix, rhs) - rhs).square().sum())


def squares(matrix, rhs, unknown):
    return float((matrix @ unknown - rhs).square().sum())


# Least squares. ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "q"), SIZES)
def test_least_squares_agrees_with_numpy(p, q):
    matrix, rhs = draw(p, q), draw(p, 2, seed=5)
    solved = least_squares(matrix, rhs)
    assert relative_error(solved.solution, lstsq(matrix, rhs)) < CLOSED_FORM
    assert solved.rank == min(p, q)
    assert solved.condition == pytest.approx(np.linalg.cond(matrix.numpy()), rel=1e-9)


@pytest.mark.parametrize(("p", "q"), [(9, 4), (5, 5), (4, 9)])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_least_squares_of_short_rank_has_least_norm_like_scipy(p, q, rank):
    matrix, rhs = low_rank(p, q, rank), draw(p, 2, seed=5)
    solved = least_squares(matrix, rhs)
    expected = scipy.linalg.lstsq(matrix.numpy(), rhs.numpy(), cond=1e-12)
    assert solved.rank == rank == expected[2]
    assert relative_error(solved.solution, torch.from_numpy(expected[0])) < CLOSED_FORM
    assert np.isfinite(solved.condition)


@given(
    p=st.integers(1, 8),
    q=st.integers(1, 8),
    rank=st.integers(1, 8),
    weight=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 50),
)
def test_weighted_least_squares_agrees_with_extra_rows(p, q, rank, weight, seed):
    matrix, rhs = low_rank(p, q, min(rank, p, q), seed=seed), draw(p, 2, seed=seed + 5)
    extra = torch.cat([matrix, weight**0.5 * torch.eye(q, dtype=torch.float64)])
    expected = lstsq(extra, torch.cat([rhs, rhs.new_zeros(q, 2)]))
    assert relative_error(least_squares(matrix, rhs, weight=weight).solution, expected) < 1e-9


def test_least_squares_keeps_digits_that_normal_equations_lose():
    # Condition 1e7: its square leaves two digits.
    u, v = np.linalg.qr(draw(9, 4).numpy())[0], np.linalg.qr(draw(4, 4, seed=1).numpy())[0]
    matrix = torch.from_numpy((u * np.geomspace(1, 1e-7, 4)) @ v.T)
    truth = draw(4, 2, seed=2)
    solved = least_squares(matrix, matrix @ truth)
    assert relative_error(solved.solution, truth) < 1e-7
    assert solved.condition == pytest.approx(1e7, rel=1e-6)


def test_a_matrix_of_zeros_has_the_solution_zero():
    solved = least_squares(torch.zeros(3, 2).double(), draw(3, 2))
    assert solved.rank == 0
    assert float(solved.solution.norm()) == 0


# Rank. ------------------------------------------------------------------------------------------


@given(p=st.integers(1, 20), q=st.integers(1, 8), rank=st.integers(0, 8), seed=st.integers(0, 50))
def test_rank_of_products(p, q, rank, seed):
    rank = min(p, q, rank)
    matrix = low_rank(p, q, rank, seed=seed) if rank else torch.zeros(p, q).double()
    assert matrix_rank(matrix) == rank == matrix_rank(matrix.mT)


def test_rank_does_not_depend_on_the_unit():
    for unit in (1e-150, 1e150):
        assert matrix_rank(unit * low_rank(30, 5, 3)) == 3


# Roots. -----------------------------------------------------------------------------------------


def assert_root_of(root, matrix, rhs, *, tolerance=OPTIMAL_VALUE):
    """Check values, minimum and minimiser of `|matrix V - rhs|^2`."""
    for seed in range(3):
        unknown = draw(matrix.shape[1], rhs.shape[1], seed=20 + seed)
        assert root.value(unknown) == pytest.approx(squares(matrix, rhs, unknown), rel=tolerance)
    # Normal equations know the solution to half the digits of the data at worst.
    found = root.minimiser()
    assert relative_error(found, lstsq(matrix, rhs)) < 1e-8
    least = pytest.approx(minimum(matrix, rhs), rel=1e-8, abs=1e-12)
    assert squares(matrix, rhs, found) == least
    assert root.value(found) == least
    assert 0 <= root.residual <= root.value(found)


def normal(matrix, rhs):
    return root_of_normal_equations(matrix.mT @ matrix, matrix.mT @ rhs, float(rhs.square().sum()))


@pytest.mark.parametrize(("p", "q"), [(9, 4), (5, 1)])
def test_root_of_definite_normal_equations(p, q):
    matrix, rhs = draw(p, q), draw(p, 2, seed=5)
    root = normal(matrix, rhs)
    assert_root_of(root, matrix, rhs)
    assert root.rank == q
    assert relative_error(root.factor.mT @ root.factor, matrix.mT @ matrix) < CLOSED_FORM


@pytest.mark.parametrize(("p", "q", "rank"), [(9, 4, 2), (9, 4, 3), (4, 9, 4), (3, 5, 1)])
def test_root_of_singular_normal_equations(p, q, rank):
    matrix, rhs = low_rank(p, q, rank), draw(p, 2, seed=5)
    root = normal(matrix, rhs)
    assert_root_of(root, matrix, rhs)
    assert root.rank == rank


def test_nearly_singular_normal_equations_take_the_eigendecomposition():
    # A Cholesky factor exists, and its last pivot is rounding.
    for seed in range(20):
        matrix = draw(30, 4, seed=seed)
        matrix = torch.cat([matrix, matrix[:, :1]], dim=1)
        rhs = draw(30, 2, seed=seed + 1)
        root = normal(matrix, rhs)
        assert root.rank == 4
        assert relative_error(root.minimiser(), lstsq(matrix, rhs)) < 1e-8


def test_normal_equations_of_nothing():
    root = root_of_normal_equations(torch.zeros(3, 3).double(), torch.zeros(3, 2).double(), 5.0)
    assert root.rank == 0
    assert root.value(draw(3, 2)) == 5
    assert float(root.minimiser().norm()) == 0


def test_a_residual_is_never_negative():
    # The right side lies in the range, so that the residual is a difference of equal numbers.
    matrix = draw(9, 4)
    for seed in range(20):
        assert normal(matrix, matrix @ draw(4, 2, seed=seed)).residual >= 0


@pytest.mark.parametrize(("p", "q"), [(9, 4), (40, 4), (5, 5), (3, 6)])
@pytest.mark.parametrize("block", [1, 2, 7, 100])
def test_root_of_blocks_is_that_of_the_whole(p, q, block):
    matrix, rhs = draw(p, q), draw(p, 2, seed=5)
    root = root_of_rows(zip(matrix.split(block), rhs.split(block), strict=True))
    assert_root_of(root, matrix, rhs)
    assert root.rank == min(p, q)
    assert len(root.factor) <= q


@pytest.mark.parametrize("rank", [1, 3])
def test_root_of_rows_of_short_rank(rank):
    matrix, rhs = low_rank(20, 5, rank), draw(20, 2, seed=5)
    root = root_of_rows(zip(matrix.split(6), rhs.split(6), strict=True))
    assert root.rank == rank
    assert_root_of(root, matrix, rhs)


def test_root_of_rows_keeps_digits_that_normal_equations_lose():
    u, v = np.linalg.qr(draw(30, 4).numpy())[0], np.linalg.qr(draw(4, 4, seed=1).numpy())[0]
    matrix = torch.from_numpy((u * np.geomspace(1, 1e-6, 4)) @ v.T)
    truth = draw(4, 2, seed=2)
    root = root_of_rows([(matrix, matrix @ truth)])
    assert root.rank == 4
    assert relative_error(root.minimiser(), truth) < 1e-8


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one block"):
        root_of_rows([])
