"""CvxpyHead: worked examples against other routes, and every way in which a solve can go wrong."""

import copy
import functools
import pickle
import re
import threading
import warnings

import cvxpy as cp
import pytest
import torch

from cvxdistill.errors import GradientWarning, IncompatibleError, InputError, SolveError
from cvxdistill.heads import HEADS, CvxpyHead, RidgeHead
from cvxdistill.heads.cvxpy_problems import (
    ConvexFit,
    elastic_net,
    huber,
    logistic,
    ridge,
    simplex_weights,
)
from cvxdistill.seeding import generator

EXAMPLES = [ridge, elastic_net, huber, simplex_weights, logistic]


def draw(m=7, d=3, classes=2, *, batch=(), dtype=torch.float64):
    source = generator(0, "cvxpy", m, d, classes)
    features = torch.randn(*batch, m, d, generator=source, dtype=torch.float64)
    labels = torch.randn(*batch, m, classes, generator=source, dtype=torch.float64).softmax(-1)
    return features.to(dtype), labels.to(dtype)


def directional(head, features, labels, *, wrt, step=1e-2):
    """Return the claimed and the measured derivative of a random projection, along a direction."""
    source = generator(1, "cvxpy", wrt)
    at = {"features": features, "labels": labels}
    direction = torch.randn(at[wrt].shape, generator=source, dtype=torch.float64)
    probe = torch.randn(features.shape[1], labels.shape[1], generator=source, dtype=torch.float64)

    def value(t):
        moved = {**at, wrt: at[wrt] + t * direction}
        return (head.fit(**moved).weights * probe).sum()

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (claimed,) = torch.autograd.grad(value(t), t)
    with torch.no_grad():
        measured = (value(step) - value(-step)) / (2 * step)
    return float(claimed), float(measured)


# --- worked examples ---------------------------------------------------------------------------


@pytest.mark.parametrize("l2_scale", ["trace", "absolute"])
def test_ridge_equals_the_closed_form_with_its_gradients(l2_scale):
    features, labels = (x.requires_grad_() for x in draw())
    l2 = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    gradients = []
    for head in (
        CvxpyHead(ridge, l2=l2, l2_scale=l2_scale),
        RidgeHead(l2=l2, l2_scale=l2_scale),
    ):
        fit = head.fit(features, labels)
        loss = fit(features).square().sum() + fit.weights.sum()
        gradients.append([loss, *torch.autograd.grad(loss, (features, labels, l2))])
    for mine, exact in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-4, atol=1e-5)


def test_elastic_net_without_the_absolute_part_is_ridge_and_with_it_is_sparse():
    features, labels = draw()
    exact = RidgeHead(l2=0.1).fit(features, labels)
    fit = CvxpyHead(functools.partial(elastic_net, l1_ratio=0.0), l2=0.1).fit(features, labels)
    torch.testing.assert_close(fit.weights, exact.weights, rtol=1e-4, atol=1e-5)
    fit = CvxpyHead(functools.partial(elastic_net, l1_ratio=0.95), l2=2.0).fit(features, labels)
    assert int((fit.weights.abs() < 1e-6).sum()) >= 2


def test_elastic_net_meets_its_optimality_conditions():
    features, labels = draw()
    l2, ratio = 1.0, 0.5
    head = CvxpyHead(functools.partial(elastic_net, l1_ratio=ratio), l2=l2, l2_scale="absolute")
    fit = head.fit(features, labels)
    residual = fit(features) - labels
    slope = 2 * features.T @ residual + 2 * l2 * (1 - ratio) * fit.weights
    active = fit.weights.abs() > 1e-5
    assert float(residual.sum(0).abs().max()) < 1e-6
    assert float((slope + l2 * ratio * fit.weights.sign())[active].abs().max()) < 1e-5
    assert bool((slope[~active].abs() <= l2 * ratio + 1e-6).all())


