"""Distilling: no leaks, lossless where it should be, honest where it is not, and recorded."""

import json

import numpy as np
import pytest
import torch
from artifact.makers import NETWORK, listing, make_distilled, make_features, make_images
from truths import relative_error

import cvxdistill as cvd
from cvxdistill.choose import choose_base
from cvxdistill.data import ImageSet, Splits, load_splits
from cvxdistill.errors import InputError
from cvxdistill.features import Preprocessing, draw_pool, embed, parse_network, train_extractor
from cvxdistill.labels import one_hot
from cvxdistill.methods import Exact
from cvxdistill.report import draw_sheet


class Untouchable:
    """Stands for a part of the data that must not be looked at."""

    def __getattribute__(self, name):
        raise AssertionError(f"`{name}` of an untouchable part was read")

    def __len__(self):
        raise AssertionError("the length of an untouchable part was read")


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_splits("digits")


def test_the_test_part_is_never_read(tmp_path):
    def refuse():
        raise AssertionError("the test part was read")

    whole = make_images(40)
    parts = Splits(whole.subset(torch.arange(30)), whole.subset(torch.arange(30, 40)), refuse, {})
    base = choose_base(parts.train, 6)
    made = cvd.distill(base, parts.train, extractors=NETWORK, pool=2, validation=parts.validation)
    made.save(tmp_path / "run")
    loaded = cvd.Distilled.load(tmp_path / "run")
    loaded.as_dataset()
    draw_sheet(loaded, tmp_path / "run" / "labels.png")
    with pytest.raises(AssertionError, match="the test part was read"):
        parts.test()


@pytest.mark.parametrize("method", ["exact", "hard", "smoothed"])
def test_validation_is_untouched_by_what_chooses_nothing(method):
    make_distilled(method=method, validation=Untouchable())


def test_equal_seeds_give_equal_bits_and_others_other_labels():
    first, again, other = (make_distilled(pool=2, seed=seed).labels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "exakt"}, "Did you mean `exact`"),
        ({"extractors": "convnot"}, "`network` must be one of.*Did you mean `convnet`"),
        ({"extractors": []}, "must name a network or hold an extractor; got none"),
        ({"pool": 0}, "`size` of a pool must be 1 or more; got 0"),
        ({"target_l2": -1.0}, "`target_l2` must be finite and zero or more"),
    ],
)
def test_wrong_options_are_named(options, match):
    with pytest.raises(InputError, match=match):
        make_distilled(**options)


def test_shapes_that_differ_are_refused():
    base = choose_base(make_images(9, shape=(1, 9, 9), name="wide"), 3)
    with pytest.raises(
        InputError,
        match=r"one shape; got \(1, 9, 9\) \(`wide`\) and \(1, 8, 8\) \(`toy`\)",
    ):
        cvd.distill(base, make_images())
    pool = draw_pool(parse_network(NETWORK), (1, 9, 9), size=1, seed=0)
    with pytest.raises(InputError, match=r"takes examples of shape \(1, 9, 9\); the target's"):
        make_distilled(extractors=pool)


def test_a_network_without_weights_is_drawn_once():
    assert len(make_distilled(extractors="pixels", pool=4).extractors) == 1
    assert len(make_distilled(extractors="pixels:bottleneck=3", pool=4).extractors) == 4


def test_feature_vectors_are_used_as_they_stand():
    made = make_distilled(make_features(), extractors="lenet", pool=4)
    assert [str(extractor.network) for extractor in made.extractors] == ["pixels"]
    assert made.preprocessing.kind == "none"


def test_a_method_object_is_the_same_as_its_name():
    assert torch.equal(make_distilled(method=Exact()).labels, make_distilled().labels)


def test_inputs_are_not_changed():
    data = make_images()
    before = data.fingerprint()
    make_distilled(data)
    assert data.fingerprint() == before


def test_provenance_is_complete_and_fits_json():
    data = make_images()
    made = make_distilled(data, seed=3, provenance={"splits": {"split_seed": 7}})
    known = json.loads(json.dumps(dict(made.provenance), allow_nan=False))
    assert set(known) >= {
        "method", "target", "target_l2", "seed", "status", "certificate", "certificate_text",
        "target_passes", "stats", "seconds", "splits",
    }  # fmt: skip
    assert known["method"] == {"name": "exact", "options": repr(Exact())}
    assert known["target"] == {
        "name": "toy",
        "split": "train",
        "examples": 30,
        "fingerprint": data.fingerprint(),
    }
    assert (known["seed"], known["status"], known["splits"]) == (3, "solved", {"split_seed": 7})
    assert 0 <= known["certificate"]["relative_gap"] < 1
    assert known["certificate"]["rank"] <= 6
    assert known["seconds"] >= 0
    assert made.base.split == "base"
    hard = make_distilled(method="hard").provenance
    assert hard["certificate"] is None
    assert hard["certificate_text"] is None


def test_progress_is_told():
    stages = []
    make_distilled(progress=lambda stage, done, total: stages.append((stage, done, total)))
    assert stages[-1] == ("solve", 1, 1)
    assert ("embed", 30, 30) in stages


# Losslessness, end to end. ----------------------------------------------------------------------


def full_head(extractor, data, ready, head):
    features = embed(extractor, data.images, preprocessing=ready).double()
    return head.fit(features, one_hot(data.labels, data.num_classes))


