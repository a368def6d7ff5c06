import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cvxdistill.data.base import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features import Preprocessing


def image_set(images):
    labels = torch.zeros(len(images), dtype=torch.int64)
    return ImageSet(images, labels, ("a",), name="toy")


def random_bytes(n=200, shape=(2, 3, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(0, 256, (n, *shape), generator=generator)
    # Neighbours that go together, so that there is something to whiten.
    return ((base + base.roll(1, -1)) // 2).to(torch.uint8)


def test_normalisation_is_exact_by_channel():
    images = random_bytes()
    ready = Preprocessing.fit(image_set(images))(images)
    assert ready.dtype == torch.float32
    torch.testing.assert_close(ready.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(ready.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    want = images.double() / 255
    mean = want.mean((0, 2, 3), keepdim=True)
    want = (want - mean) / want.std((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(ready.double(), want, atol=1e-5, rtol=1e-5)


def test_floats_are_taken_as_scaled_bytes():
    images = random_bytes()
    fitted = Preprocessing.fit(image_set(images))
    torch.testing.assert_close(fitted(images.double() / 255), fitted(images), atol=1e-6, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(l2=st.floats(1e-3, 10.0), seed=st.integers(0, 99))
def test_whitened_covariance_has_the_shrunk_spectrum(l2, seed):
    images = random_bytes(seed=seed)
    plain = Preprocessing.fit(image_set(images))(images).double().flatten(1)
    white = Preprocessing.fit(image_set(images), zca=True, zca_l2=l2)(images).double().flatten(1)
    before, vectors = torch.linalg.eigh(torch.cov(plain.T, correction=0))
    after = torch.cov(white.T, correction=0)
    want = before / (before + l2 * before.mean())
    torch.testing.assert_close(vectors.T @ after @ vectors, want.diag(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(white.mean(0), torch.zeros(24).double(), atol=1e-4, rtol=0)


def test_whitening_without_regularisation_gives_the_identity():
    images = random_bytes()
    white = Preprocessing.fit(image_set(images), zca=True, zca_l2=0.0)(images).double().flatten(1)
    cov = torch.cov(white.T, correction=0)
    torch.testing.assert_close(cov, torch.eye(24).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("n", [1, 3, 50])
def test_constant_pixels_and_few_images_stay_finite(l2, n):
    images = random_bytes(n)
    images[:, 0] = 17
    images[:, 1, 0] = 0
    for zca in (False, True):
        ready = Preprocessing.fit(image_set(images), zca=zca, zca_l2=l2)(images)
        assert bool(torch.isfinite(ready).all())
        assert float(ready.abs().max()) < 100
    blank = torch.full((n, 1, 2, 2), 9, dtype=torch.uint8)
    ready = Preprocessing.fit(image_set(blank), zca=True, zca_l2=l2)(blank)
    torch.testing.assert_close(ready, torch.zeros(n, 1, 2, 2), atol=1e-6, rtol=0)


def test_identity_for_features_and_for_none():
    features = torch.rand(5, 3, dtype=torch.float64)
    fitted = Preprocessing.fit(image_set(features))
    assert fitted.kind == "none"
    assert torch.equal(fitted(features), features.float())
    zca = Preprocessing.fit(image_set(random_bytes()), zca=True)
    assert torch.equal(zca(features), features.float())
    images = random_bytes()
    assert torch.equal(Preprocessing()(images), images.float() / 255)


def test_inputs_are_not_changed():
    images = random_bytes().float() / 255
    before = images.clone()
    fitted = Preprocessing.fit(image_set(images), zca=True)
    fitted(images)
    Preprocessing()(images)
    assert torch.equal(images, before)


def test_fitting_to_a_part():
    data = image_set(random_bytes())
    whole = Preprocessing.fit(data).fingerprint()
    part = Preprocessing.fit(data, max_examples=50, seed=1).fingerprint()
    assert Preprocessing.fit(data, max_examples=200).fingerprint() == whole
    assert Preprocessing.fit(data, max_examples=50, seed=1).fingerprint() == part
    assert Preprocessing.fit(data, max_examples=50, seed=2).fingerprint() != part
    with pytest.raises(InputError, match="`max_examples` must be 2 or more"):
        Preprocessing.fit(data, max_examples=1)


@pytest.mark.parametrize("kind", ["none", "normalise", "zca"])
def test_records_round_trip(kind):
    images = random_bytes()
    fitted = Preprocessing()
    if kind != "none":
        fitted = Preprocessing.fit(image_set(images), zca=kind == "zca")
    assert fitted.kind == kind
    record = json.loads(json.dumps(fitted.record()))
    again = Preprocessing.from_record(record, fitted.tensors())
    assert again.fingerprint() == fitted.fingerprint()
    assert again.to("cpu").fingerprint() == fitted.fingerprint()
    assert torch.equal(again(images), fitted(images))


def test_changed_records_are_noticed():
    fitted = Preprocessing.fit(image_set(random_bytes()), zca=True)
    record, tensors = fitted.record(), fitted.tensors()
    with pytest.raises(InputError, match="does not match its fingerprint"):
        Preprocessing.from_record({**record, "zca_l2": 0.2}, tensors)
    with pytest.raises(InputError, match="does not match its fingerprint"):
        Preprocessing.from_record(record, {**tensors, "mean": tensors["mean"] + 1e-6})
    with pytest.raises(InputError, match="is made of mean, std; got mean, std, zca_matrix"):
        Preprocessing.from_record({**record, "kind": "normalise"}, tensors)
    with pytest.raises(InputError, match="Did you mean `zca`"):
        Preprocessing.from_record({**record, "kind": "zcaa"}, tensors)


def test_wrong_use():
    fitted = Preprocessing.fit(image_set(random_bytes()), zca=True)
    with pytest.raises(InputError, match="fitted to images of 2 channels"):
        fitted(torch.zeros(1, 3, 3, 4))
    with pytest.raises(InputError, match="fitted to images of 24 numbers"):
        fitted(torch.zeros(1, 2, 4, 4))
    with pytest.raises(InputError, match="`zca_l2` must be finite and zero or more"):
        Preprocessing.fit(image_set(random_bytes()), zca=True, zca_l2=-1.0)
    with pytest.raises(InputError, match="go together"):
        Preprocessing(mean=torch.zeros(1))
    with pytest.raises(InputError, match="every `std` above zero"):
        Preprocessing(mean=torch.zeros(1), std=torch.zeros(1))
    with pytest.raises(InputError, match="`mean` must be finite"):
        Preprocessing(mean=torch.tensor([float("nan")]), std=torch.ones(1))
