"""Convolutions as products: the values and gradients of nn.Conv2d, single and stacked."""

import copy

import pytest
import torch
from cases import draw
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from cvxdistill.errors import InputError
from cvxdistill.features import parse_network
from cvxdistill.students import ProductConv2d, Recipe, Students, as_products

ROUNDING = 1e-12

LAYERS = {
    "padded": lambda: nn.Conv2d(2, 3, 3, padding=1),
    "bare": lambda: nn.Conv2d(2, 3, 5, bias=False),
    "strided": lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1),
    "one by one": lambda: nn.Conv2d(2, 3, 1, stride=2, bias=False),
    "oblong": lambda: nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(2, 0)),
}
LEFT_ALONE = {
    "grouped": lambda: nn.Conv2d(4, 4, 3, groups=2),
    "dilated": lambda: nn.Conv2d(2, 3, 3, dilation=2),
    "reflected": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
    "same": lambda: nn.Conv2d(2, 3, 3, padding="same"),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    made = LAYERS[request.param]().double()
    for index, weight in enumerate(made.parameters()):
        weight.data = draw(*weight.shape, seed=index)
    return made


def close(one, other):
    one, other = one.detach(), other.detach()
    return torch.allclose(one, other, rtol=0, atol=ROUNDING * float(other.abs().max()))


def test_values_and_gradients_of_both_orders_are_those_of_conv2d(layer):
    def derivatives(module):
        images = draw(4, 2, 8, 7, seed=5).requires_grad_()
        inputs = [images, *module.parameters()]
        out = module(images)
        first = torch.autograd.grad(out.pow(3).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)
        return [out, *first, *second]

    product = as_products(layer)
    assert type(product) is ProductConv2d
    for got, expected in zip(derivatives(product), derivatives(layer), strict=True):
        assert got.shape == expected.shape
        assert close(got, expected)


def test_stacked_weights_are_one_layer_after_another(layer):
    other = copy.deepcopy(layer)
    other.weight.data += draw(*layer.weight.shape, seed=7)
    layers = [layer, other]
    weights, _ = stack_module_state(layers)
    weights = {key: value.detach() for key, value in weights.items()}
    template, images = as_products(layer), draw(len(layers), 4, 2, 8, 7, seed=6)

    def loss(weights, images):
        return functional_call(template, weights, (images,)).pow(2).sum()

    got = vmap(grad(loss))(weights, images)
    for index, single in enumerate(layers):
        single.zero_grad()
        single(images[index]).pow(2).sum().backward()
        for key, weight in single.named_parameters():
            assert close(got[key][index], weight.grad)


@pytest.mark.parametrize("kind", LEFT_ALONE)
def test_other_convolutions_stay_as_they_are(kind):
    assert type(as_products(LEFT_ALONE[kind]())) is nn.Conv2d


@pytest.mark.parametrize(
    "spec",
    ["lenet", "alexnet", "convnet:width=4", "convnet:width=4,norm=batch", "resnet18:width=4"],
)
def test_networks_keep_their_names_and_values(spec):
    network = parse_network(spec).build((3, 16, 16), torch.Generator().manual_seed(0)).eval()
    swapped = as_products(network)
    assert any(isinstance(layer, ProductConv2d) for layer in swapped.modules())
    assert not any(isinstance(layer, ProductConv2d) for layer in network.modules())
    assert list(swapped.state_dict()) == list(network.state_dict())
    images = draw(3, 3, 16, 16).float()
    expected = network(images).detach()
    assert torch.allclose(swapped(images), expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("spec", ["lenet", "convnet:width=4,norm=batch"])
def test_students_train_alike_with_both(spec):
    examples, labels = draw(6, 1, 12, 12).float(), draw(6, 3, seed=1).softmax(1)
    recipe = Recipe(checkpoints=(3,), optimiser="momentum")
    found = {}
    for kind in ("auto", "direct", "products"):
        students = Students(parse_network(spec), (1, 12, 12), 3, seeds=[0, 1], convolutions=kind)
        assert list(students.fit(examples, labels, "distribution", recipe=recipe)) == [3]
        assert not any(
            isinstance(m, ProductConv2d) for one in students.modules() for m in one.modules()
        )
        found[kind] = students.predict(examples)
    # On a CPU nothing but the plain convolutions is ever quicker.
    assert torch.equal(found["auto"], found["direct"])
    assert torch.allclose(found["products"], found["direct"], atol=1e-4)
    assert not torch.equal(found["products"], found["direct"])


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="Did you mean `products`"):
        Students(parse_network("lenet"), (1, 12, 12), 3, seeds=[0], convolutions="product")
