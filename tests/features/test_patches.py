"""The quick first convolution is PyTorch's, up to rounding, with all its derivatives."""

import pytest
import torch
from cases import draw
from torch import nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from cvxdistill.features.patches import ImageConv2d


def layers(channels=2, padding=1):
    quick = ImageConv2d(channels, 4, 3, padding=padding).double()
    plain = nn.Conv2d(channels, 4, 3, padding=padding).double()
    weights = {"weight": draw(4, channels, 3, 3, seed=1), "bias": draw(4, seed=2)}
    quick.load_state_dict(weights)
    plain.load_state_dict(weights)
    return quick, plain


def close(found, expected):
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_and_gradients_are_those_of_a_convolution(channels, padding):
    images = draw(5, channels, 6, 7, seed=3)
    outcomes = []
    for layer in layers(channels, padding):
        out = layer(images)
        towards = draw(*out.shape, seed=4)
        outcomes.append((out, *torch.autograd.grad(out, list(layer.parameters()), towards)))
        with torch.no_grad():
            assert close(layer(images), out)
    assert all(close(*pair) for pair in zip(*outcomes, strict=True))


def test_images_may_have_gradients():
    images = draw(5, 2, 6, 7, seed=3).requires_grad_()
    found, expected = (
        torch.autograd.grad(layer(images).pow(2).sum(), images)[0] for layer in layers()
    )
    assert close(found, expected)


# At its first use forward mode loads rules through an interface that PyTorch has deprecated.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_transforms_go_through():
    """Stacks on shared images, images one by one, forward mode, derivatives of derivatives."""
    images, along = draw(5, 2, 6, 7, seed=3), draw(4, 2, 3, 3, seed=4)
    outcomes = []
    for layer in layers():
        stacked, _ = stack_module_state([layer, layer])
        stacked["weight"] = torch.stack([layer.weight.detach(), along])

        def value(weights, images, layer=layer):
            return functional_call(layer, weights, (images,)).pow(3).sum()

        def slope(weight, value=value, layer=layer):
            weights = {"weight": weight, "bias": layer.bias.detach()}
            return grad(value)(weights, images)["weight"]

        weight = layer.weight.detach()
        outcomes.append(
            (
                vmap(grad(value), in_dims=(0, None))(stacked, images)["weight"],
                vmap(grad(value), in_dims=(None, 0))(
                    dict(layer.named_parameters()), images[:, None]
                )["weight"],
                jvp(slope, (weight,), (along,))[1],
                grad(lambda weight, slope=slope: (slope(weight) * along).sum())(weight),
            )
        )
    for found, expected in zip(*outcomes, strict=True):
        assert torch.allclose(
            found, expected, rtol=0, atol=1e-12 * float(expected.detach().abs().max())
        )


def test_training_takes_the_product():
    """Not the convolution: its gradient is what the layer is there to avoid."""
    quick, _ = layers()
    images = draw(5, 2, 6, 7)
    assert not _has_convolution(quick(images).grad_fn)
    assert _has_convolution(quick(images.requires_grad_()).grad_fn)


def _has_convolution(node):
    return node is not None and (
        "Convolution" in node.name() or any(_has_convolution(n) for n, _ in node.next_functions)
    )
