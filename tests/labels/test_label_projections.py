"""Projections against a cone solver, against random allowed labels, and at the edges."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.errors import InputError
from cvxdistill.labels import Box, ClampRenormalise, Simplex, TopK

entries = st.floats(-1e3, 1e3, allow_nan=False)
rows = st.integers(1, 6).flatmap(lambda c: st.lists(entries, min_size=c, max_size=c))


def by_cone_solver(row, conditions):
    point = cp.Variable(len(row))
    cp.Problem(cp.Minimize(cp.sum_squares(point - row)), conditions(point)).solve(
        solver=cp.CLARABEL
    )
    return torch.from_numpy(point.value)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("constraint", "conditions"),
    [
        (Simplex(), lambda y: [y >= 0, cp.sum(y) == 1]),
        (Box(low=-0.2, high=0.7), lambda y: [y >= -0.2, y <= 0.7]),
    ],
    ids=["simplex", "box"],
)
def test_projection_agrees_with_a_cone_solver(constraint, conditions, seed):
    row = 2 * np.random.default_rng(seed).standard_normal(7)
    expected = by_cone_solver(row, conditions)
    assert float((constraint.project(torch.from_numpy(row)) - expected).abs().max()) < 1e-6


@given(rows, st.randoms(use_true_random=False))
def test_nothing_on_the_simplex_is_nearer(row, random):
    row = torch.tensor([row], dtype=torch.float64)
    nearest = Simplex().project(row)
    assert float(nearest.min()) >= 0
    assert float(nearest.sum()) == pytest.approx(1, abs=1e-9)
    for _ in range(5):
        weights = torch.tensor([random.random() + 1e-3 for _ in row[0]], dtype=torch.float64)
        other = weights / weights.sum()
        assert float((row - nearest).norm()) <= float((row - other).norm()) + 1e-9


@given(rows)
def test_a_row_is_shifted_by_one_number_where_it_is_positive(row):
    """The optimality condition of the simplex: `v - y` is constant on the support, less off it."""
    row = torch.tensor(row, dtype=torch.float64)
    nearest = Simplex().project(row)
    multiplier = row - nearest
    on = nearest > 0
    assert float(multiplier[on].max() - multiplier[on].min()) < 1e-9 * (1 + float(row.abs().max()))
    assert bool((multiplier[~on] <= multiplier[on].min() + 1e-9 * (1 + row.abs().max())).all())


def test_large_entries_do_not_cost_the_sum():
    row = torch.tensor([[1e16, 1e16, -1e16]], dtype=torch.float64)
    assert Simplex().project(row).tolist() == [[0.5, 0.5, 0.0]]


def test_top_k_is_the_best_of_all_supports():
    row = torch.tensor([0.4, -0.3, 0.9, 0.5], dtype=torch.float64)
    nearest = TopK(k=2).project(row)
    distances = []
    for i in range(4):
        for j in range(i):
            other = torch.zeros(4, dtype=torch.float64)
            other[[i, j]] = Simplex().project(row[[i, j]])
            distances.append(float((row - other).norm()))
    assert float((row - nearest).norm()) == pytest.approx(min(distances), abs=1e-12)
    assert int((nearest > 0).sum()) <= 2


def test_top_k_of_all_classes_is_the_simplex():
    labels = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(TopK(k=9).project(labels), Simplex().project(labels))


def test_clamping_gives_a_distribution_and_never_nan():
    rows = [[-1.0, -2.0], [0.0, 0.0], [1e308, 1e308], [1e-300, 0.0], [3.0, -1.0]]
    shares = ClampRenormalise().project(torch.tensor(rows, dtype=torch.float64))
    assert shares.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [1.0, 0.0]]


def test_clamping_is_not_the_projection():
    labels = torch.tensor([[0.8, 0.6]], dtype=torch.float64)
    assert not ClampRenormalise().exact_projection
    assert not torch.allclose(ClampRenormalise().project(labels), Simplex().project(labels))


@pytest.mark.parametrize(
    "limits", [(1.0, 0.0), (0.5, 0.5), (float("nan"), 1.0), (float("inf"), float("inf"))]
)
def test_a_box_without_inside_is_refused(limits):
    with pytest.raises(InputError, match="`low` below `high`"):
        Box(*limits)


def test_no_sparse_labels_without_entries():
    with pytest.raises(InputError, match="`k` must be 1 or more"):
        TopK(k=0)
