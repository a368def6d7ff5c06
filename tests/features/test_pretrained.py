import copy
import json
import sys
import warnings

import pytest
import tiny_nets
import torch
from safetensors.torch import save_file
from torch import nn

from cvxdistill.artifact import Distilled
from cvxdistill.data import load_splits
from cvxdistill.distill import distill
from cvxdistill.errors import InputError
from cvxdistill.features import (
    BACKBONES,
    POOLINGS,
    Pixels,
    Preprocessing,
    Tap,
    draw_extractor,
    embed,
    parse_network,
    rebuild_extractor,
    save_extractor,
    wrap_module,
)
from cvxdistill.features.pretrained.prepare import Prepare
from cvxdistill.features.pretrained.torchvision_models import TorchvisionBackbone

# One small network a source: its options, one of its layers, and another option of preparation.
CASES = {
    "module": ("tiny_nets.tiny,size=8,channels=3", "first", "tiny_nets.tiny,size=9,channels=3"),
    "timm": ("test_resnet,weights=none", "layer1", None),
    "torchvision": ("shufflenet_v2_x0_5,weights=none", "stage2", None),
}
IMAGES = torch.randint(
    0, 256, (4, 1, 12, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)


@pytest.fixture(params=list(BACKBONES))
def source(request):
    if request.param == "timm":
        pytest.importorskip("timm", reason="timm is not installed (extra `vision`)")
    return request.param


def drawn(spec, shape=(1, 12, 10), **options):
    return draw_extractor(parse_network(spec), shape, seed=0, **options)


def features_of(extractor, images=IMAGES):
    return embed(extractor, images, preprocessing=Preprocessing())


# --- the contract of every source ---------------------------------------------------------------


def test_the_contract_of_a_source(source):
    options, layer, _ = CASES[source]
    model, _, rest = options.partition(",")
    state = torch.get_rng_state()
    specs = [f"{source}:{options}", f"{source}:{model}@{layer},{rest}"]
    first, tapped = (drawn(spec) for spec in specs)
    assert torch.equal(torch.get_rng_state(), state)
    assert [str(first.network), str(tapped.network)] == specs
    assert parse_network(specs[1]) == tapped.network
    again = rebuild_extractor(first.spec()) if source != "module" else drawn(specs[0])
    assert again.fingerprint() == first.fingerprint()
    assert not any(p.requires_grad for p in first.parameters())
    assert not any(m.training for m in first.modules())
    features = features_of(first)
    assert features.shape == (4, first.num_features)
    assert torch.equal(features_of(again), features)
    # Images of another size and of three channels: the same network, so the same fingerprint.
    wide = drawn(specs[0], (3, 20, 31))
    assert wide.fingerprint() == first.fingerprint()
    grey = IMAGES.expand(-1, 3, -1, -1)
    torch.testing.assert_close(features_of(drawn(specs[0], (3, 12, 10)), grey), features)
    others = [tapped, drawn(f"{specs[0]},seed=1"), drawn(f"{specs[1]},pool=max")]
    assert len({first.fingerprint(), *(one.fingerprint() for one in others)}) == 4
    assert first.network.prepares
    with pytest.raises(InputError, match=r"takes images \(c, h, w\); got examples of \(5,\)"):
        drawn(specs[0], (5,))
    with pytest.raises(InputError, match="outside the package"):
        save_extractor(first, "unused.safetensors")


def test_other_preparation_is_another_fingerprint():
    one, _, other = CASES["module"]
    assert drawn(f"module:{one}").fingerprint() != drawn(f"module:{other}").fingerprint()


def test_a_bottleneck_is_drawn_from_the_pools_seed():
    network = parse_network("module:tiny_nets.tiny,channels=3,bottleneck=2")
    one, two = (draw_extractor(network, (1, 8, 8), seed=0, index=i) for i in range(2))
    assert one.num_features == 2
    assert one.fingerprint() != two.fingerprint()
    assert rebuilt(one) == one.fingerprint()


def rebuilt(extractor):
    from cvxdistill.features.extractor import draw_from_seed

    spec = extractor.spec()
    network = parse_network(spec["network"])
    return draw_from_seed(network, tuple(spec["input_shape"]), spec["seed"]).fingerprint()


# --- weights ------------------------------------------------------------------------------------


def save(kind, path, state):
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if kind == "pt" else {"epoch": 3, "state_dict": state}, path)


