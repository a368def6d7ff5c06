"""The authors' label JSON: values kept, images picked again as their scripts do, or named."""

import hashlib
import json

import numpy as np
import pytest
import torch
from cases import draw_labels
from torch.utils.data import DataLoader, TensorDataset, random_split

from cvxdistill.data import open_source
from cvxdistill.errors import InputError
from cvxdistill.export import import_distilled
from cvxdistill.export.authors_draws import TARGET_DRAWS, pick_again, picks, same_classes

CLASSES = 10
# SHA-256 of `base_example_labels`, with commas between, in the result that the authors published
# beside their scripts (`results/short_experiment.json`, made with PyTorch of 2020).
PUBLISHED = "ee5a0e26bd1aa315bd9161df3031354e671b89ba14917d3f9d2d0f7b53c56cf1"


def classes_of(n, *, classes=CLASSES, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, n))


@pytest.mark.parametrize("count", [20, 100])
def test_random_picks_are_those_of_a_shuffled_loader(count):
    labels, draws = classes_of(3000), (60_000, 50_000)
    with torch.random.fork_rng():
        torch.manual_seed(77)
        random_split(range(60_000), [50_000, 10_000])
        random_split(range(50_000), [50_000, 0])
        loader = DataLoader(TensorDataset(torch.arange(3000)), batch_size=count, shuffle=True)
        (expected,) = next(iter(loader))
    found = list(picks(labels, count, draws=draws, num_classes=CLASSES, seed=77))
    assert any(torch.equal(pick.positions, expected) for pick in found if not pick.balanced)
    again = pick_again(
        labels, labels[expected].tolist(), target="mnist", num_classes=CLASSES, seed=77
    )
    assert torch.equal(again.positions, expected)
    assert not again.balanced


def test_balanced_picks_fill_each_class_in_the_order_of_a_shuffled_loader():
    labels = classes_of(2000, classes=13)
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        random_split(range(50_000), [45_000, 5_000])
        random_split(range(45_000), [45_000, 0])
        loader = DataLoader(TensorDataset(torch.arange(2000)), batch_size=2000, shuffle=True)
        order = next(iter(loader))[0].tolist()
    opened = list(dict.fromkeys(int(labels[k]) for k in order))[:CLASSES]
    kept = {label: [k for k in order if labels[k] == label][:3] for label in opened}
    expected = [k for k in order if k in kept.get(int(labels[k]), [])]
    recorded = (labels[expected] + 1).tolist()
    again = pick_again(labels, recorded, target="cifar10", num_classes=CLASSES, seed=1234)
    assert again.positions.tolist() == expected
    assert again.balanced


@pytest.fixture(scope="module")
def letters(data_root):
    return open_source("emnist-letters", data_root=data_root).load("train")


