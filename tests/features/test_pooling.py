"""The quick pooling is PyTorch's, bit for bit, with and without gradients."""

import pytest
import torch
from cases import draw
from torch.nn import functional as F

from cvxdistill.features.pooling import HalvingMaxPool


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3)])
@pytest.mark.parametrize("gradients", [True, False])
def test_halving_is_max_pooling(layout, size, gradients):
    maps = draw(3, 2, *size).float().contiguous(memory_format=layout)
    maps[0, 0] = 0.5
    maps[1, 1, 0, 1] = float("nan")
    with torch.set_grad_enabled(gradients):
        found = HalvingMaxPool()(maps)
    expected = F.max_pool2d(maps, 2)
    assert found.shape == expected.shape
    assert bool(found.isnan().any())
    assert torch.equal(found.nan_to_num(9.0), expected.nan_to_num(9.0))


def test_gradients_are_those_of_max_pooling():
    maps = draw(2, 3, 4, 4).requires_grad_()
    towards = draw(2, 3, 2, 2, seed=1)
    (found,) = torch.autograd.grad(HalvingMaxPool()(maps), maps, towards)
    (expected,) = torch.autograd.grad(F.max_pool2d(maps, 2), maps, towards)
    assert torch.equal(found, expected)


def test_maps_too_small_are_refused_as_ever():
    with torch.no_grad(), pytest.raises(RuntimeError, match="too small"):
        HalvingMaxPool()(torch.zeros(1, 1, 1, 4))
