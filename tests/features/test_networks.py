import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cvxdistill.errors import InputError
from cvxdistill.features import (
    FEATURES,
    MLP,
    AlexNet,
    ConvNet,
    LeNet,
    Pixels,
    ResNet18,
    draw_weights,
    parse_network,
)
from cvxdistill.features.norms import NORMS, InstanceNorm, make_norm

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
SMALL = {"convnet": ConvNet(width=8), "resnet18": ResNet18(width=4), "mlp": MLP(width=16)}


def small(name):
    return SMALL.get(name, FEATURES[name]())


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=sorted(FEATURES))
def network(request):
    return small(request.param)


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


def test_registry_is_sorted_and_names_agree():
    assert list(FEATURES) == sorted(FEATURES)
    assert all(cls.name == name for name, cls in FEATURES.items())


@torch.no_grad()
def test_contract(network, shape):
    state = torch.get_rng_state()
    module = network.build(shape, stream(1)).eval()
    twin = network.build(shape, stream(1)).eval()
    images = torch.randn(5, *shape, generator=stream(9))
    features = module(images)
    assert torch.equal(torch.get_rng_state(), state)
    assert features.dtype == torch.float32
    assert features.ndim == 2
    assert len(features) == 5
    assert bool(torch.isfinite(features).all())
    assert float(features.std(0).max()) > 0
    assert torch.equal(features, twin(images))
    torch.testing.assert_close(module(images[:2]), features[:2], rtol=1e-4, atol=1e-6)
    assert module(images[:1]).shape[1] == features.shape[1]
    if network.trainable:
        other = network.build(shape, stream(2)).eval()
        assert not torch.equal(features, other(images))
        assert all(not p.is_meta for p in module.parameters())


@pytest.mark.parametrize("name", sorted(set(FEATURES) - {"pixels"}))
def test_gradients_reach_every_weight_in_training(name):
    module = small(name).build((1, 28, 28), stream()).train()
    module(torch.rand(4, 1, 28, 28, generator=stream(1))).square().sum().backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, key


@pytest.mark.parametrize(
    ("network", "shape", "features"),
    [
        (LeNet(), (1, 28, 28), 84),
        (AlexNet(), (3, 32, 32), 192),
        (ResNet18(), (3, 32, 32), 512),
        (ConvNet(), (1, 28, 28), 128 * 9),
        (ConvNet(), (3, 32, 32), 128 * 16),
        (ConvNet(width=4, depth=2), (1, 8, 12), 4 * 2 * 3),
        (ConvNet(width=4), (1, 8, 8), 4 * 4 * 4),
        (ConvNet(width=4), (1, 28, 28), 4 * 3 * 3),
        (ConvNet(width=4), (3, 32, 32), 4 * 4 * 4),
        (ConvNet(width=4), (3, 64, 64), 4 * 4 * 4),
        (Pixels(), (7,), 7),
        (MLP(width=11, depth=3), (7,), 11),
        (LeNet(bottleneck=5), (1, 8, 8), 5),
    ],
)
def test_feature_counts(network, shape, features):
    with torch.no_grad():
        assert network.build(shape, stream()).eval()(torch.rand(2, *shape)).shape == (2, features)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_convnet_options(norm, pooling):
    module = ConvNet(width=4, norm=norm, pooling=pooling).build((1, 8, 8), stream())
    out = module.train()(torch.rand(3, 1, 8, 8, generator=stream(1)))
    assert out.shape == (3, 4 * 4 * 4)
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
def test_resnet_norms_on_tiny_maps_do_not_erase_the_image(norm):
    module = ResNet18(width=4, norm=norm).build((1, 8, 8), stream()).eval()
    with torch.no_grad():
        a, b = module(torch.randn(2, 1, 8, 8, generator=stream(1)))
        one = module(torch.randn(2, 1, 8, 8, generator=stream(1))[:1])
    assert not torch.allclose(a, b)
    torch.testing.assert_close(one[0], a, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 7)])
def test_instance_norm_is_group_norm_in_every_layout(size):
    generator = stream()
    norm, plain = InstanceNorm(6), nn.GroupNorm(6, 6)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(6, generator=generator))
        norm.bias.copy_(torch.randn(6, generator=generator))
        plain.load_state_dict(norm.state_dict())
        # A mean far from zero, where a one-pass variance would cancel.
        maps = 30 + torch.randn(4, 6, *size, generator=generator)
        want = plain.double()(maps.double()).float()
        for layout in (torch.contiguous_format, torch.channels_last):
            got = norm(maps.contiguous(memory_format=layout))
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_one_pixel_maps_get_a_norm_that_keeps_the_image():
    norm = make_norm("instance", 4, (1, 1)).requires_grad_(False)
    assert float(norm(torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)).abs().max()) > 1