def test_the_published_pick_is_found_in_the_real_letters(letters):
    """Their file was made by a version of PyTorch that shuffled otherwise than today's."""
    labels = letters.labels
    found = picks(labels, 100, draws=TARGET_DRAWS["mnist"], num_classes=10, seed=1234)
    texts = [",".join(str(int(k) + 1) for k in labels[pick.positions]) for pick in found]
    assert PUBLISHED in [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def test_what_proves_nothing_is_no_pick():
    labels = classes_of(500)
    options = {"num_classes": CLASSES, "seed": 5}
    (few, *_) = picks(labels, 3, draws=TARGET_DRAWS["mnist"], **options)
    assert pick_again(labels, labels[few.positions].tolist(), target="mnist", **options) is None
    (many, *_) = picks(labels, 30, draws=TARGET_DRAWS["mnist"], **options)
    recorded = labels[many.positions].tolist()
    assert pick_again(labels, recorded, target="mnist", **options) is not None
    assert pick_again(labels, recorded, target="digits", **options) is None
    assert pick_again(labels, recorded, target="mnist", num_classes=10, seed=6) is None
    assert pick_again(labels, recorded[::-1], target="mnist", **options) is None


def test_the_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    list(picks(classes_of(100), 10, draws=(1000,), num_classes=10, seed=0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_classes_may_count_from_one():
    found = torch.tensor([2, 0, 1])
    assert same_classes(found, [2, 0, 1])
    assert same_classes(found, [3, 1, 2])
    assert not same_classes(found, [4, 2, 3])
    assert not same_classes(found, [2, 0])
    assert not same_classes(found, [2, 1, 1])


# Reading the JSON. ------------------------------------------------------------------------------


def write_npz(path, n=60, *, classes=3, shape=(8, 8), seed=0):
    labels = np.arange(n) % classes
    images = np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)
    parts = {"images": images, "labels": labels}
    np.savez(path, **{f"{k}_{part}": v for k, v in parts.items() for part in ("train", "test")})
    return f"npz:{path}"


def write_json(path, rows, classes, **others):
    known = {
        "labels": [rows.tolist()],
        "base_example_labels": classes,
        "test_top_1_error": [12.0, 14.0],
        "num_test_steps": [350, 350],
        "total_train_time": [5400.5],
        "val_loss": [],
    }
    path.write_text(json.dumps({**known, **others}))
    return path


@pytest.fixture
def known(tmp_path):
    """Labels in float32, as their scripts save them, for six images of a small target."""
    labels = draw_labels(6, 3).float()
    target = write_npz(tmp_path / "target.npz")
    path = write_json(tmp_path / "run.json", labels, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0])
    return path, labels, target


INDICES = "3,1,2,0,7,5"


def test_values_classes_and_images_are_those_of_the_json(known):
    path, labels, target = known
    made = import_distilled(path, target=target, indices=INDICES)
    data = open_source(target).load("train")
    rows = torch.tensor([int(k) for k in INDICES.split(",")])
    assert torch.equal(made.labels, torch.tensor(labels.tolist(), dtype=torch.float64))
    assert made.label_kind == "distribution"
    assert made.class_names == data.class_names
    assert torch.equal(made.base.images, data.images[rows])
    assert torch.equal(made.base.indices, rows)
    assert made.true_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert made.preprocessing.mean.tolist() == pytest.approx([0.1307])
    assert made.provenance["reported"]["test_top_1_error"] == 13.0
    assert made.provenance["seconds"] == 5400.5
    assert made.provenance["status"] == "imported"


def test_base_examples_of_another_set_with_other_classes_and_sizes(tmp_path):
    target = write_npz(tmp_path / "target.npz")
    base = write_npz(tmp_path / "base.npz", 50, classes=5, shape=(12, 12, 3))
    path = write_json(tmp_path / "run.json", draw_labels(4, 3), [5, 1, 2, 3])
    options = {"target": target, "base": base, "indices": "4,0,1,2"}
    with pytest.raises(InputError, match="base_fit"):
        import_distilled(path, **options)
    made = import_distilled(path, base_fit="resize", **options)
    assert made.base.shape == (1, 8, 8)
    assert made.true_labels is None
    assert len(made.class_names) == 3
    assert len(made.base.class_names) == 5


def test_letters_lie_on_their_side(tmp_path, data_root, letters):
    rows = torch.tensor([5, 17, 1000])
    recorded = (letters.labels[rows] + 1).double().tolist()
    path = write_json(tmp_path / "run.json", draw_labels(3, 10), recorded)
    target = write_npz(tmp_path / "target.npz", classes=10, shape=(28, 28))
    options = {"target": target, "data_root": str(data_root), "indices": "5,17,1000"}
    made = import_distilled(path, base="emnist-letters", **options)
    assert torch.equal(made.base.images, letters.images[rows].transpose(2, 3))
    assert made.provenance["base"]["transposed"]


WRONG = {
    "unfinished": ({"labels": []}, "baseline or did not reach its end"),
    "ragged": ({"labels": [[[0.5, 0.5], [1.0]]]}, "cannot be read"),
    "two-sets": ({"labels": [[[1.0, 0, 0]] * 6] * 2}, "one list of m rows"),
    "words": ({"labels": [[["1", "0", "0"]] * 6]}, "numbers"),
    "nan": ({"labels": [[[float("nan"), 0, 0]] * 6]}, "finite"),
    "no-distribution": ({"labels": [[[1.0, 0.5, 0]] * 6]}, "sum to 1"),
    "other-classes": ({"labels": [[[1.0, 0]] * 6]}, "over 2 classes; .* has 3"),
    "fewer-classes": ({"base_example_labels": [0, 1]}, "one a row"),
    "half-classes": ({"base_example_labels": [0.5] * 6}, "class numbers"),
    "others-than-named": ({"base_example_labels": [1] * 6}, "of other classes"),
    "a-list": (None, "must be an object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_json(known, case):
    path, labels, target = known
    change, message = WRONG[case]
    if change is None:
        path.write_text("[1, 2]")
    else:
        write_json(path, labels, [0, 1, 2, 0, 1, 2], **change)
    with pytest.raises(InputError, match=message) as caught:
        import_distilled(path, target=target, indices=INDICES)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_what_is_not_told_is_asked_for(known):
    path, _, target = known
    with pytest.raises(InputError, match="--target mnist"):
        import_distilled(path)
    with pytest.raises(InputError, match=r"cannot be picked again.*--indices"):
        import_distilled(path, target=target)
    with pytest.raises(InputError, match="base_fit"):
        import_distilled(path, target=target, indices=INDICES, base_fit="stretch")
