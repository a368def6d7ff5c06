"""The exact solve: lossless where it can be, optimal where it cannot, from either source."""

import dataclasses

import pytest
import torch
from bare import BareConstraint, BareHead, BareLoss
from cases import (
    CLOSED_FORM,
    INTERCEPTS,
    MOMENTS,
    OPTIMAL_VALUE,
    draw,
    draw_target,
    moments,
    small_problem,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from truths import (
    augmented_ridge,
    coded_target,
    full_objective,
    label_objective,
    least_squares_labels,
    prior_labels,
    relative_error,
    target_penalty,
)

from cvxdistill.errors import IncompatibleError, InputError, SolveError
from cvxdistill.heads import RidgeHead, stack
from cvxdistill.labels import SquaredLoss
from cvxdistill.problem import Certificate, LabelSolution, Status
from cvxdistill.solvers import SOLVERS, ExactSolver, solve_labels

CLASSES = 3

every_intercept = pytest.mark.parametrize("intercept", INTERCEPTS)


def exact(problem) -> LabelSolution:
    return ExactSolver().solve(problem)


def from_moments(problem):
    """Return the same problem with its targets given as moments."""
    targets = tuple(moments(*target, problem.num_classes) for target in problem.targets)
    return dataclasses.replace(problem, targets=targets)


SOURCES = {"features": lambda problem: problem, "moments": from_moments}
every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))


# Lossless. --------------------------------------------------------------------------------------


@every_source
@every_intercept
@pytest.mark.parametrize("spare", [0, 1, 5])
@pytest.mark.parametrize("target_l2", [None, 0.0])
def test_enough_examples_reproduce_the_full_data_head(source, intercept, spare, target_l2):
    enough = 5 + (intercept != "none")
    head = RidgeHead(intercept=intercept)
    problem = small_problem(m=enough + spare, widths=(5,), head=head, target_l2=target_l2)
    solution = exact(source(problem))
    features, coded = coded_target(problem, 0)
    lam = target_penalty(problem, features)
    full = torch.from_numpy(augmented_ridge(features, coded, lam, intercept))
    fit = head.fit(problem.base_features[0], solution.labels)
    # Fewest examples make the labels large against the weights that they add up to.
    tolerance = CLOSED_FORM if source is SOURCES["features"] else MOMENTS
    assert relative_error(stack(fit), full) < tolerance
    assert solution.certificate.lossless
    assert solution.certificate.rank_deficit == 0
    assert "lossless" in str(solution.certificate)
    assert solution.objective == pytest.approx(full_objective(problem), rel=OPTIMAL_VALUE)


@every_source
@every_intercept
@pytest.mark.parametrize("m", [2, 4])
def test_too_few_examples_say_by_how_much_and_are_optimal(source, intercept, m):
    enough = 6 + (intercept != "none")
    problem = small_problem(m=m, widths=(6,), head=RidgeHead(intercept=intercept))
    solution = exact(source(problem))
    certificate = solution.certificate
    assert not certificate.lossless
    assert (certificate.rank, certificate.full_rank) == (m, enough)
    assert certificate.rank_deficit == enough - m
    assert f"short by {enough - m}" in str(certificate)
    assert certificate.relative_gap > 1e-6
    assert certificate.full_objective == pytest.approx(full_objective(problem), rel=OPTIMAL_VALUE)
    best = label_objective(problem, least_squares_labels(problem))
    assert solution.objective == pytest.approx(best, rel=OPTIMAL_VALUE)
    assert certificate.objective == pytest.approx(best, rel=OPTIMAL_VALUE)


def test_the_relative_gap_is_the_share_left_unexplained():
    problem = small_problem(m=3, widths=(6,))
    solution = exact(problem)
    # With a free intercept the best constant is the mean, which no labels at all can give.
    constant = dataclasses.replace(problem, head=RidgeHead(l2=1e14, l2_scale="absolute"))
    nothing = label_objective(
        dataclasses.replace(constant, target_l2=0.0),
        torch.zeros(3, CLASSES).double()
        + torch.nn.functional.one_hot(problem.targets[0][1]).double().mean(0),
    )
    full = full_objective(problem)
    expected = (solution.objective - full) / (nothing - full)
    assert solution.certificate.relative_gap == pytest.approx(expected, rel=1e-6)