@pytest.mark.parametrize("kind", ["safetensors", "pt", "nested"])
def test_weights_come_from_files(kind, tmp_path):
    torch.manual_seed(5)
    network = tiny_nets.Tiny()
    prefix = "module." if kind == "nested" else ""
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    path = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pt'}"
    save(kind, path, state)
    found = drawn(f"module:tiny_nets.Tiny@norm,channels=3,weights={path}")
    scaled = IMAGES.float().expand(-1, 3, -1, -1) / 255
    want = network.eval().norm(network.second(network.first(scaled))).mean((2, 3))
    torch.testing.assert_close(features_of(found), want.detach(), rtol=1e-4, atol=1e-5)
    # The same weights in another place are the same extractor; other weights are not.
    elsewhere = tmp_path / "moved.pt"
    save("pt", elsewhere, state)
    moved = drawn(f"module:tiny_nets.Tiny@norm,channels=3,weights={elsewhere}")
    assert moved.fingerprint() == found.fingerprint()
    state[f"{prefix}first.0.bias"] += 1e-3
    save("pt", elsewhere, state)
    changed = drawn(f"module:tiny_nets.Tiny@norm,channels=3,weights={elsewhere}")
    assert changed.fingerprint() != found.fingerprint()


def test_features_and_classifier_of_torchvision_give_its_logits(tmp_path):
    """With the classifier's weights on top of the features the whole network is there again."""
    from torchvision import models

    torch.manual_seed(1)
    whole = models.shufflenet_v2_x0_5(weights=None, num_classes=7).eval()
    path = tmp_path / "tuned.safetensors"
    save_file(whole.state_dict(), path)
    extractor = drawn(f"torchvision:shufflenet_v2_x0_5,weights={path}", (3, 40, 50))
    images = torch.randint(0, 256, (3, 3, 40, 50), dtype=torch.uint8)
    ready = models.ShuffleNet_V2_X0_5_Weights.DEFAULT.transforms()(images)
    logits = features_of(extractor, images) @ whole.fc.weight.T + whole.fc.bias
    torch.testing.assert_close(logits.detach(), whole(ready).detach(), rtol=1e-4, atol=1e-4)