def test_huber_far_threshold_is_ridge_and_a_near_one_resists_an_outlier():
    features, labels = draw()
    exact = RidgeHead(l2=0.1).fit(features, labels)
    far = CvxpyHead(functools.partial(huber, threshold=100.0), l2=0.1).fit(features, labels)
    torch.testing.assert_close(far.weights, exact.weights, rtol=1e-5, atol=1e-6)
    spoilt = labels.clone()
    spoilt[0] += 50.0
    near = CvxpyHead(functools.partial(huber, threshold=0.1), l2=0.1)
    moved = (near.fit(features, spoilt).weights - near.fit(features, labels).weights).norm()
    ridge_moved = (RidgeHead(l2=0.1).fit(features, spoilt).weights - exact.weights).norm()
    assert float(moved) < 0.1 * float(ridge_moved)


def test_simplex_weights_lie_on_the_simplex_and_are_optimal():
    features, labels = draw()
    fit = CvxpyHead(simplex_weights, l2=1e-2, l2_scale="absolute").fit(features, labels)
    assert float(fit.weights.min()) > -1e-6
    torch.testing.assert_close(fit.weights.sum(0), torch.ones(2).double(), rtol=0, atol=1e-6)
    assert torch.equal(fit.intercept, torch.zeros(2).double())
    slope = 2 * features.T @ (features @ fit.weights - labels) + 2e-2 * fit.weights
    # Where the weight is positive the slope is the column's smallest.
    assert float(((slope - slope.min(0).values) * fit.weights).max()) < 1e-5


def test_logistic_meets_its_optimality_conditions():
    features, labels = draw()
    fit = CvxpyHead(logistic, l2=0.5, l2_scale="absolute").fit(features, labels)
    excess = fit(features).softmax(-1) - labels
    assert float((features.T @ excess + 0.5 * fit.weights).abs().max()) < 1e-5
    assert float(excess.sum(0).abs().max()) < 1e-5


