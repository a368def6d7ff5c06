"""Checks at the boundary: what passes comes back, and what does not is named."""

import pytest
import torch

from cvxdistill.checks import (
    check_choice,
    check_class_labels,
    check_finite,
    check_matrix,
    check_positive,
)
from cvxdistill.errors import CvxDistillError, IncompatibleError, InputError, SolveError


def test_input_errors_are_value_errors_of_the_package():
    assert issubclass(InputError, ValueError)
    assert issubclass(IncompatibleError, InputError)
    assert not issubclass(SolveError, InputError)
    for kind in (InputError, IncompatibleError, SolveError):
        assert issubclass(kind, CvxDistillError)


def test_choice():
    assert check_choice("colour", "red", ("red", "green")) == "red"
    with pytest.raises(InputError, match=r"`colour` must be one of red, green; got `gren`\. Did"):
        check_choice("colour", "gren", ("red", "green"))
    with pytest.raises(InputError) as caught:
        check_choice("colour", "xyz", ("red", "green"))
    assert "Did you mean" not in str(caught.value)


def test_choice_takes_any_iterable_once():
    with pytest.raises(InputError, match="red, green"):
        check_choice("colour", "blue", (name for name in ("red", "green")))


@pytest.mark.parametrize("value", [1, 0.5, 1e-300, "2"])
def test_positive_passes(value):
    assert check_positive("step", value) is value


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), float("-inf")])
def test_not_positive_is_refused(value):
    with pytest.raises(InputError, match="`step` must be finite and above zero"):
        check_positive("step", value)


def test_zero_passes_where_it_is_allowed():
    assert check_positive("step", 0.0, zero=True) == 0
    with pytest.raises(InputError, match="zero or more; got -1"):
        check_positive("step", -1, zero=True)


def test_finite_returns_the_same_tensor():
    value = torch.zeros(3, 2)
    assert check_finite("x", value) is value


def test_a_sum_that_overflows_is_not_taken_for_a_bad_entry():
    value = torch.full((4, 4), 3e38)
    assert check_finite("x", value) is value
    half = torch.full((400,), 6e4, dtype=torch.float16)
    assert check_finite("x", half) is half


def test_integers_are_finite():
    value = torch.arange(3)
    assert check_finite("x", value) is value


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    ("shape", "where", "row"),
    [
        ((5,), (3,), "3"),
        ((5, 2), (3, 1), "3"),
        ((2, 5, 2), (1, 3, 0), r"\(1, 3\)"),
    ],
)
def test_the_first_bad_row_is_named(bad, shape, where, row):
    value = torch.zeros(shape)
    value[where] = bad
    value[(-1,) * len(shape)] = bad
    with pytest.raises(InputError, match=rf"`x` must be finite; got 2 .* row {row}\. "):
        check_finite("x", value)


def test_opposite_infinities_do_not_cancel():
    with pytest.raises(InputError, match="got 2 NaN or infinite"):
        check_finite("x", torch.tensor([[torch.inf, -torch.inf]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_matrix_passes(dtype):
    value = torch.ones(3, 2, dtype=dtype)
    assert check_matrix("x", value, rows=3, columns=2) is value
    batch = torch.ones(4, 3, 2, dtype=dtype)
    assert check_matrix("x", batch, rows=3, columns=2) is batch


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1.0]], "must be a torch.Tensor; got list"),
        (torch.ones(3), r"floating-point matrix; got shape \(3,\)"),
        (torch.ones(3, 2, dtype=torch.int32), "dtype torch.int32"),
        (torch.ones(3, 2, dtype=torch.bool), "dtype torch.bool"),
        (torch.ones(2, 2), r"must have 3 rows; got 2 \(shape \(2, 2\)\)"),
        (torch.ones(3, 5), "must have 2 columns; got 5"),
        (torch.full((3, 2), torch.nan), "must be finite; got 6"),
    ],
)
def test_what_is_no_matrix_is_refused(value, message):
    with pytest.raises(InputError, match="`x`.*" + message):
        check_matrix("x", value, rows=3, columns=2)


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_an_empty_matrix_is_refused(shape):
    with pytest.raises(InputError, match="must not be empty"):
        check_matrix("x", torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64])
def test_class_labels_come_back_as_int64(dtype):
    labels = check_class_labels("y", torch.tensor([0, 2], dtype=dtype), num_classes=3)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 2]


def test_no_labels_are_labels():
    assert len(check_class_labels("y", torch.zeros(0, dtype=torch.int64), num_classes=3)) == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), r"`y` must lie in 0\.\.2; got 0 to 3\. Labels count from 0"),
        (torch.tensor([-1, 1]), "got -1 to 1"),
        (torch.tensor([[0, 1]]), r"got shape \(1, 2\)"),
        (torch.tensor([0.0, 1.0]), "dtype torch.float32"),
        (torch.tensor([True, False]), "dtype torch.bool"),
    ],
)
def test_what_are_no_class_labels_is_refused(labels, message):
    with pytest.raises(InputError, match=message):
        check_class_labels("y", labels, num_classes=3)
