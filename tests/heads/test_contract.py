"""The contract of heads, for every entry of `HEADS`."""

import re

import pytest
import torch
from cases import (
    FLOAT32,
    HEAD_CASES,
    ITERATIVE,
    SHAPES,
    HeadCase,
    draw,
    draw_labels,
    flat,
)
from truths import relative_error

from cvxdistill.errors import InputError
from cvxdistill.heads import HEADS, LabelLinearHead

CLASSES = 3
CASES = flat(HEAD_CASES)


def named(case):
    """Name a case alike in every process: without the addresses of functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(case.head))


@pytest.fixture(params=CASES, ids=named)
def case(request) -> HeadCase:
    return request.param


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def shape(request) -> tuple[int, int]:
    return request.param


def data(m, d, *, queries=4):
    return draw(m, d), draw_labels(m, CLASSES), draw(queries, d, seed=1)


@pytest.mark.parametrize("name", HEADS)
def test_every_registered_head_has_a_case_of_its_class(name):
    assert name in HEAD_CASES, f"give head `{name}` a case in tests/cases.py"
    assert {type(case.head) for case in HEAD_CASES[name]} == {HEADS[name]}


def test_every_case_is_registered():
    assert set(HEAD_CASES) == set(HEADS)


def test_logits_have_one_row_a_query_and_the_dtype_of_the_input(case, shape):
    features, labels, queries = data(*shape)
    logits = case.head.fit(features, labels)(queries)
    assert logits.shape == (len(queries), CLASSES)
    assert logits.dtype == torch.float64
    assert torch.isfinite(logits).all()


def test_fit_leaves_its_arguments_alone(case):
    features, labels, _ = data(6, 4)
    kept = features.clone(), labels.clone()
    case.head.fit(features, labels)
    assert torch.equal(features, kept[0])
    assert torch.equal(labels, kept[1])


def test_fit_is_the_same_to_the_bit_when_repeated(case):
    features, labels, queries = data(6, 4)
    first, again = (case.head.fit(features, labels)(queries) for _ in range(2))
    assert torch.equal(first, again)


def test_permuting_examples_with_their_labels_changes_nothing(case, shape):
    features, labels, queries = data(*shape)
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(0))
    permuted = case.head.fit(features[order], labels[order])(queries)
    assert relative_error(permuted, case.head.fit(features, labels)(queries)) < case.tolerance


def test_permuting_classes_permutes_columns(case, shape):
    features, labels, queries = data(*shape)
    order = [2, 0, 1]
    permuted = case.head.fit(features, labels[:, order])(queries)
    expected = case.head.fit(features, labels)(queries)[:, order]
    assert relative_error(permuted, expected) < case.tolerance


def test_float32_comes_back_and_agrees_with_float64(case, shape):
    features, labels, queries = (part.float() for part in data(*shape))
    logits = case.head.fit(features, labels)(queries)
    wide = case.head.fit(features.double(), labels.double())(queries.double())
    assert logits.dtype == torch.float32
    assert relative_error(logits, wide) < max(FLOAT32, case.tolerance)


@pytest.mark.parametrize("argument", ["features", "labels"])
def test_what_is_not_finite_is_refused_with_its_row(case, argument):
    features, labels, _ = data(6, 4)
    bad = {"features": features, "labels": labels}
    bad[argument][3, 1] = torch.nan
    with pytest.raises(InputError, match=f"`{argument}` must be finite.*row 3"):
        case.head.fit(**bad)


def test_labels_of_another_length_are_refused(case):
    features, labels, _ = data(6, 4)
    with pytest.raises(InputError, match="`labels` must have 6 rows; got 5"):
        case.head.fit(features, labels[:5])


@pytest.mark.parametrize("size", [(4, 2), (2, 4)], ids=["long", "wide"])
def test_gradients_agree_with_finite_differences(case, size):
    function, arguments = _differentiated(case, *size, queries=2)
    # Differences of values known to 1e-8 need a step that is wider than the usual 1e-6.
    step = 1e-6 if case.gradient_tolerance <= 1e-5 else 1e-3
    relative = max(case.gradient_tolerance, 1e-3)
    torch.autograd.gradcheck(
        function, arguments, eps=step, atol=case.gradient_tolerance, rtol=relative
    )


@pytest.mark.parametrize("size", [(4, 2), (2, 4)], ids=["long", "wide"])
def test_second_gradients_agree_with_finite_differences(case, size):
    if not case.head.double_backward:
        pytest.skip("this head says that it cannot be differentiated twice")
    function, arguments = _differentiated(case, *size, classes=2, queries=2)
    # Along random directions: the heads' own tests look at every entry where that is quick.
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


def _differentiated(case, m, d, *, classes=CLASSES, queries=4):
    """Return a function of the differentiable arguments, and those arguments."""
    given = {"features": draw(m, d), "labels": draw_labels(m, classes)}
    query = draw(queries, d, seed=1)

    def logits(*values):
        return case.head.fit(**{**given, **dict(zip(names, values, strict=True))})(query)

    names = ("features", "labels")
    return logits, tuple(given[name].requires_grad_() for name in names)


# Heads linear in the labels. --------------------------------------------------------------------

LINEAR = [case for case in CASES if case.head.label_linear]


@pytest.fixture(params=LINEAR, ids=named)
def linear(request) -> HeadCase:
    return request.param


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_trait_says_who_is_linear_in_the_labels(case):
    assert isinstance(case.head, LabelLinearHead) == case.head.label_linear
    features, labels, queries = data(6, 4)
    other = draw_labels(6, CLASSES, seed=5)
    # A convex combination of distributions is one, so that every head accepts it.
    mixed = case.head.fit(features, 0.3 * labels + 0.7 * other)(queries)
    parts = [case.head.fit(features, part)(queries) for part in (labels, other)]
    gap = relative_error(mixed, 0.3 * parts[0] + 0.7 * parts[1])
    assert gap < case.tolerance if case.head.label_linear else gap > 10 * ITERATIVE


def test_transfer_times_labels_is_the_fit(linear, shape):
    features, labels, queries = data(*shape)
    expected = linear.head.fit(features, labels)(queries)
    assert relative_error(linear.head.factor(features).transfer(queries) @ labels, expected) < (
        linear.tolerance
    )


def test_transfer_times_labels_is_the_fit_for_a_batch_of_episodes(linear, shape):
    m, d = shape
    features, queries = draw(2, m, d), draw(2, 4, d, seed=1)
    labels = draw_labels(2 * m, CLASSES).reshape(2, m, CLASSES)
    batched = linear.head.fit(features, labels)(queries)
    transferred = linear.head.factor(features).transfer(queries) @ labels
    assert relative_error(transferred, batched) < linear.tolerance
    for episode in range(2):
        alone = linear.head.fit(features[episode], labels[episode])(queries[episode])
        assert relative_error(batched[episode], alone) < linear.tolerance


def test_labels_may_be_any_real_scores(linear, shape):
    features, _, queries = data(*shape)
    scores = draw(shape[0], CLASSES, seed=9)
    doubled = linear.head.fit(features, -2 * scores)(queries)
    assert relative_error(doubled, -2 * linear.head.fit(features, scores)(queries)) < (
        linear.tolerance
    )