def test_examples_that_repeat_add_no_rank():
    problem = small_problem(m=8, widths=(6,))
    base = problem.base_features[0][[0, 1, 2, 3, 0, 1, 2, 3]]
    solution = exact(dataclasses.replace(problem, base_features=(base,)))
    assert (solution.certificate.rank, solution.certificate.rank_deficit) == (4, 3)
    # Nothing tells the copies apart, and the least norm shares the work between them.
    assert relative_error(solution.labels[:4], solution.labels[4:]) < 1e-8


# Against other routes. --------------------------------------------------------------------------

WIDTHS = {"one": (5,), "pool": (4, 7, 5)}
every_pool = pytest.mark.parametrize("widths", WIDTHS.values(), ids=list(WIDTHS))


@every_pool
@every_intercept
@pytest.mark.parametrize("m", [1, 3, 6, 12])
@pytest.mark.parametrize("target_l2", [None, 0.0, 0.5])
def test_labels_agree_with_least_squares_on_the_whole_target(widths, intercept, m, target_l2):
    head = RidgeHead(l2=0.05, intercept=intercept)
    problem = small_problem(m=m, widths=widths, head=head, target_l2=target_l2)
    # Least norm on both sides, where more than one solution exists.
    assert relative_error(exact(problem).labels, least_squares_labels(problem)) < 1e-9


@every_pool
@every_intercept
@pytest.mark.parametrize("m", [3, 6, 12])
@pytest.mark.parametrize("coding", ["one-hot", "centred"])
def test_moments_and_features_give_the_same_labels(widths, intercept, m, coding):
    loss, head = SquaredLoss(coding=coding), RidgeHead(intercept=intercept)
    problem = small_problem(m=m, widths=widths, head=head, loss=loss)
    one, other = exact(problem), exact(from_moments(problem))
    assert relative_error(other.labels, one.labels) < MOMENTS
    assert other.objective == pytest.approx(one.objective, rel=MOMENTS)


def test_moments_of_features_with_a_large_mean_give_the_same_labels():
    problem = small_problem(m=4, widths=(5,))
    features, classes = problem.targets[0]
    moved = dataclasses.replace(
        problem,
        base_features=(problem.base_features[0] + 1e4,),
        targets=((features + 1e4, classes),),
    )
    labels = exact(problem).labels
    assert relative_error(exact(moved).labels, labels) < MOMENTS
    assert relative_error(exact(from_moments(moved)).labels, labels) < MOMENTS


@every_source
def test_a_pool_of_equal_extractors_is_one_of_them(source):
    alone = small_problem(m=4, widths=(6,))
    pool = dataclasses.replace(
        alone, base_features=alone.base_features * 3, targets=alone.targets * 3
    )
    one, three = exact(source(alone)), exact(source(pool))
    assert relative_error(three.labels, one.labels) < 1e-9
    assert three.objective == pytest.approx(one.objective, rel=OPTIMAL_VALUE)


def test_a_pool_weighs_extractors_equally_whatever_their_number_of_targets():
    problem = small_problem(m=4, widths=(6, 5))
    features, classes = problem.targets[1]
    doubled = (features.repeat(2, 1), classes.repeat(2))
    # Twice the target and, in the trace scale, twice the penalty: the same mean.
    other = dataclasses.replace(problem, targets=(problem.targets[0], doubled), target_l2=0.0)
    same = dataclasses.replace(problem, target_l2=0.0)
    assert relative_error(exact(other).labels, exact(same).labels) < 1e-9


@settings(max_examples=40)
@given(
    m=st.integers(1, 8),
    d=st.integers(1, 8),
    classes=st.integers(2, 4),
    n=st.integers(9, 40),
    intercept=st.sampled_from(INTERCEPTS),
    seed=st.integers(0, 1000),
)
def test_any_shape_is_solved_to_optimality(m, d, classes, n, intercept, seed):
    head = RidgeHead(l2=0.05, intercept=intercept)
    problem = small_problem(m=m, widths=(d,), n=n, classes=classes, head=head, seed=seed)
    solution = exact(problem)
    best = label_objective(problem, least_squares_labels(problem))
    assert solution.status is Status.SOLVED
    assert solution.objective == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert solution.objective >= full_objective(problem) * (1 - 1e-9) - 1e-12
    assert solution.certificate.optimality < 1e-8


