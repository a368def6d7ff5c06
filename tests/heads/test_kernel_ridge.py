"""The kernel head against scikit-learn, RidgeHead, finite networks and brute force."""

import json

import numpy as np
import pytest
import torch
from cases import CLOSED_FORM, INTERCEPTS, SHAPES, draw, draw_labels, draw_target, moments
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC
from truths import relative_error

from cvxdistill.errors import IncompatibleError, InputError, SolveError
from cvxdistill.heads import KernelRidgeHead, RidgeHead
from cvxdistill.heads.kernels import KERNELS, ArcCosine, NeuralTangent, relu_covariance, relu_slopes
from cvxdistill.solvers import solve_labels

CLASSES = 3

every_intercept = pytest.mark.parametrize("intercept", INTERCEPTS)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def linear(**options):
    return KernelRidgeHead(kernel="polynomial", gamma=1.0, degree=1, offset=0.0, **options)


@every_intercept
@pytest.mark.parametrize("scale", ["absolute", "trace"])
@pytest.mark.parametrize(("m", "d"), SHAPES.values(), ids=list(SHAPES))
def test_the_linear_kernel_is_the_ridge_head(m, d, scale, intercept):
    features, labels, query = draw(m, d) + 0.5, draw(m, CLASSES, seed=3), draw(4, d, seed=1)
    given = {"l2": 0.3, "l2_scale": scale, "intercept": intercept}
    found = linear(**given).fit(features, labels)(query)
    expected = RidgeHead(**given).fit(features, labels)(query)
    assert relative_error(found, expected) < CLOSED_FORM


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"kernel": "rbf", "gamma": 0.2}, {"kernel": "rbf", "gamma": 0.2}),
        (
            {"kernel": "polynomial", "gamma": 0.5, "degree": 3, "offset": 2.0},
            {"kernel": "poly", "gamma": 0.5, "degree": 3, "coef0": 2.0},
        ),
    ],
)
def test_predictions_equal_scikit_learn(options, theirs):
    features, labels, query = draw(9, 4), draw(9, CLASSES, seed=3), draw(5, 4, seed=1)
    head = KernelRidgeHead(l2=0.1, l2_scale="absolute", intercept="none", **options)
    model = KernelRidge(alpha=0.1, **theirs).fit(features.numpy(), labels.numpy())
    expected = torch.from_numpy(model.predict(query.numpy()))
    assert relative_error(head.fit(features, labels)(query), expected) < CLOSED_FORM


def test_the_default_scale_is_that_of_scikit_learn():
    features = draw(9, 4) * 3 + 1
    model = SVC(gamma="scale").fit(features.numpy(), np.arange(9) % 2)
    assert float(KernelRidgeHead().factor(features).kernel.gamma) == pytest.approx(model._gamma)


def test_a_free_intercept_is_not_penalised():
    features, labels = draw(8, 3), draw(8, CLASSES, seed=3)
    head = KernelRidgeHead(l2=0.2, l2_scale="absolute")
    gram = head.factor(features).kernel.gram(features)
    # The stationarity conditions in `A` and `b`, as one linear system.
    ones = torch.ones(8, 1, dtype=torch.float64)
    system = torch.cat([gram + 0.2 * torch.eye(8).double(), ones], dim=1)
    system = torch.cat([system, torch.nn.functional.pad(ones, (0, 0, 0, 1)).mT])
    solved = torch.linalg.solve(system, torch.nn.functional.pad(labels, (0, 0, 0, 1)))
    expected = gram @ solved[:-1] + solved[-1]
    assert relative_error(head.fit(features, labels)(features), expected) < CLOSED_FORM