def test_drawn_scales_are_pytorchs():
    conv = draw_weights(nn.Conv2d(8, 64, 3), stream()).requires_grad_(False)
    bound = (8 * 9) ** -0.5
    for parameter in (conv.weight, conv.bias):
        assert float(parameter.abs().max()) <= bound
    assert float(conv.weight.std()) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert float(conv.bias.abs().max()) > 0.8 * bound
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.fill_(7)
        norm.running_mean.fill_(7)
        norm.num_batches_tracked.fill_(7)
    draw_weights(norm, stream())
    assert norm.weight.tolist() == [1, 1, 1]
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert int(norm.num_batches_tracked) == 0


def test_drawn_numbers_are_pinned():
    weight = draw_weights(nn.Linear(4, 1, bias=False), stream(0)).weight
    draw = torch.rand(1, 4, generator=stream(0)) - 0.5
    assert torch.equal(weight.detach(), draw)


def test_unknown_layers_are_refused():
    with pytest.raises(InputError, match=r"Embedding at `1`"):
        draw_weights(nn.Sequential(nn.ReLU(), nn.Embedding(2, 3)), stream())


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (ConvNet(depth=4), (1, 8, 8), "at least 16 pixels a side; got 8 x 8.*depth of at most 3"),
        (ConvNet(), (784,), "takes images .*got examples of shape"),
        (LeNet(), (1, 3, 3), "at least 4 pixels"),
        (ResNet18(), (64,), "takes images"),
        (AlexNet(), (1, 28), "takes images"),
        (MLP(), (), "sizes of 1 or more"),
        (Pixels(), (0, 2, 2), "sizes of 1 or more"),
    ],
)
def test_wrong_shapes(network, shape, message):
    with pytest.raises(InputError, match=message):
        network.build(shape, stream())


def test_smallest_and_odd_images():
    for name in sorted(FEATURES):
        network = ConvNet(width=8, depth=2) if name == "convnet" else small(name)
        for shape in ((1, 4, 4), (2, 11, 13)):
            with torch.no_grad():
                out = network.build(shape, stream()).eval()(torch.rand(2, *shape))
            assert out.shape[0] == 2
            assert out.shape[1] > 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("convnett", "Did you mean `convnet`"),
        ("convnet:widht=3", "Did you mean `width`"),
        ("convnet:width=wide", "must be a whole number; got `wide`"),
        ("convnet:width=0", "1 or more; got 0"),
        ("convnet:width", "needs a value"),
        ("convnet:", "missing after the colon"),
        ("convnet:width=8,width=9", "given twice"),
        ("convnet:norm=spectral", "`norm` must be one of none, instance"),
        ("convnet:pooling=sum", "`pooling` must be one of avg, max"),
        ("convnet:bottleneck=0", "`bottleneck` must be 1 or more"),
        ("convnet:width=6,norm=group", None),
        ("lenet:width=3", "`option of lenet` must be one of bottleneck"),
        ("", "`network` must be one of"),
    ],
)
def test_wrong_specs(spec, message):
    if message is None:
        with pytest.raises(InputError, match="divisible by 4; got 6"):
            parse_network(spec).build((1, 8, 8), stream())
        return
    with pytest.raises(InputError, match=message):
        parse_network(spec)


def test_specs_are_typed_by_the_fields():
    network = parse_network(" convnet:width=32, depth=2,norm=group,bottleneck=none")
    assert network == ConvNet(width=32, depth=2, norm="group")
    assert parse_network("lenet:bottleneck=7") == LeNet(bottleneck=7)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(FEATURES)))
def test_spec_strings_round_trip(data, name):
    choices = {
        "width": st.integers(1, 999),
        "depth": st.integers(1, 9),
        "pooling": st.sampled_from(["avg", "max"]),
        "norm": st.sampled_from(["instance", "batch", "group"]),
        "bottleneck": st.none() | st.integers(1, 999),
    }
    fields = [field.name for field in dataclasses.fields(FEATURES[name])]
    network = FEATURES[name](**{field: data.draw(choices[field]) for field in fields})
    assert parse_network(str(network)) == network
