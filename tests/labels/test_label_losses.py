"""Cross-entropy and hinge: values by other routes, codes, and what they refuse."""

import pytest
import torch
from cases import draw, draw_labels, moments

from cvxdistill.errors import IncompatibleError, InputError
from cvxdistill.labels import CrossEntropyLoss, HingeLoss


def test_cross_entropy_is_that_of_torch():
    logits, soft, classes = draw(8, 4), draw_labels(8, 4), torch.arange(8) % 4
    loss = CrossEntropyLoss(temperature=0.3)
    for targets in (soft, classes):
        coded = loss.code(targets, num_classes=4)
        expected = torch.nn.functional.cross_entropy(logits / 0.3, targets)
        assert float(loss.value(logits, coded)) == pytest.approx(float(expected), rel=1e-12)


def test_a_temperature_divides_the_logits():
    logits, targets = draw(5, 3), draw_labels(5, 3)
    cold, plain = CrossEntropyLoss(temperature=0.1), CrossEntropyLoss()
    assert float(cold.value(logits, targets)) == pytest.approx(
        float(plain.value(10 * logits, targets)), rel=1e-12
    )
    assert cold.scale == pytest.approx(10)


def test_the_hinge_is_the_largest_margin_violation():
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.4, 0.1]], dtype=torch.float64)
    value = HingeLoss().value(logits, HingeLoss().code(torch.tensor([0, 0]), num_classes=3))
    assert float(value) == pytest.approx((0.0 + 1.4) / 2)


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), HingeLoss()], ids=["cross-entropy", "hinge"])
class TestRefusals:
    def test_soft_targets_must_be_distributions(self, loss):
        scores = torch.tensor([[0.5, 0.5], [1.0, 0.5]])
        with pytest.raises(InputError, match=r"must be distributions.*row 1 with sum 1.5"):
            loss.code(scores, num_classes=2)
        with pytest.raises(InputError, match="must be distributions"):
            loss.code(torch.tensor([[1.5, -0.5]]), num_classes=2)

    def test_rounding_of_soft_targets_is_taken_off(self, loss):
        coded = loss.code(torch.rand(50, 10).softmax(1), num_classes=10)
        assert float((coded.sum(1) - 1).abs().max()) < 1e-14

    def test_moments_are_not_enough(self, loss):
        with pytest.raises(IncompatibleError, match="use loss `squared`"):
            loss.code_statistics(moments(draw(6, 2), torch.arange(6) % 2, 2))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(InputError, match="`temperature` must be finite and above zero"):
        CrossEntropyLoss(temperature=temperature)