def test_the_kernels_of_a_network_are_the_limits_of_wide_ones():
    left, right = draw(1, 5), draw(1, 5, seed=1)
    hidden = draw(400_000, 5, seed=2)
    one, other = (hidden @ row.squeeze(0) for row in (left, right))
    covariance = 2 * (one.relu() * other.relu()).mean()
    slopes = 2 * ((one > 0) & (other > 0)).double().mean()
    arccos = float(ArcCosine(depth=1).between(left, right))
    assert arccos == pytest.approx(float(covariance), rel=2e-2)
    # Last layer trained, and first layer trained.
    tangent = (covariance + slopes * (left * right).sum()) / 5
    assert float(NeuralTangent(depth=1).between(left, right)) == pytest.approx(
        float(tangent), rel=2e-2, abs=2e-2
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_deeper_kernels_repeat_the_formulas(depth):
    features = draw(6, 4)
    unit = features / features.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.mT).clamp(-1, 1)
    tangent = cosine
    for _ in range(depth):
        angle = torch.arccos(cosine)
        slope = 1 - angle / torch.pi
        cosine = (torch.sin(angle) + (torch.pi - angle) * torch.cos(angle)) / torch.pi
        tangent = cosine + tangent * slope
    norms = torch.outer(features.norm(dim=1), features.norm(dim=1))
    assert relative_error(ArcCosine(depth).gram(features), norms * cosine) < 1e-7
    assert relative_error(NeuralTangent(depth).gram(features), norms * tangent / 4) < 1e-7


def test_the_functions_of_the_cosine_have_their_derivatives():
    cosine = torch.linspace(-0.95, 0.95, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relu_slopes, (cosine,))
    assert torch.autograd.gradgradcheck(relu_slopes, (cosine,))
    assert torch.autograd.gradcheck(relu_covariance, (cosine,))
    assert torch.autograd.gradgradcheck(relu_covariance, (cosine,))


@every_kernel
def test_gram_matrices_are_positive_and_have_the_kernel_s_diagonal(kernel):
    features = draw(12, 4)
    made = KernelRidgeHead(kernel=kernel).factor(features).kernel
    gram = made.gram(features)
    assert float(torch.linalg.eigvalsh(gram)[0]) > -1e-12
    assert relative_error(made.between(features, features), gram) < 1e-7
    assert torch.equal(gram.diagonal(), made.diagonal(features))


@every_kernel
@pytest.mark.parametrize("intercept", ["free", "penalised"])
def test_gradients_in_all_arguments_to_second_order(kernel, intercept):
    features, labels = draw(4, 3).requires_grad_(), draw(4, 2, seed=3).requires_grad_()
    l2 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    query = draw(2, 3, seed=1).requires_grad_()

    def logits(features, labels, l2, query):
        head = KernelRidgeHead(kernel=kernel, l2=l2, intercept=intercept)
        return head.fit(features, labels)(query)

    assert torch.autograd.gradcheck(logits, (features, labels, l2, query))
    assert torch.autograd.gradgradcheck(logits, (features, labels, l2, query), fast_mode=True)


@every_kernel
def test_equal_rows_rows_of_zeros_and_opposite_rows_have_finite_derivatives(kernel):
    rows = draw(2, 3)
    features = torch.cat([rows, rows, -rows, 2 * rows, torch.zeros(2, 3)]).requires_grad_()
    labels = draw(10, 2, seed=3)
    logits = KernelRidgeHead(kernel=kernel, l2=0.1).fit(features, labels)(features.detach())
    assert torch.isfinite(logits).all()
    (first,) = torch.autograd.grad(logits.square().sum(), features, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), features)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()


@every_kernel
def test_a_batch_is_its_episodes(kernel):
    features, labels, query = draw(2, 6, 3), draw(2, 6, CLASSES, seed=1), draw(2, 4, 3, seed=2)
    head = KernelRidgeHead(kernel=kernel)
    logits = head.fit(features, labels)(query)
    for i in range(2):
        assert relative_error(logits[i], head.fit(features[i], labels[i])(query[i])) < CLOSED_FORM


# Label problems. --------------------------------------------------------------------------------


@every_intercept
@every_kernel
@pytest.mark.parametrize("target_l2", [None, 0.0])
def test_solved_labels_are_the_least_squares_labels(kernel, intercept, target_l2):
    features, classes = draw_target(40, 3, CLASSES)
    base, coded = features[:6], torch.nn.functional.one_hot(classes, CLASSES).double()
    head = KernelRidgeHead(kernel=kernel, l2=0.1, l2_scale="absolute", intercept=intercept)
    solution = solve_labels(base, (features, classes), head=head, target_l2=target_l2)
    mapped = head.factor(base)
    rows, lam = mapped.transfer(features), 0.1 if target_l2 is None else 0.0
    # `|W(Y)|^2` as the quadratic form of the coefficients.
    form = mapped.coefficients.mT @ mapped.gram @ mapped.coefficients
    normal = rows.mT @ rows + lam * form
    expected = torch.linalg.lstsq(normal, rows.mT @ coded, driver="gelsd").solution
    assert relative_error(rows @ solution.labels, rows @ expected) < 1e-7

    def value(labels):
        penalty = lam * float((labels * (form @ labels)).sum())
        return (float((rows @ labels - coded).square().sum()) + penalty) / 40

    assert solution.objective == pytest.approx(value(solution.labels), rel=1e-9)
    assert solution.certificate.optimality < 1e-9
    assert solution.certificate.full_objective <= solution.objective
    assert 0 < solution.certificate.relative_gap < 1
    json.dumps(solution.certificate.record(), allow_nan=False)


