import threading

import pytest
import torch
from torch import nn

from cvxdistill.data.base import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features import (
    ConvNet,
    Pixels,
    Preprocessing,
    draw_extractor,
    embed,
    embed_batches,
    wrap_module,
)
from cvxdistill.features.threads import map_threads

SHAPE = (1, 8, 8)
IMAGES = torch.randint(
    0, 256, (70, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
DATA = ImageSet(IMAGES, torch.zeros(70, dtype=torch.int64), ("a",), name="toy")
PREPROCESSING = Preprocessing.fit(DATA)


@pytest.fixture
def extractor():
    return draw_extractor(ConvNet(width=8), SHAPE, seed=0)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [1, 7, 70, 512, None])
def test_features_are_those_of_the_module(extractor, batch_size):
    state = torch.get_rng_state()
    features = embed(extractor, IMAGES, preprocessing=PREPROCESSING, batch_size=batch_size)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        want = extractor.module(PREPROCESSING(IMAGES))
    torch.testing.assert_close(features, want, rtol=1e-4, atol=1e-5)
    assert features.dtype == torch.float32


def test_batches_are_in_order_and_reported(extractor):
    told = []
    batches = list(
        embed_batches(
            extractor,
            IMAGES,
            preprocessing=PREPROCESSING,
            batch_size=32,
            progress=lambda *call: told.append(call),
        )
    )
    assert [len(batch) for batch in batches] == [32, 32, 6]
    assert told == [("embed", 32, 70), ("embed", 64, 70), ("embed", 70, 70)]
    whole = embed(extractor, IMAGES, preprocessing=PREPROCESSING, batch_size=32)
    assert torch.equal(torch.cat(batches), whole)


def test_same_bits_for_any_number_of_threads(two_threads):
    extractor = draw_extractor(ConvNet(width=32), (1, 28, 28), seed=0)
    images = torch.rand(100, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    both = embed(extractor, images, preprocessing=Preprocessing())
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert torch.equal(embed(extractor, images, preprocessing=Preprocessing()), both)


def test_results_enter_autograd(extractor):
    features = embed(extractor, IMAGES, preprocessing=PREPROCESSING)
    assert not features.requires_grad
    weight = torch.zeros(features.shape[1], 2, requires_grad=True)
    (features @ weight).sum().backward()
    assert weight.grad is not None
    features.requires_grad_(True)
    (features**2).sum().backward()
    assert torch.is_grad_enabled()


def test_feature_vectors_and_no_images():
    vectors = torch.rand(5, 3, dtype=torch.float64)
    pixels = draw_extractor(Pixels(), (3,), seed=0)
    features = embed(pixels, vectors, preprocessing=Preprocessing())
    assert torch.equal(features, vectors.float())
    assert embed(pixels, vectors[:0], preprocessing=Preprocessing()).shape == (0, 3)


def test_eval_mode_is_forced_behind_the_extractor():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 3))
    extractor = wrap_module(module, SHAPE)
    want = embed(extractor, IMAGES, preprocessing=PREPROCESSING)
    module.train()
    assert torch.equal(embed(extractor, IMAGES, preprocessing=PREPROCESSING), want)
    assert not module.training


class StuckDropout(nn.Module):
    def forward(self, images):
        return nn.functional.dropout(images.flatten(1), training=True)


class StuckBatchNorm(nn.Module):
    def forward(self, images):
        return nn.functional.batch_norm(images.flatten(1), None, None, training=True)


class Overflow(nn.Module):
    def forward(self, images):
        return torch.where(images.flatten(1) > 0, 1.0, float("inf"))


@pytest.mark.parametrize("count", [1, 2, 70])
def test_the_probe_catches_dropout(count):
    extractor = wrap_module(StuckDropout(), SHAPE)
    with pytest.raises(InputError, match=r"other features for the same batch.*dropout"):
        embed(extractor, IMAGES[:count], preprocessing=PREPROCESSING)


@pytest.mark.parametrize("count", [2, 3, 70])
def test_the_probe_catches_batch_statistics(count):
    extractor = wrap_module(nn.Flatten(), SHAPE)
    extractor.module = StuckBatchNorm()
    with pytest.raises(InputError, match=r"with the rest of its batch.*BatchNorm"):
        next(embed_batches(extractor, IMAGES[:count], preprocessing=PREPROCESSING))


def test_features_that_are_not_finite_are_named():
    extractor = wrap_module(nn.Flatten(), SHAPE)
    extractor.module = Overflow()
    with pytest.raises(InputError, match=r"`features` must be finite.*image 0 on.*overflows"):
        embed(extractor, IMAGES, preprocessing=PREPROCESSING)


def test_wrong_use(extractor):
    with pytest.raises(InputError, match=r"takes images of shape \(1, 8, 8\); got \(1, 9, 9\)"):
        embed(extractor, torch.zeros(2, 1, 9, 9), preprocessing=PREPROCESSING)
    with pytest.raises(InputError, match="`batch_size` must be 1 or more; got 0"):
        embed_batches(extractor, IMAGES, preprocessing=PREPROCESSING, batch_size=0)


def test_threads_keep_order_pass_errors_on_and_stop_early(two_threads):
    assert list(map_threads(lambda x: -x, range(20), workers=3)) == [-x for x in range(20)]

    def divide(x):
        return 1 / x

    with pytest.raises(ZeroDivisionError):
        list(map_threads(divide, [1, 0, 1], workers=2))
    started = []
    results = map_threads(started.append, range(1000), workers=2)
    next(results)
    results.close()
    assert len(started) < 20
    assert threading.active_count() < 10
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [torch.get_num_threads()] == [2]


def test_workers_compute_with_one_thread_each(two_threads):
    seen = list(map_threads(lambda _: torch.get_num_threads(), range(8), workers=2))
    assert seen == [1] * 8


@pytest.mark.gpu
def test_the_gpu_gives_the_same_features_and_tf32_comes_back():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    extractor = draw_extractor(ConvNet(width=16), SHAPE, seed=0)
    want = embed(extractor, IMAGES, preprocessing=PREPROCESSING)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        got = embed(extractor, IMAGES, preprocessing=PREPROCESSING, device="cuda")
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-5)