def test_timm_passes_over_a_classifier(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed (extra `vision`)")
    torch.manual_seed(2)
    whole = timm.create_model("test_vit", num_classes=4).eval()
    path = tmp_path / "tuned.pt"
    torch.save(whole.state_dict(), path)
    extractor = drawn(f"timm:test_vit,weights={path}", (3, 160, 160))
    images = torch.rand(2, 3, 160, 160)
    ready = extractor.module.prepare(images)
    want = whole.forward_head(whole.forward_features(ready), pre_logits=True).detach()
    torch.testing.assert_close(features_of(extractor, images), want, rtol=1e-4, atol=1e-4)
    cls = drawn(f"timm:test_vit@blocks.1,pool=cls,weights={path}", (3, 160, 160))
    assert features_of(cls, images).shape == want.shape


class Canary:
    def __reduce__(self):
        return (print, ("executed",))


def test_bad_files_of_weights(tmp_path, capsys):
    good = tiny_nets.Tiny().state_dict()
    files = {name: tmp_path / name for name in ("a.pt", "b.pt", "c.safetensors", "d.pt", "e.pt")}
    torch.save({"x": Canary()}, files["a.pt"])
    torch.save([1, 2], files["b.pt"])
    save_file(good, files["c.safetensors"])
    files["c.safetensors"].write_bytes(files["c.safetensors"].read_bytes()[:-9])
    torch.save({**good, "fc.weight": torch.zeros(9, 6)}, files["d.pt"])
    torch.save({**good, "lr": 0.1}, files["e.pt"])
    for path, message in {
        files["a.pt"]: "cannot be read as weights",
        files["b.pt"]: "must hold named tensors; got a list",
        files["c.safetensors"]: "cannot be read as weights",
        files["d.pt"]: r"for `fc.weight` expected \(5, 6\), got \(9, 6\)",
        files["e.pt"]: "got a float for `lr`",
        tmp_path / "none.pt": "nothing readable",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            drawn(f"module:tiny_nets.tiny,channels=3,weights={path}")
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


# --- preprocessing ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 300, 260), (3, 28, 28), (3, 224, 500)])
@pytest.mark.parametrize("member", ["ResNet50_Weights.IMAGENET1K_V2", "Swin_T_Weights.DEFAULT"])
def test_preparation_is_torchvisions_to_the_bit(shape, member):
    from torchvision import models

    from cvxdistill.features.pretrained.torchvision_models import _prepare

    enum, _, name = member.partition(".")
    transforms = getattr(models, enum)[name].transforms()
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    prepare = _prepare(transforms)
    assert torch.equal(prepare(images), torch.stack([transforms(image) for image in images]))
    # Grey images need not be repeated before the geometry.
    grey = images[:, :1]
    assert torch.equal(prepare(grey), prepare(grey.expand(-1, 3, -1, -1)))


def test_preparation_is_that_of_timm():
    timm = pytest.importorskip("timm", reason="timm is not installed (extra `vision`)")
    from PIL import Image

    from cvxdistill.features.pretrained.timm_models import _prepare

    config = timm.data.resolve_model_data_config(timm.create_model("test_resnet"))
    pixels = torch.randint(0, 256, (1, 3, 190, 240), dtype=torch.uint8)
    smooth = nn.functional.avg_pool2d(pixels.float(), 9, 1, 4).round().to(torch.uint8)
    picture = Image.fromarray(smooth[0].permute(1, 2, 0).numpy())
    want = timm.data.create_transform(**config, is_training=False)(picture)
    got = _prepare(config, "timm:test_resnet")(smooth)[0]
    # Pillow rounds between its two passes, tensors after both.
    step = 1 / 255 / min(config["std"])
    assert float((got - want).abs().max()) < 1.5 * step


def test_images_of_several_sizes_are_prepared_each():
    prepare = Prepare(resize=6, crop=(6, 6), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    sizes = [(3, 8, 9), (1, 20, 7), (3, 8, 9), (4, 6, 6)]
    images = [torch.randint(0, 256, size, dtype=torch.uint8) for size in sizes]
    ready = prepare(images)
    assert ready.shape == (4, 3, 6, 6)
    for image, row in zip(images, ready, strict=True):
        torch.testing.assert_close(row, prepare(image[None])[0])
    white = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    assert Prepare()(white).item() == 1.0
    with pytest.raises(InputError, match=r"one size .*\(1, 20, 7\) and \(3, 8, 9\)"):
        Prepare()(images[:2])
    with pytest.raises(InputError, match="takes images of 3 channels; got 2"):
        prepare(torch.zeros(1, 2, 8, 8))


def test_what_is_fitted_to_the_target_is_not_done_to_raw_images():
    extractor = drawn("module:tiny_nets.tiny,channels=3")
    fitted = Preprocessing(mean=torch.tensor([0.2]), std=torch.tensor([0.3]))
    assert torch.equal(
        embed(extractor, IMAGES, preprocessing=fitted), features_of(extractor, IMAGES)
    )
    assert torch.equal(features_of(extractor, IMAGES), features_of(extractor, IMAGES / 255))


# --- layers and pooling -------------------------------------------------------------------------


def test_a_layer_is_reached_and_nothing_after_it_computed():
    network = tiny_nets.Tiny().eval()
    calls = []
    network.norm.register_forward_hook(lambda *_: calls.append(1))
    images = torch.rand(2, 3, 8, 8)
    want = network.second(network.first(images)).mean((2, 3))
    assert torch.equal(Tap(network, "second")(images), want)
    assert calls == []
    assert not network.second._forward_hooks
    wrapped = wrap_module(copy.deepcopy(network), (3, 8, 8), layer="first.0", pool="max")
    want = network.first[0](images).detach().amax((2, 3))
    torch.testing.assert_close(wrapped(images), want)
    assert str(wrapped.network) == "given:layer=first.0,pool=max"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("third", "no layer `third` in this Tiny; there are first, second, norm, fc, unused"),
        ("first.9", r"there are first\.0, first\.1\."),
        ("unused", "`unused` is not used when the network runs"),
    ],
)
def test_layers_that_are_not_there(layer, message):
    with pytest.raises(InputError, match=message):
        wrap_module(tiny_nets.Tiny(), (3, 8, 8), layer=layer)


def test_poolings():
    maps = torch.arange(24.0).reshape(1, 2, 3, 4)
    tokens = torch.arange(6.0).reshape(1, 3, 2)
    want = {
        "mean": ([[5.5, 17.5]], [[2.0, 3.0]]),
        "max": ([[11.0, 23.0]], [[4.0, 5.0]]),
        "cls": (None, [[0.0, 1.0]]),
        "mean-last": ([[10.0, 11.0, 12.0, 13.0]], [[2.0, 3.0]]),
        "flatten": (maps.reshape(1, -1).tolist(), tokens.reshape(1, -1).tolist()),
    }
    assert want.keys() == POOLINGS.keys()
    for name, (of_maps, of_tokens) in want.items():
        assert POOLINGS[name](tokens).tolist() == of_tokens
        if of_maps is not None:
            assert POOLINGS[name](maps).tolist() == of_maps
    with pytest.raises(InputError, match="first of tokens"):
        POOLINGS["cls"](maps)
    images = torch.rand(2, 1, 8, 8)
    cls = wrap_module(tiny_nets.Tokens(), (1, 8, 8), pool="cls")(images)
    torch.testing.assert_close(cls, nn.functional.unfold(images, 4, stride=4).sum(2))
    with pytest.raises(InputError, match="gives a tuple; features are one tensor"):
        wrap_module(tiny_nets.Pair(), (1, 8, 8))
    with pytest.raises(InputError, match="Did you mean `mean`"):
        wrap_module(tiny_nets.Tokens(), (1, 8, 8), pool="meen")


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:", "must name a network: torchvision:MODEL"),
        ("torchvision:weights=none", "must name a network"),
        ("torchvision:resnet18@", "must name a network"),
        ("torchvision:resnet18,wieghts=none", "Did you mean `weights`"),
        ("torchvision:resnet18,seed=x", "must be a whole number"),
        ("torchvision:resnot18,weights=none", "has no network `resnot18` .* `resnet18`"),
        ("torchvision:resnet18,weights=IMAGENET1K_V7", "Did you mean `IMAGENET1K_V1`"),
        ("torchvision:squeezenet1_1,weights=none", "no linear classifier to cut off"),
        ("module:tiny_nets", "must name a module and something in it"),
        ("module:tiny_nets.nothing", "`tiny_nets` has no `nothing`"),
        ("module:no_such_module.x", "cannot be imported: ModuleNotFoundError"),
        ("module:tiny_nets.number", "must be a network, a class or a function"),
        ("module:tiny_nets.needs_an_argument", "cannot be called without arguments"),
        ("module:tiny_nets.gives_no_network", "must return a torch.nn.Module; got a int"),
        ("module:tiny_nets.tiny,size=0", "`size` must be 1 or more"),
        ("module:tiny_nets.tiny,normalise=image", "Did you mean `imagenet`"),
    ],
)
def test_wrong_names(spec, message):
    with pytest.raises(InputError, match=message) as caught:
        drawn(spec)
    assert "\n" not in str(caught.value)