@pytest.fixture(scope="module")
def trained(digits):
    ready = Preprocessing.fit(digits.train)
    network = parse_network("convnet:width=8,bottleneck=16")
    extractor = train_extractor(network, digits.train, preprocessing=ready, steps=60, seed=0)
    return extractor, ready


@pytest.mark.parametrize("head", [cvd.RidgeHead(), cvd.RidgeHead(intercept="none", l2=0.1)])
def test_lossless_on_digits_with_a_trained_bottleneck(digits, trained, head, tmp_path):
    extractor, ready = trained
    base = choose_base(digits.train, 20)
    made = cvd.distill(base, digits.train, extractors=[extractor], preprocessing=ready, head=head)
    made.save(tmp_path / "run")
    made = cvd.Distilled.load(tmp_path / "run")
    fit = made.head.fit(
        embed(made.extractors[0], made.examples, preprocessing=made.preprocessing).double(),
        made.labels,
    )
    full = full_head(extractor, digits.train, ready, head)
    query = embed(extractor, digits.test().images, preprocessing=ready).double()
    assert torch.equal(fit(query).argmax(1), full(query).argmax(1))
    assert relative_error(fit.weights, full.weights) <= 1e-6
    assert float((full(query).argmax(1) == digits.test().labels).double().mean()) > 0.8
    certificate = made.provenance["certificate"]
    assert certificate["lossless"] is True
    assert certificate["rank_deficit"] == 0
    assert made.provenance["certificate_text"].startswith("lossless")
    rows = cvd.evaluate(made, digits.test(), train=digits.train, students=(), seeds=1)
    values = {row.labels: row.values for row in rows if row.setting == "same_extractor"}
    assert values["distilled"] == values["full"]


def test_with_too_few_examples_it_says_by_how_much(digits, trained):
    extractor, ready = trained
    made = cvd.distill(
        choose_base(digits.train, 10), digits.train, extractors=[extractor], preprocessing=ready
    )
    certificate = made.provenance["certificate"]
    assert certificate["lossless"] is False
    assert (certificate["rank"], certificate["full_rank"]) == (10, 17)
    assert certificate["rank_deficit"] == 7
    assert 0 < certificate["relative_gap"] < 1
    assert "rank 10 of 17, short by 7" in made.provenance["certificate_text"]


@pytest.mark.slow
def test_the_whole_of_mnist_without_loss(data_root):
    parts = load_splits("mnist", data_root=data_root)
    ready = Preprocessing.fit(parts.train)
    network = parse_network("lenet:bottleneck=64")
    extractor = train_extractor(network, parts.train, preprocessing=ready, steps=1200, seed=0)
    test = parts.test()
    query = embed(extractor, test.images, preprocessing=ready).double()
    full = full_head(extractor, parts.train, ready, cvd.RidgeHead())
    expected = full(query).argmax(1)
    full_accuracy = float((expected == test.labels).double().mean())
    for count in (20, 100):
        made = cvd.distill(
            choose_base(parts.train, count),
            parts.train,
            extractors=[extractor],
            preprocessing=ready,
        )
        base = embed(extractor, made.examples, preprocessing=ready).double()
        fit = made.head.fit(base, made.labels)
        got = fit(query).argmax(1)
        if count == 100:
            assert made.provenance["certificate"]["lossless"]
            assert torch.equal(got, expected)
            assert relative_error(fit.weights, full.weights) <= 1e-6
        else:
            assert made.provenance["certificate"]["rank_deficit"] == 65 - 20
            assert float((got == test.labels).double().mean()) >= 0.95
            assert full_accuracy >= 0.965


# Base examples of another data set. -------------------------------------------------------------


def npz_sets(folder):
    """Two archives of equal images and other classes, as `npz:PATH` reads them."""
    for name, classes, seed in (("target", "abc", 0), ("letters", "wxyz", 1)):
        data = make_images(60, classes=tuple(classes), seed=seed)
        np.savez(
            folder / f"{name}.npz",
            images=data.images.numpy()[:, 0],
            labels=data.labels.numpy(),
            class_names=list(classes),
        )
    return [
        load_splits(f"npz:{folder / name}.npz", test_fraction=0.3) for name in ("target", "letters")
    ]


def test_a_base_of_another_data_set(tmp_path):
    target, letters = npz_sets(tmp_path)
    base = choose_base(letters.train, 12)
    made = cvd.distill(base, target.train, extractors=NETWORK, pool=2)
    assert made.labels.shape == (12, 3)
    assert made.class_names == tuple("abc")
    assert made.base.class_names == tuple("wxyz")
    assert made.true_labels is None
    made.save(tmp_path / "run")
    loaded = cvd.Distilled.load(tmp_path / "run")
    assert loaded.base.name == "npz:letters"
    assert loaded.provenance["target"]["name"] == "npz:target"
    rows = cvd.evaluate(loaded, target.test(), train=target.train, students=(), seeds=2)
    assert {row.labels for row in rows} == {"distilled", "full"}
    assert all(row.accuracy > 0.8 for row in rows)


def test_nothing_is_written_by_distilling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_distilled()
    assert listing(tmp_path) == {}


def test_images_on_another_scale_are_one_target():
    """Bytes and the same images as floats give the same labels."""
    data = make_images()
    floats = ImageSet(data.images.float() / 255, data.labels, data.class_names, name="floats")
    assert relative_error(make_distilled(floats).labels, make_distilled(data).labels) < 1e-3