@pytest.mark.parametrize("factory", EXAMPLES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("wrt", ["labels", "features"])
def test_gradients_agree_with_central_differences(factory, wrt):
    claimed, measured = directional(CvxpyHead(factory, l2=0.05), *draw(), wrt=wrt)
    assert claimed == pytest.approx(measured, rel=3e-3, abs=1e-5)


@pytest.mark.parametrize("factory", EXAMPLES, ids=lambda f: f.__name__)
def test_constant_and_varying_features_agree(factory):
    features, labels = draw()
    head = CvxpyHead(factory, l2=0.05, gradient_check="off")
    constant = head.fit(features, labels)
    varying = head.fit(features.clone().requires_grad_(), labels)
    assert len(head._cache) == 2
    torch.testing.assert_close(constant.weights, varying.weights, rtol=1e-5, atol=1e-6)


# --- layers, batches, dtypes -------------------------------------------------------------------


def test_two_heads_from_one_factory_agree_and_each_layer_has_its_own_problem():
    problems = []

    def factory(features, labels, l2):
        fit = ridge(features, labels, l2)
        problems.append(fit.problem)
        return fit

    features, labels = draw()
    fits = [CvxpyHead(factory, l2=0.1).fit(features, labels).weights for _ in range(3)]
    assert torch.equal(fits[0], fits[1])
    assert torch.equal(fits[0], fits[2])
    assert len({id(problem) for problem in problems}) == 3


def test_a_factory_that_returns_the_same_problem_again_is_refused():
    @functools.cache
    def once():
        features, labels = cp.Constant(draw()[0].numpy()), cp.Parameter((7, 2))
        return ridge(features, labels, cp.Parameter(nonneg=True))

    with pytest.raises(InputError, match="new problem at every call"):
        CvxpyHead(lambda z, y, l2: once()).fit(*draw())


def test_layers_are_reused_and_their_number_is_bounded():
    calls = []

    def factory(features, labels, l2):
        calls.append(features.shape)
        return ridge(features, labels, l2)

    head = CvxpyHead(factory, max_layers=2)
    features, labels = draw()
    for scale in (1.0, 2.0):
        head.fit(features, scale * labels)
    assert len(calls) == 1
    for m in (4, 5, 6):
        head.fit(features[:m], labels[:m])
    assert len(head._cache) == 2
    head.fit(features + 1, labels)
    assert len(calls) == 5


def test_a_batch_equals_its_members_and_carries_gradients():
    features, labels = draw(m=5, batch=(2, 2))
    head = CvxpyHead(ridge, l2=0.1)
    y = labels.clone().requires_grad_()
    fit = head.fit(features, y)
    assert fit.weights.shape == (2, 2, 3, 2)
    assert fit.intercept.shape == (2, 2, 2)
    one = head.fit(features[1, 0], labels[1, 0])
    torch.testing.assert_close(fit.weights[1, 0].detach(), one.weights, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(fit.weights[1, 0].sum(), y)
    assert float(gradient[0].abs().max()) == 0.0
    assert float(gradient[1, 0].abs().max()) > 0.0
    # One feature matrix serves many label matrices.
    shared = head.fit(features[0, 0], labels)
    torch.testing.assert_close(
        shared.weights[0, 0], fit.weights[0, 0].detach(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_dtype_of_the_features_comes_back(dtype):
    features, labels = draw(dtype=dtype)
    labels.requires_grad_()
    fit = CvxpyHead(ridge, l2=0.1).fit(features, labels)
    assert fit.weights.dtype == fit.intercept.dtype == dtype
    fit.weights.sum().backward()
    assert labels.grad.dtype == dtype


@pytest.mark.gpu
def test_the_device_of_the_features_comes_back():
    features, labels = (x.cuda() for x in draw())
    labels.requires_grad_()
    fit = CvxpyHead(ridge, l2=0.1).fit(features, labels)
    fit.weights.sum().backward()
    assert fit.weights.is_cuda
    assert labels.grad.is_cuda


def test_copies_and_pickles_work_and_start_without_layers():
    head = CvxpyHead(ridge, l2=0.1)
    expected = head.fit(*draw()).weights
    for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert twin == head
        assert len(twin._cache) == 0
        assert torch.equal(twin.fit(*draw()).weights, expected)


def test_threads_share_a_head_without_mixing_their_answers():
    head = CvxpyHead(ridge, l2=0.1)
    features, labels = draw()
    expected = [head.fit(features, k * labels).weights for k in range(1, 5)]
    found = [None] * 4

    def work(k):
        found[k] = head.fit(features, (k + 1) * labels).weights

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_registered_head_works_as_it_is():
    assert HEADS["cvxpy"] is CvxpyHead
    assert CvxpyHead().fit(*draw()).weights.shape == (3, 2)


# --- gradients ---------------------------------------------------------------------------------


def test_a_second_derivative_is_refused():
    features, labels = draw()
    labels.requires_grad_()
    loss = CvxpyHead(ridge, l2=0.1).fit(features, labels).weights.square().sum()
    with pytest.raises(IncompatibleError, match="differentiable once"):
        torch.autograd.grad(loss, labels, create_graph=True)


def test_a_wrong_gradient_is_refused_or_warned_about_with_numbers():
    features, labels = draw(m=20, d=8, classes=3)
    labels.requires_grad_()
    options = {"l2": 1e-3, "l2_scale": "absolute", "derivative": "lsqr"}
    with pytest.raises(SolveError, match=r"differences with step .* say .* relative error"):
        CvxpyHead(logistic, **options).fit(features, labels)
    with pytest.warns(GradientWarning, match="relative error"):
        CvxpyHead(logistic, **options, gradient_check="warn").fit(features, labels)
    CvxpyHead(logistic, **options, gradient_check="off").fit(features, labels)
    # The solution was right all along, and without a gradient nothing is checked.
    CvxpyHead(logistic, **options).fit(features, labels.detach())


def test_the_gradient_is_checked_once_a_layer(monkeypatch):
    from cvxdistill.heads import cvxpy_layer

    calls = []
    original = cvxpy_layer.check_gradient
    monkeypatch.setattr(
        cvxpy_layer, "check_gradient", lambda *a, **k: (calls.append(1), original(*a, **k))
    )
    features, labels = draw()
    head = CvxpyHead(ridge, l2=0.1)
    for scale in (1.0, 2.0):
        head.fit(features, (scale * labels).requires_grad_())
    assert len(calls) == 1


def test_a_gradient_that_fails_is_an_error():
    from cvxdistill.heads.cvxpy_backend import CheckedConeSolver, SolvedCone

    class PanicException(BaseException):
        pass

    def panic(*_):
        raise PanicException("singular")

    solver = CheckedConeSolver(("SCS",), {}, "auto", 1e-6)
    state = SolvedCone("SCS", "solved", None, panic, None)
    with pytest.raises(SolveError, match="PanicException: singular"):
        solver.derivative_numpy(torch.ones(1).numpy(), torch.ones(1).numpy(), state)


# --- what can go wrong -------------------------------------------------------------------------


def infeasible(features, labels, l2):
    fit = ridge(features, labels, l2)
    constraints = [fit.weights >= 1, cp.sum(fit.weights) <= 0]
    return ConvexFit(cp.Problem(fit.problem.objective, constraints), fit.weights, fit.intercept)


def unbounded(features, labels, l2):
    weights = cp.Variable((features.shape[1], labels.shape[1]))
    objective = cp.Minimize(cp.sum(weights) + cp.sum(labels))
    return ConvexFit(cp.Problem(objective, [weights <= 1]), weights)


@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
@pytest.mark.parametrize(
    ("factory", "status"), [(infeasible, "infeasible"), (unbounded, "unbounded")]
)
@pytest.mark.parametrize("grad", [False, True])
def test_a_problem_without_a_solution_is_an_error_with_the_status(solver, factory, status, grad):
    features, labels = draw()
    head = CvxpyHead(factory, solvers=(solver,), gradient_check="off")
    with pytest.raises(SolveError, match=rf"(?i){solver}: status `{status}"):
        head.fit(features, labels.requires_grad_(grad))


@pytest.mark.parametrize(
    ("solver", "option"), [("CLARABEL", {"max_iter": 3}), ("SCS", {"max_iters": 5})]
)
def test_a_solver_stopped_early_is_an_error(solver, option):
    features, labels = draw()
    head = CvxpyHead(ridge, solvers=(solver,), solver_options={solver: option})
    with pytest.raises(SolveError, match=rf"{solver}: status .* after \d steps"):
        head.fit(features, labels)


def test_the_next_solver_steps_in():
    features, labels = draw()
    exact = RidgeHead(l2=0.1).fit(features, labels).weights
    head = CvxpyHead(ridge, l2=0.1, solver_options={"CLARABEL": {"max_iter": 2}})
    torch.testing.assert_close(head.fit(features, labels).weights, exact, rtol=1e-4, atol=1e-5)
    (layer,) = head._cache._layers.values()
    assert [solved.solver for solved in layer._solver.solved] == ["SCS"]


@pytest.mark.parametrize("l2", [0.0, 1e-3])
@pytest.mark.parametrize("scale", [1e-7, 1e-4, 1e6])
@pytest.mark.parametrize("what", ["labels", "features", "column"])
def test_an_ill_scaled_problem_is_solved_right_or_refused(what, scale, l2):
    features, labels = draw()
    if what == "labels":
        labels = labels * scale
    elif what == "features":
        features = features * scale
    else:
        features = features * torch.tensor([1.0, 1.0, scale], dtype=torch.float64)
    exact = RidgeHead(l2=l2).fit(features, labels)(features)
    head = CvxpyHead(ridge, l2=l2, solver_options={"SCS": {"max_iters": 500}})
    try:
        found = head.fit(features, labels)(features)
    except (SolveError, InputError) as error:
        message = str(error)
    else:
        assert float((found - exact).norm() / exact.norm()) < 1e-3
        return
    assert re.search("status|ill-scaled|[Ss]cale", message)


def test_zero_labels_are_no_ill_scaled_problem():
    features, labels = draw()
    fit = CvxpyHead(ridge, l2=0.1).fit(features, 0 * labels)
    assert float(fit(features).abs().max()) < 1e-4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 1])
def test_entries_that_are_not_finite_are_refused(bad, where):
    given = list(draw())
    given[where][2, 1] = bad
    with pytest.raises(InputError, match="must be finite; got 1 NaN or infinite entries"):
        CvxpyHead(ridge).fit(*given)


def test_a_solver_that_raises_or_panics_is_reported(monkeypatch):
    from cvxdistill.heads import cvxpy_backend

    class PanicException(BaseException):
        pass

    for error in (PanicException("rust"), ValueError("bad")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(cvxpy_backend.diffcp, "solve_internal", fail)
        with pytest.raises(SolveError, match=type(error).__name__):
            CvxpyHead(ridge).fit(*draw())

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cvxpy_backend.diffcp, "solve_internal", interrupt)
    with pytest.raises(KeyboardInterrupt):
        CvxpyHead(ridge).fit(*draw())


def test_an_answer_that_breaks_the_optimality_conditions_is_refused(monkeypatch):
    from cvxdistill.heads import cvxpy_backend

    original = cvxpy_backend.diffcp.solve_internal

    def spoilt(*arguments, **options):
        result = original(*arguments, **options)
        return {**result, "x": result["x"] * 1.01}

    monkeypatch.setattr(cvxpy_backend.diffcp, "solve_internal", spoilt)
    with pytest.raises(SolveError, match=r"residuals primal .* exceed the tolerance"):
        CvxpyHead(ridge, l2=0.1).fit(*draw())


def not_dpp(features, labels, l2):
    weights = cp.Variable((features.shape[1], labels.shape[1]))
    scores = features @ weights
    objective = cp.sum(cp.logistic(scores)) - cp.sum(cp.multiply(labels, l2 * scores))
    return ConvexFit(cp.Problem(cp.Minimize(objective)), weights)


def not_convex(features, labels, l2):
    weights = cp.Variable((features.shape[1], labels.shape[1]))
    objective = cp.sum(cp.sqrt(cp.square(weights))) - cp.sum_squares(features @ weights - labels)
    return ConvexFit(cp.Problem(cp.Minimize(objective)), weights)


def without_labels(features, labels, l2):
    weights = cp.Variable((features.shape[1], labels.shape[1]))
    return ConvexFit(cp.Problem(cp.Minimize(cp.sum_squares(features @ weights))), weights)


def integers(features, labels, l2):
    weights = cp.Variable((features.shape[1], labels.shape[1]), boolean=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(features @ weights - labels)))
    return ConvexFit(problem, weights)


def wrong_shape(features, labels, l2):
    fit = ridge(features, labels, l2)
    return ConvexFit(fit.problem, fit.weights, fit.weights)


def not_a_fit(features, labels, l2):
    return ridge(features, labels, l2).problem


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (not_dpp, "must be DPP"),
        (not_convex, "must be convex"),
        (without_labels, "must depend on the labels"),
        (integers, "integer or boolean"),
        (wrong_shape, r"`intercept` .* shape \(2,\)"),
        (not_a_fit, "must return a ConvexFit; got Problem"),
    ],
)
def test_a_factory_that_makes_the_wrong_thing_is_told_so(factory, message):
    with pytest.raises(InputError, match=message):
        CvxpyHead(factory).fit(*draw())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": None}, "`factory` must be a function"),
        ({"solvers": "CLARABEL"}, "tuple of names"),
        ({"solvers": ("CLARABELL",)}, "Did you mean `CLARABEL`"),
        ({"derivative": "exact"}, "`derivative` must be one of"),
        ({"gradient_check": "on"}, "`gradient_check` must be one of"),
        ({"l2": -1.0}, "`l2` must be finite"),
        ({"tolerance": 0.0}, "`tolerance` must be finite"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        CvxpyHead(**options)


def test_leading_dimensions_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"leading dimensions .* got \(2,\) and \(3,\)"):
        CvxpyHead(ridge).fit(torch.zeros(2, 4, 3), torch.zeros(3, 4, 2))


def test_too_many_products_are_refused_before_memory_is_gone():
    features, labels = torch.zeros(200, 100, requires_grad=True), torch.zeros(200, 10)
    with pytest.raises(InputError, match="Detach the features"):
        CvxpyHead(ridge).fit(features, labels)


def test_no_warning_escapes():
    features, labels = draw()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CvxpyHead(huber, solvers=("SCS",)).fit(features, labels.requires_grad_())
