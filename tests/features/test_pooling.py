"""The quick pooling is PyTorch's, bit for bit, with and without gradients."""

import pytest
import torch
from cases import draw
from torch.func import grad, jvp, vmap
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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_gradients_are_those_of_max_pooling(layout, size):
    """Where values are equal too, as they are in what blank background becomes."""
    maps = (3 * draw(4, 3, *size)).round().contiguous(memory_format=layout).requires_grad_()
    expected = F.max_pool2d(maps, 2)
    towards = draw(*expected.shape, seed=1)
    assert torch.equal(
        *(torch.autograd.grad(out, maps, towards)[0] for out in (HalvingMaxPool()(maps), expected))
    )


# At its first use forward mode loads rules through an interface that PyTorch has deprecated.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_transforms_go_through():
    """Derivatives of derivatives, forward mode and `vmap`, as students and methods take them."""
    maps, along = (3 * draw(2, 3, 4, 6)).round(), draw(2, 3, 4, 6, seed=1)

    def slope(pool):
        return grad(lambda values: pool(values * values).pow(2).sum())

    def derivatives(pool):
        return (
            vmap(slope(pool))(maps),
            jvp(slope(pool), (maps,), (along,))[1],
            grad(lambda values: (slope(pool)(values) * along).sum())(maps),
        )

    found, expected = derivatives(HalvingMaxPool()), derivatives(lambda m: F.max_pool2d(m, 2))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_maps_too_small_are_refused_as_ever():
    with torch.no_grad(), pytest.raises(RuntimeError, match="too small"):
        HalvingMaxPool()(torch.zeros(1, 1, 1, 4))
