import pytest
import torch

from cvxdistill.data.base import ImageSet
from cvxdistill.data.idx import Mnist
from cvxdistill.errors import InputError
from cvxdistill.features import (
    FEATURES,
    MLP,
    LeNet,
    Pixels,
    Preprocessing,
    ResNet18,
    draw_extractor,
    embed,
    load_extractor,
    save_extractor,
    train_extractor,
)
from cvxdistill.features import train as module


def bars(n=200, seed=0):
    """Images with a bright row or column: not separable by any single pixel."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 1, 8, 8, generator=generator) * 0.5
    labels = torch.arange(n) % 2
    where = torch.randint(0, 8, (n,), generator=generator)
    for image, label, line in zip(images, labels, where, strict=True):
        (image[0] if label else image[0].T)[line] += 1
    return ImageSet(images, labels, ("column", "row"), name="bars")


def train(network=None, seed=0, steps=60, data=None, **options):
    data = data or bars()
    return train_extractor(
        network or LeNet(),
        data,
        preprocessing=Preprocessing.fit(data),
        steps=steps,
        seed=seed,
        **{"batch_size": 50, "lr": 3e-3, **options},
    )


def ridge_accuracy(extractor, data, held_out):
    """Accuracy on `held_out` of a ridge head fitted to the features of `data`."""
    fitted = Preprocessing.fit(data)
    parts = []
    for examples in (data, held_out):
        z = embed(extractor, examples.images, preprocessing=fitted).double()
        parts.append(torch.cat([z, torch.ones(len(z), 1)], 1))
    z, query = parts
    coded = torch.nn.functional.one_hot(data.labels, data.num_classes).double()
    gram = z.T @ z + 1e-4 * z.square().mean() * len(z) * torch.eye(z.shape[1])
    head = torch.linalg.solve(gram, z.T @ coded)
    return float(((query @ head).argmax(1) == held_out.labels).double().mean())


def test_training_lowers_the_loss_and_the_features_carry_over(monkeypatch):
    kept = []
    descend = module._descend

    def spy(*args, **options):
        kept.append((descend(*args, **options), options["rates"]))
        return kept[-1][0]

    monkeypatch.setattr(module, "_descend", spy)
    extractor = train()
    ((losses, rates),) = kept
    assert rates == [module._rate(step, 60, 3e-3) for step in range(60)]
    assert len(losses) == 60
    assert float(losses[-5:].mean()) < 0.5 * float(losses[:5].mean())
    assert extractor.trained
    assert not any(p.requires_grad for p in extractor.parameters())
    assert ridge_accuracy(extractor, bars(), bars(seed=1)) > 0.95


def test_training_is_reproducible_and_silent_about_random_state():
    state = torch.get_rng_state()
    a, b, c = train(steps=5), train(steps=5), train(steps=5, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert a.fingerprint() == b.fingerprint()
    assert a.fingerprint() != c.fingerprint()
    assert a.seed == b.seed != c.seed


@pytest.mark.parametrize("name", sorted(set(FEATURES) - {"pixels"}))
def test_every_network_trains(name):
    options = {"width": 4} if name in ("convnet", "resnet18") else {}
    extractor = train(FEATURES[name](**options, bottleneck=6), steps=2)
    assert extractor.num_features == 6


def test_batch_norm_statistics_are_learned_and_saved(tmp_path):
    extractor = train(ResNet18(width=4), steps=3)
    state = extractor.module.state_dict()
    assert float(state["1.running_mean"].abs().max()) > 0
    assert int(state["1.num_batches_tracked"]) == 3
    save_extractor(extractor, tmp_path / "e.safetensors")
    assert load_extractor(tmp_path / "e.safetensors").fingerprint() == extractor.fingerprint()


def test_progress_is_told():
    told = []
    train(MLP(width=4), steps=3, progress=lambda *call: told.append(call))
    assert told == [("train", 1, 3), ("train", 2, 3), ("train", 3, 3)]


def test_batches_cover_each_epoch_once():
    batches = list(module._batches(10, 4, 5, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [4] * 5
    for first in (0, 2):
        assert len(torch.cat(batches[first : first + 2]).unique()) == 8
    (whole,) = module._batches(3, 100, 1, torch.Generator().manual_seed(0))
    assert sorted(whole.tolist()) == [0, 1, 2]


def test_the_learning_rate_rises_and_falls():
    rates = [module._rate(step, 100, 2.0) for step in range(100)]
    assert max(rates) == rates[9] == 2.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 <= rates[-1] < 0.01
    assert module._rate(0, 1, 2.0) == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": Pixels()}, "`pixels` has no weights to train"),
        ({"steps": 0}, "`steps` must be 1 or more; got 0"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more; got 0"),
        ({"lr": 0.0}, "`lr` must be finite and above zero"),
        ({"lr": 1e30}, "diverged.*Lower `lr`"),
    ],
)
def test_wrong_use(options, message):
    with pytest.raises(InputError, match=message):
        train(**{"steps": 5, **options})


def test_trained_features_beat_pixels_on_digits(data_root):
    data = Mnist(data_root=data_root).load("train")
    few, held_out = data.subset(torch.arange(4000)), data.subset(torch.arange(50000, 52000))
    pixels = ridge_accuracy(draw_extractor(Pixels(), (1, 28, 28), seed=0), few, held_out)
    trained = ridge_accuracy(train(data=few, steps=120, batch_size=64), few, held_out)
    assert trained > pixels + 0.05
