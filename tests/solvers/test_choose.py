"""Choosing on validation: the one decomposition against single solves, and what is refused."""

import pytest
import torch
from cases import draw, draw_target

from cvxdistill.errors import InputError
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import CrossEntropyLoss, one_hot
from cvxdistill.solvers import (
    HeldOut,
    ProjectedSolver,
    build_problem,
    choose_prior_weight,
    choose_temperature,
    solve_labels,
)
from cvxdistill.solvers.choose import _path

HEAD = RidgeHead(l2=0.05)


@pytest.fixture(scope="module")
def pool():
    """Two extractors: one for the pool, one held out, on 8 base and 60 other examples."""
    seen, classes = draw_target(108, 6, 3)
    unseen = torch.tanh(seen @ draw(6, 5, seed=9))
    held_out = HeldOut(unseen[:8], unseen[68:], classes[68:])
    return seen[:8], (seen[8:68], classes[8:68]), one_hot(classes[:8], 3), held_out


@pytest.mark.parametrize("weight", [0.0, 1e-3, 1.0, 1e6])
def test_one_decomposition_gives_the_labels_of_every_weight(pool, weight):
    base, target, prior, _ = pool
    problem = build_problem(base, target, head=HEAD, prior=prior, prior_weight=1.0)
    kept = {"prior": prior, "prior_weight": weight} if weight else {}
    single = solve_labels(base, target, head=HEAD, **kept).labels
    assert torch.allclose(_path(problem, prior)(weight), single, atol=1e-8)


def test_the_weight_is_the_best_on_held_out_extractors(pool):
    base, target, prior, held_out = pool
    weights = (0.0, 1e-2, 1.0, 100.0)
    choice = choose_prior_weight(
        base, target, prior=prior, held_out=[held_out], weights=weights, head=HEAD
    )
    expected = []
    for weight in weights:
        kept = {"prior": prior, "prior_weight": weight} if weight else {}
        labels = solve_labels(base, target, head=HEAD, **kept).labels
        fit = HEAD.fit(held_out.base_features, labels)
        guesses = fit(held_out.features).argmax(1)
        expected.append(float((guesses == held_out.classes).double().mean()))
    assert list(choice.accuracies) == pytest.approx(expected)
    assert choice.value == weights[expected.index(max(expected))]


def test_other_losses_and_constraints_take_one_solve_each(pool):
    base, target, prior, held_out = pool
    given = {"prior": prior, "held_out": [held_out], "weights": (0.0, 1.0), "head": HEAD}
    boxed = choose_prior_weight(base, target, constraint="simplex", **given)
    named = choose_prior_weight(
        base, target, constraint="simplex", solver=ProjectedSolver(), **given
    )
    assert boxed == named
    assert len(choose_prior_weight(base, target, loss="cross_entropy", **given).accuracies) == 2


def test_the_temperature_is_the_best_on_validation(pool):
    base, target, _, held_out = pool
    temperatures = (0.5, 5.0)
    choice = choose_temperature(
        base,
        target,
        held_out=[held_out],
        temperatures=temperatures,
        head=HEAD,
        constraint="simplex",
    )
    expected = [
        held_out.accuracy(
            HEAD,
            solve_labels(
                base, target, head=HEAD, loss=CrossEntropyLoss(t), constraint="simplex"
            ).labels,
        )
        for t in temperatures
    ]
    assert list(choice.accuracies) == expected
    assert choice.value == temperatures[expected.index(max(expected))]


def test_what_cannot_be_scored_is_refused(pool):
    base, target, prior, held_out = pool
    with pytest.raises(InputError, match="`held_out` must have one entry or more"):
        choose_prior_weight(base, target, prior=prior, held_out=[])
    short = HeldOut(held_out.base_features[:7], held_out.features, held_out.classes)
    with pytest.raises(InputError, match="must have 8 rows; got 7"):
        choose_prior_weight(base, target, prior=prior, held_out=[short])
    with pytest.raises(InputError, match="one an example"):
        HeldOut(held_out.base_features, held_out.features, held_out.classes[:5])
    with pytest.raises(InputError, match="`temperature` must be finite and above zero"):
        choose_temperature(base, target, held_out=[held_out], temperatures=(0.0,))