def test_timm_names_the_nearest():
    pytest.importorskip("timm", reason="timm is not installed (extra `vision`)")
    with pytest.raises(InputError, match=r"timm has no network `rasnet18` .* `resnet18`"):
        drawn("timm:rasnet18,weights=none")


def test_instances_are_copied():
    before = {key: value.clone() for key, value in tiny_nets.instance.state_dict().items()}
    extractor = drawn("module:tiny_nets.instance,channels=3")
    assert extractor.num_features == 3
    assert tiny_nets.instance.fc.weight.requires_grad
    assert tiny_nets.instance.training
    for key, value in tiny_nets.instance.state_dict().items():
        assert torch.equal(value, before[key])


def test_modules_of_the_working_folder_are_found(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("import tiny_nets\n\nmake = tiny_nets.tiny\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert drawn("module:only_here.make,channels=3").num_features == 5
    assert sys.path == path


# --- in artefacts -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    parts = load_splits("digits", limit=60)
    return parts.train


def saved(digits, spec, folder):
    made = distill(digits.subset(torch.arange(12)), digits, extractors=spec, pool=3)
    made.save(folder)
    return made


def test_artefacts_have_named_extractors_again(digits, tmp_path):
    spec = "torchvision:shufflenet_v2_x0_5@conv1,weights=none,seed=4"
    made = saved(digits, spec, tmp_path / "run")
    # Without weights to draw a pool has one member.
    assert len(made.extractors) == 1
    again = Distilled.load(tmp_path / "run")
    assert again.extractors[0].fingerprint() == made.extractors[0].fingerprint()
    assert str(again.extractors[0].network) == spec


def test_no_record_may_have_code_imported(digits, tmp_path):
    made = saved(digits, "module:tiny_nets.tiny@second,channels=3", tmp_path / "run")
    with pytest.warns(UserWarning, match="left out: .* would be imported, which runs its code"):
        assert Distilled.load(tmp_path / "run").extractors == ()
    with pytest.raises(InputError, match="no record may ask for"):
        rebuild_extractor(made.extractors[0].spec())


def test_weights_that_changed_or_went_are_left_out(digits, tmp_path):
    from torchvision import models

    path = tmp_path / "weights.safetensors"
    network = models.shufflenet_v2_x0_5(weights=None)
    save_file(network.state_dict(), path)
    spec = f"torchvision:shufflenet_v2_x0_5@conv1,weights={path}"
    saved(digits, spec, tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Distilled.load(tmp_path / "run").extractors) == 1
    with torch.no_grad():
        network.conv1[0].weight.mul_(1.01)
    save_file(network.state_dict(), path)
    with pytest.warns(UserWarning, match="left out: expected the extractor .* with fingerprint"):
        assert Distilled.load(tmp_path / "run").extractors == ()
    path.unlink()
    with pytest.warns(UserWarning, match="nothing readable"):
        again = Distilled.load(tmp_path / "run")
    assert again.labels.shape == (12, 10)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["extractors"][0]["network"] == spec


def test_our_own_networks_are_still_checked(digits, tmp_path):
    saved(digits, Pixels(bottleneck=5), tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["extractors"][0]["seed"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="with fingerprint"):
        Distilled.load(tmp_path / "run")


def test_a_download_is_not_announced_on_stdout(capsys):
    class Weights:
        @staticmethod
        def get_state_dict(**options):
            sys.stdout.write("Downloading\n")
            return {"weight": torch.ones(1)}

    found = TorchvisionBackbone("resnet18")._tensors({"DEFAULT": Weights}, "DEFAULT")
    assert set(found) == {"weight"}
    assert capsys.readouterr() == ("", "Downloading\n")