@every_intercept
@pytest.mark.parametrize("scale", ["absolute", "trace"])
def test_the_linear_kernel_solves_for_the_labels_of_the_ridge_head(scale, intercept):
    target = draw_target(40, 5, CLASSES)
    given = {"l2": 0.3, "l2_scale": scale, "intercept": intercept}
    base = target[0][:4]
    found = solve_labels(base, target, head=linear(**given))
    expected = solve_labels(base, target, head=RidgeHead(**given))
    assert relative_error(found.labels, expected.labels) < 1e-8
    assert found.certificate.full_objective == pytest.approx(expected.certificate.full_objective)
    assert found.certificate.relative_gap == pytest.approx(
        expected.certificate.relative_gap, rel=1e-6
    )
    assert found.certificate.rank == expected.certificate.rank
    assert found.certificate.full_rank is None


@every_intercept
def test_labels_on_the_target_itself_are_lossless(intercept):
    features, classes = draw_target(12, 3, CLASSES)
    head = KernelRidgeHead(l2=0.1, intercept=intercept)
    solution = solve_labels(features, (features, classes), head=head)
    assert solution.certificate.relative_gap < 1e-12


def test_pools_and_blocks_are_summed(monkeypatch):
    pool = [draw_target(40, d, CLASSES, seed=d) for d in (3, 5)]
    labels = pool[0][1]
    bases, targets = [part[:6] for part, _ in pool], [(part, labels) for part, _ in pool]
    whole = solve_labels(bases, targets, head=KernelRidgeHead())
    monkeypatch.setattr("cvxdistill.heads.kernel_ridge.BLOCK_ROWS", 7)
    blocks = solve_labels(bases, targets, head=KernelRidgeHead())
    assert relative_error(blocks.labels, whole.labels) < 1e-8


def test_without_an_affordable_full_data_head_its_fields_are_empty(monkeypatch):
    monkeypatch.setattr("cvxdistill.heads.kernel_ridge.FULL_LIMIT", 10)
    target = draw_target(40, 3, CLASSES)
    solution = solve_labels(target[0][:6], target, head=KernelRidgeHead())
    record = json.loads(json.dumps(solution.certificate.record(), allow_nan=False))
    assert record["full_objective"] is None
    assert record["relative_gap"] is None
    assert not solution.certificate.lossless
    assert record["objective"] == pytest.approx(solution.objective)
    assert "objective" in str(solution.certificate)


def test_moments_alone_are_refused_with_the_way_out():
    features, classes = draw_target(40, 3, CLASSES)
    with pytest.raises(IncompatibleError, match=r"\(features, labels\), or use RidgeHead"):
        solve_labels(features[:4], moments(features, classes, CLASSES), head=KernelRidgeHead())
    with pytest.raises(IncompatibleError, match=r"no finite weights.*RidgeHead"):
        KernelRidgeHead().target_root((features, draw_labels(40, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "rfb"}, "Did you mean `rbf`"),
        ({"gamma": 0.0}, "`gamma` must be finite and above zero"),
        ({"degree": 0}, "`degree` must be a whole number"),
        ({"depth": 1.5}, "`depth` must be a whole number"),
        ({"offset": -1.0}, "`offset` must be finite and zero or more"),
        ({"l2": -1.0}, "`l2` must be finite and zero or more"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        KernelRidgeHead(**options)


def test_a_kernel_without_rank_and_penalty_says_its_jitter_or_fails():
    features = draw(2, 3).repeat(3, 1)
    mapped = KernelRidgeHead(l2=0.0, intercept="none").factor(features)
    assert 0 < mapped.jitter <= 1e-10
    with pytest.raises(SolveError, match=r"singular.*Raise `l2`"):
        linear(l2=0.0, intercept="none").factor(torch.zeros(3, 2, dtype=torch.float64))
