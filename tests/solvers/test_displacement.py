"""The move of labels: its optimality, its limits, and a solver from elsewhere."""

import numpy as np
import pytest
import scipy.optimize
import torch
from cases import draw

from cvxdistill.errors import InputError
from cvxdistill.solvers.displacement import solve_displacement


def problem(networks=2, n=30, m=4, c=3):
    offsets = [draw(n + e, c, seed=e) for e in range(networks)]
    transfers = [draw(n + e, m, seed=10 + e) for e in range(networks)]
    classes = [torch.arange(n + e) % c for e in range(networks)]
    return offsets, transfers, classes


def objective(move, offsets, transfers, classes, weight):
    losses = [
        torch.nn.functional.cross_entropy(f + h @ move, t)
        for f, h, t in zip(offsets, transfers, classes, strict=True)
    ]
    return torch.stack(losses).mean() + weight * move.square().sum()


@pytest.mark.parametrize("weight", [1e-3, 1e-1, 10.0])
def test_against_scipy(weight):
    parts = problem()
    move = solve_displacement(*parts, weight=weight)

    def value(x):
        at = torch.from_numpy(x.reshape(4, 3)).requires_grad_()
        loss = objective(at, *parts, weight)
        (slope,) = torch.autograd.grad(loss, at)
        return float(loss.detach()), slope.numpy().ravel()

    best = scipy.optimize.minimize(
        value, np.zeros(12), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15}
    )
    reached = float(objective(move, *parts, weight))
    # The solve ends at a thousandth of the first gradient: its square is what is left.
    assert reached <= best.fun + 1e-5 * (value(np.zeros(12))[0] - best.fun)
    assert move.dtype == torch.float64


def test_a_high_price_moves_along_the_gradient():
    parts = problem()
    zero = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(objective(zero, *parts, 0.0), zero)
    move = solve_displacement(*parts, weight=1e6)
    assert torch.allclose(move, -slope / 2e6, rtol=1e-4, atol=1e-12)


def test_networks_count_alike_however_many_examples_they_have():
    offsets, transfers, classes = problem()
    twice = (
        [offsets[0], torch.cat([offsets[1]] * 2)],
        [transfers[0], torch.cat([transfers[1]] * 2)],
        [classes[0], torch.cat([classes[1]] * 2)],
    )
    once = solve_displacement(offsets, transfers, classes, weight=0.1)
    assert torch.allclose(once, solve_displacement(*twice, weight=0.1), atol=1e-4)


def test_networks_of_one_size_are_solved_at_once():
    offsets, transfers, classes = problem()
    equal = [[part[:30] for part in parts] for parts in (offsets, transfers, classes)]
    move = solve_displacement(*equal, weight=0.1)
    zero = move.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(zero, *equal, 0.1), zero)
    start = torch.zeros_like(move, requires_grad=True)
    (first,) = torch.autograd.grad(objective(start, *equal, 0.1), start)
    assert float(slope.norm()) <= 1.1e-3 * float(first.norm())


def test_what_all_classes_share_is_left_alone():
    offsets, transfers, classes = problem()
    move = solve_displacement(offsets, transfers, classes, weight=0.1)
    assert float(move.sum(1).abs().max()) < 1e-8
    shifted = [f + draw(len(f), 1, seed=5) for f in offsets]
    same = solve_displacement(shifted, transfers, classes, weight=0.1)
    assert torch.allclose(move, same, atol=1e-8)


def test_mistakes_are_named():
    offsets, transfers, classes = problem()
    with pytest.raises(InputError, match="`weight`"):
        solve_displacement(offsets, transfers, classes, weight=0.0)
    with pytest.raises(InputError, match="as many offsets, transfers and classes"):
        solve_displacement(offsets, transfers, [classes[0], classes[0]], weight=0.1)
    with pytest.raises(InputError, match="`offsets` must be finite"):
        solve_displacement([offsets[0] * torch.nan], transfers[:1], classes[:1], weight=0.1)