# Prior. -----------------------------------------------------------------------------------------


@every_source
@every_pool
@pytest.mark.parametrize("m", [3, 12])
@pytest.mark.parametrize("weight", [1e-3, 0.1, 10.0])
def test_a_prior_agrees_with_dense_normal_equations(source, widths, m, weight):
    prior = draw(m, CLASSES, seed=3)
    problem = small_problem(m=m, widths=widths, prior=prior, prior_weight=weight)
    solution = exact(source(problem))
    assert relative_error(solution.labels, prior_labels(problem)) < MOMENTS
    expected = label_objective(problem, solution.labels)
    assert solution.objective == pytest.approx(expected, rel=OPTIMAL_VALUE)
    assert solution.certificate.objective < solution.objective


def test_an_endless_weight_gives_the_prior_and_a_vanishing_one_the_free_labels():
    prior = draw(4, CLASSES, seed=3)
    pulled = small_problem(m=4, widths=(6,), prior=prior, prior_weight=1e14)
    assert relative_error(exact(pulled).labels, prior) < 1e-10
    hardly = small_problem(m=4, widths=(6,), prior=prior, prior_weight=1e-14)
    assert relative_error(exact(hardly).labels, exact(small_problem(m=4, widths=(6,))).labels) < (
        1e-8
    )


def test_a_prior_decides_where_the_target_does_not():
    # Twelve examples of rank six: the part of the prior that no head sees is kept.
    prior = draw(12, CLASSES, seed=3)
    with_prior = exact(small_problem(m=12, widths=(5,), prior=prior, prior_weight=1e-10))
    free = exact(small_problem(m=12, widths=(5,)))
    moved = with_prior.labels - free.labels
    mapped = small_problem(m=12, widths=(5,)).label_maps[0].fit(moved)
    assert float(stack(mapped).norm()) < 1e-6
    assert float(moved.norm()) > 1
    unseen = prior - exact(small_problem(m=12, widths=(5,), prior=prior, prior_weight=1e-10)).labels
    assert abs(float((unseen * moved).sum())) < 1e-6 * float(prior.norm()) ** 2


def test_a_perfect_prior_is_kept():
    best = exact(small_problem(m=4, widths=(6,))).labels
    problem = small_problem(m=4, widths=(6,), prior=best, prior_weight=3.0)
    assert relative_error(exact(problem).labels, best) < 1e-9


# Short rank on the target's side. ---------------------------------------------------------------


@every_source
@every_intercept
@pytest.mark.parametrize("m", [3, 8])
def test_collinear_features_are_solved(source, intercept, m):
    features, classes = draw_target(40, 4, CLASSES)
    features = torch.cat([features, features[:, :2], features @ draw(4, 1, seed=8)], dim=1)
    problem = dataclasses.replace(
        small_problem(m=m, head=RidgeHead(intercept=intercept), target_l2=0.0),
        base_features=(features[:m],),
        targets=((features, classes),),
    )
    solution = exact(source(problem))
    assert solution.status is Status.SOLVED
    best = label_objective(problem, least_squares_labels(problem))
    assert label_objective(problem, solution.labels) == pytest.approx(best, rel=MOMENTS)
    assert solution.objective == pytest.approx(best, rel=MOMENTS)
    # The features span too little for any target, and enough for this one.
    assert solution.certificate.rank_deficit > 0
    if m == 8:
        assert solution.certificate.relative_gap < 1e-9


def test_fewer_targets_than_features():
    problem = small_problem(m=3, widths=(12,), n=8, target_l2=0.0)
    best = label_objective(problem, least_squares_labels(problem))
    for source in SOURCES.values():
        assert exact(source(problem)).objective == pytest.approx(best, rel=MOMENTS, abs=1e-12)


# Bits, codings, dtypes. -------------------------------------------------------------------------


