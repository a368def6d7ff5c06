import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cvxdistill.errors import InputError
from cvxdistill.features import (
    FEATURES,
    ConvNet,
    Extractor,
    LeNet,
    ResNet18,
    draw_extractor,
    draw_pool,
    load_extractor,
    rebuild_extractor,
    save_extractor,
    wrap_module,
)
from cvxdistill.seeding import derive_seed

NETWORK = ConvNet(width=8)
SHAPE = (1, 8, 8)


def drawn(seed=0, **options):
    return draw_extractor(NETWORK, SHAPE, seed=seed, **options)


def test_drawing_is_named_by_seed_and_index():
    state = torch.get_rng_state()
    assert drawn(3, index=2).fingerprint() == drawn(3, index=2).fingerprint()
    assert len({drawn(s, index=i).fingerprint() for s in (0, 1) for i in (0, 1)}) == 4
    assert drawn(3, index=2).seed == derive_seed(3, "extractor", 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_pools_grow_without_changing():
    short, long = (draw_pool(NETWORK, SHAPE, size=size, seed=5) for size in (2, 3))
    assert [e.fingerprint() for e in short] == [e.fingerprint() for e in long[:2]]
    assert long[1].fingerprint() == drawn(5, index=1).fingerprint()
    with pytest.raises(InputError, match="`size` of a pool must be 1 or more; got 0"):
        draw_pool(NETWORK, SHAPE, size=0, seed=0)


def test_extractors_are_frozen():
    extractor = drawn()
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not extractor.train().training
    assert not any(module.training for module in extractor.modules())
    assert extractor.num_features == 8 * 4 * 4


def test_fingerprint_sees_every_weight_and_the_recipe():
    extractor = drawn()
    seen = {extractor.fingerprint()}
    with torch.no_grad():
        for value in extractor.module.state_dict().values():
            value += 1e-3
            seen.add(extractor.fingerprint())
    assert len(seen) == 1 + len(extractor.module.state_dict())
    avg, most = (draw_extractor(ConvNet(width=8, pooling=p), SHAPE, seed=0) for p in ("avg", "max"))
    assert avg.fingerprint() != most.fingerprint()


def test_fingerprint_is_of_values_not_of_layout():
    extractor = drawn()
    before = extractor.fingerprint()
    extractor.module.to(memory_format=torch.contiguous_format)
    assert extractor.fingerprint() == before


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_rebuilding_from_a_record(name):
    options = {"width": 4} if name in ("convnet", "resnet18") else {}
    extractor = draw_extractor(FEATURES[name](**options), SHAPE, seed=1, index=3)
    spec = json.loads(json.dumps(extractor.spec()))
    again = rebuild_extractor(spec)
    assert again.spec() == extractor.spec()
    images = torch.rand(2, *SHAPE)
    assert torch.equal(again(images), extractor(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "fingerprint .* solve the labels again"),
        ({"network": "convnet:width=8,pooling=max"}, "fingerprint"),
        ({"num_features": 9}, "9 features; got .* and 128"),
        ({"trained": True}, "seed alone does not give them back"),
        ({"seed": None}, "seed alone does not give them back"),
        ({"seed": 2**63}, "`seed` in the record of an extractor is wrong"),
        ({"seed": "0"}, "`seed` in the record of an extractor is wrong"),
        ({"input_shape": [1, "8", 8]}, "`input_shape` in the record"),
        ({"network": "convnot"}, "Did you mean `convnet`"),
    ],
)
def test_rebuilding_from_a_changed_record(change, message):
    with pytest.raises(InputError, match=message):
        rebuild_extractor({**drawn().spec(), **change})


def test_rebuilding_from_half_a_record():
    with pytest.raises(InputError, match="must have network, input_shape"):
        rebuild_extractor({"network": "lenet"})


def test_wrapped_modules():
    inner = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 3)).train()
    extractor = wrap_module(inner, SHAPE, label="mine")
    assert isinstance(extractor, Extractor)
    assert extractor.num_features == 3
    assert not inner.training
    with pytest.raises(InputError, match="wrap the module again"):
        rebuild_extractor(extractor.spec())
    with pytest.raises(InputError, match="outside the package"):
        save_extractor(extractor, "unused.safetensors")
    with pytest.raises(InputError, match=r"gives \(1,\); expected features \(n, d\)"):
        wrap_module(nn.Sequential(nn.Flatten(), nn.Flatten(0)), (1,))
    with pytest.raises(InputError, match=r"features \(n, d\); got shape \(1, 2, 8, 8\)"):
        Extractor(NETWORK, nn.Conv2d(1, 2, 3, padding=1), SHAPE, seed=None, trained=True)


@pytest.mark.parametrize(
    "network", [NETWORK, LeNet(bottleneck=5), ResNet18(width=4)], ids=lambda n: n.name
)
def test_saved_is_loaded(network, tmp_path):
    extractor = draw_extractor(network, SHAPE, seed=2)
    with torch.no_grad():
        for parameter in extractor.parameters():
            parameter.mul_(1.25)
    extractor.trained = True
    path = tmp_path / "extractor.safetensors"
    save_extractor(extractor, path)
    again = load_extractor(path)
    assert again.spec() == extractor.spec()
    assert again.network == network
    images = torch.rand(3, *SHAPE)
    assert torch.equal(again(images), extractor(images))
    assert [p.name for p in tmp_path.iterdir()] == ["extractor.safetensors"]


def saved(tmp_path):
    path = tmp_path / "extractor.safetensors"
    save_extractor(drawn(), path)
    return path


def test_changed_weights_are_noticed(tmp_path):
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="was changed after it was written"):
        load_extractor(path)


def test_truncation_is_noticed(tmp_path):
    path = saved(tmp_path)
    content = path.read_bytes()
    for length in (0, 5, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="not a readable extractor file"):
            load_extractor(path)


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="not a readable extractor file"):
        load_extractor(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="not a readable extractor file"):
        load_extractor(tmp_path)
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="must be an extractor file of format"):
        load_extractor(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"about": "cvxdistill-extractor-1"})
    with pytest.raises(InputError, match="not JSON"):
        load_extractor(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("0.bias"), "for `0.bias` expected .*, got nothing"),
        (lambda t: t.update(extra=torch.zeros(2)), "for `extra` expected nothing"),
        (lambda t: t.update({"0.bias": torch.zeros(9)}), "do not fit"),
        (lambda t: t.update({"0.bias": t["0.bias"].double()}), "must be torch.float32"),
    ],
)
def test_wrong_tensors_are_refused(edit, message, tmp_path):
    path = saved(tmp_path)
    tensors = load_file(path)
    edit(tensors)
    about = {"format": "cvxdistill-extractor-1", "spec": drawn().spec()}
    save_file(tensors, path, metadata={"about": json.dumps(about)})
    with pytest.raises(InputError, match=message):
        load_extractor(path)


def test_equal_extractors_give_equal_files(tmp_path):
    contents = set()
    for index in range(4):
        path = tmp_path / f"{index}.safetensors"
        save_extractor(drawn(), path)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match="disk full"):
        save_extractor(drawn(1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(InputError, match="cannot write"):
        save_extractor(drawn(), tmp_path / "no" / "such" / "folder")