@every_source
def test_the_same_call_gives_the_same_bits(source):
    first, again = (exact(source(small_problem(widths=(4, 7)))) for _ in range(2))
    assert torch.equal(first.labels, again.labels)
    assert first.certificate == again.certificate


def test_least_norm_labels_have_no_part_that_the_objective_ignores():
    problem = small_problem(m=12, widths=(5,))
    labels = exact(problem).labels
    mapped = problem.label_maps[0]
    ignored = torch.linalg.svd(torch.cat([mapped.weights, mapped.intercept[None]])).Vh[6:]
    assert len(ignored) == 6
    assert float((ignored @ labels).norm()) < 1e-10 * float(labels.norm())


@pytest.mark.parametrize("m", [3, 8])
def test_both_codings_give_the_same_classes(m):
    plain = small_problem(m=m, widths=(5,))
    centred = dataclasses.replace(plain, loss=SquaredLoss(coding="centred"))
    queries = draw(50, 5, seed=9)
    logits = [
        problem.head.fit(problem.base_features[0], exact(problem).labels)(queries)
        for problem in (plain, centred)
    ]
    assert relative_error(logits[1], logits[0] - 1 / CLASSES) < 1e-9
    assert torch.equal(logits[0].argmax(1), logits[1].argmax(1))


def test_float32_features_give_float32_labels_of_a_float64_solve():
    problem = small_problem(m=4, widths=(6,))
    features, classes = problem.targets[0]
    narrow = features.float()
    labels = solve_labels(narrow[:4], (narrow, classes)).labels
    wide = solve_labels(narrow[:4].double(), (narrow.double(), classes)).labels
    assert labels.dtype == torch.float32
    assert torch.equal(labels, wide.float())


def test_gradients_are_not_recorded():
    features, classes = draw_target(30, 4, CLASSES)
    base = features[:3].clone().requires_grad_()
    assert not solve_labels(base, (features, classes)).labels.requires_grad


# The one call. ----------------------------------------------------------------------------------


def test_the_call_takes_every_form_of_target():
    features, classes = draw_target(30, 4, CLASSES)
    base, coded = features[:3], torch.nn.functional.one_hot(classes, CLASSES).double()
    expected = solve_labels(base, (features, classes))
    for target in (
        moments(features, classes, CLASSES),
        (features, coded),
        [(features, classes)],
        [moments(features, classes, CLASSES)],
    ):
        assert relative_error(solve_labels(base, target).labels, expected.labels) < MOMENTS
    both = [(features, classes), moments(features, classes, CLASSES)]
    pool = solve_labels([base, base], both)
    assert relative_error(pool.labels, expected.labels) < MOMENTS


def test_names_and_objects_mean_the_same():
    features, classes = draw_target(30, 4, CLASSES)
    named = solve_labels(
        features[:3], (features, classes), loss="squared", constraint="free", solver="exact"
    )
    given_ = solve_labels(
        features[:3],
        (features, classes),
        head=RidgeHead(),
        loss=SquaredLoss(),
        solver=ExactSolver(),
    )
    assert torch.equal(named.labels, given_.labels)
    assert torch.equal(named.labels, solve_labels(features[:3], (features, classes)).labels)


FEATURES, LABELS = draw_target(20, 4, CLASSES)
TARGET = (FEATURES, LABELS)
BASE = FEATURES[:3]
NAN = FEATURES.clone()
NAN[7, 2] = torch.nan


@pytest.mark.parametrize(
    ("base", "target", "options", "message"),
    [
        (BASE[:, :3], TARGET, {}, r"must agree; got \(3, 3\) and 4 target features.*same extr"),
        (BASE[:, :3], moments(*TARGET, CLASSES), {}, r"got \(3, 3\) and 4 target features"),
        ([BASE, BASE], TARGET, {}, "got 2 base feature matrices and 1 targets"),
        ([], [], {}, "got 0 base feature matrices"),
        ([BASE, BASE[:2]], [TARGET, TARGET], {}, "`base_features` must have 3 rows; got 2"),
        (BASE[None], TARGET, {}, r"\(1, 3, 4\)"),
        (BASE, (FEATURES, LABELS[:9]), {}, "`target labels` must have 20 rows; got 9"),
        (BASE, (NAN, LABELS), {}, "`target features` must be finite.*row 7"),
        (NAN[5:9], TARGET, {}, "`base_features` must be finite.*row 2"),
        (BASE, (FEATURES, -LABELS), {}, r"must lie in 0\.\."),
        (BASE, TARGET, {"prior": draw(3, CLASSES)}, "got a prior and weight 0"),
        (BASE, TARGET, {"prior_weight": 1.0}, "got no prior and weight 1"),
        (BASE, TARGET, {"prior": draw(2, CLASSES), "prior_weight": 1.0}, "must have 3 rows; got 2"),
        (BASE, TARGET, {"prior": draw(3, 2), "prior_weight": 1.0}, "must have 3 columns; got 2"),
        (BASE, TARGET, {"prior": draw(3, 3), "prior_weight": -1.0}, "`prior_weight` must be"),
        (BASE, TARGET, {"target_l2": -1.0}, "`target_l2` must be finite and zero or more"),
        (BASE, TARGET, {"loss": "square"}, "`loss` must be one of.*Did you mean `squared`"),
        (BASE, TARGET, {"constraint": "fre"}, "`constraint` must be.*Did you mean `free`"),
        (BASE, TARGET, {"solver": "exakt"}, "`solver` must be.*Did you mean `exact`"),
        (
            [BASE, BASE],
            [moments(*TARGET, CLASSES), moments(*TARGET, CLASSES + 1)],
            {},
            r"must agree in the number of classes; got \[3, 4\]",
        ),
    ],
)
def test_misfits_are_refused(base, target, options, message):
    with pytest.raises(InputError, match=message):
        solve_labels(base, target, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": BareHead()}, "needs a head that is `label_linear`, which .*is not"),
        ({"loss": BareLoss()}, "needs a loss that is `quadratic`"),
        ({"constraint": BareConstraint()}, "needs a constraint that is `trivial`"),
        (
            {"loss": BareLoss(), "constraint": BareConstraint()},
            "needs .*`quadratic`.*; and a constraint that is `trivial`",
        ),
    ],
)
def test_parts_that_do_not_fit_the_solver_are_named(options, message):
    with pytest.raises(IncompatibleError, match="ExactSolver " + message):
        solve_labels(BASE, TARGET, solver="exact", **options)


def test_no_solver_that_fits_is_said_with_reasons(monkeypatch):
    # Another dictionary: taking entries out of this one would leave it in another order.
    monkeypatch.setattr("cvxdistill.solvers.SOLVERS", {"exact": SOLVERS["exact"]})
    with pytest.raises(IncompatibleError, match=r"no solver fits.*`exact` needs a loss that is"):
        solve_labels(BASE, TARGET, loss=BareLoss())


def test_a_singular_base_problem_is_a_solve_error():
    with pytest.raises(SolveError, match="singular"):
        solve_labels(BASE[[0, 0, 0]], TARGET, head=RidgeHead(l2=0.0))


# Solutions and certificates. --------------------------------------------------------------------


def test_a_failed_solution_raises_and_others_do_not():
    certificate = Certificate(1.0, 0.5, 0.25, 3, 5, 0.1)
    for status in Status:
        solution = LabelSolution(BASE, "scores", status, 1.0, certificate, {})
        if status is Status.FAILED:
            with pytest.raises(SolveError, match="failed: the numbers cannot be trusted"):
                solution.raise_if_failed()
        else:
            assert solution.raise_if_failed() is solution


def test_a_certificate_reads_well():
    short = Certificate(1.0, 0.5, 0.25, 3, 5, 0.0)
    assert (
        str(short) == "keeps 75.00 % of what the full-data head explains; rank 3 of 5, short by 2"
    )
    assert (
        short.record().items()
        >= {
            "objective": 1.0,
            "full_objective": 0.5,
            "relative_gap": 0.25,
            "rank": 3,
            "full_rank": 5,
            "optimality": 0.0,
            "rank_deficit": 2,
            "lossless": False,
        }.items()
    )
    assert "short" not in str(Certificate(1.0, 0.5, 0.25, 5, 5, 0.0))
    assert Certificate(0.5, 0.5, 1e-13, 5, 5, 0.0).lossless
