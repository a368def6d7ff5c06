"""Base and target from different data sets, with different classes: every method, both ways."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from artifact.makers import make_images
from data.writers import png, random_images, write_tree
from methods.test_methods_contract import SPECS

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.cli import main
from cvxdistill.data import fit_images, load_splits
from cvxdistill.distill import distill
from cvxdistill.errors import InputError
from cvxdistill.evaluate import evaluate
from cvxdistill.features import parse_network
from cvxdistill.methods import METHODS, parse_method

# Methods that need the base's own classes to be the target's.
SAME_CLASSES = {"hard", "smoothed"}
LETTERS, DIGITS = tuple("vwxyz"), tuple("abc")


def letters(n=40):
    return make_images(n, classes=LETTERS, shape=(1, 12, 12), name="letters", seed=1)


def digits(n=40):
    return make_images(n, classes=DIGITS, shape=(1, 12, 12), name="digits")


def learned(base, target, spec="exact", **options):
    return distill(
        base, target, method=spec, extractors="convnet:width=4", pool=1,
        validation=digits(20) if target.class_names == DIGITS else letters(20),
        student=parse_network("mlp:width=4"), **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in METHODS if name not in SAME_CLASSES])
@pytest.mark.parametrize("pair", [(letters, digits), (digits, letters)], ids=["more", "fewer"])
def test_every_method_that_learns_labels_works_across(name, pair, tmp_path):
    source, aim = (make() for make in pair)
    made = learned(choose_base(source, 4), aim, SPECS[name][0])
    assert made.labels.shape == (4, aim.num_classes)
    assert bool(made.labels.isfinite().all())
    assert made.true_labels is None
    made.save(tmp_path / "run")
    again = Distilled.load(tmp_path / "run")
    assert again.class_names == aim.class_names
    assert (again.base.class_names, again.base.name) == (source.class_names, source.name)
    assert torch.equal(again.labels, made.labels)
    rows = evaluate(again, aim, train=aim, students=[], seeds=1, unseen="convnet:width=4")
    assert {row.labels for row in rows} == {"distilled", "full"}


def test_labels_across_tell_the_targets_classes_apart():
    source, aim = letters(), digits(60)
    made = learned(choose_base(source, 10), aim)
    (row, *_) = evaluate(made, digits(90), students=[], seeds=1)
    assert (row.setting, row.labels) == ("same_extractor", "distilled")
    assert row.accuracy > 0.8


def test_fewer_base_examples_than_classes():
    made = learned(choose_base(digits(), 2), letters())
    assert made.labels.shape == (2, 5)


def test_a_base_of_another_shape_is_told_how_to_fit_and_fits():
    colour = dataclasses.replace(digits(), images=torch.randint(0, 255, (40, 3, 16, 16)).byte())
    base = choose_base(letters(), 5)
    with pytest.raises(InputError, match=r"must have one shape.*`letters`.*--base-fit resize"):
        learned(base, colour)
    fitted = fit_images(base, colour.shape)
    made = distill(fitted, colour, extractors="convnet:width=4", pool=1)
    assert made.examples.shape == (5, 3, 16, 16)
    assert made.base.indices.tolist() == base.indices.tolist()


# The command line. ------------------------------------------------------------------------------


def write(path, data):
    np.savez(
        path,
        images=data.images.numpy()[:, 0],
        labels=data.labels.numpy(),
        class_names=list(data.class_names),
    )
    return f"npz:{path}"


@pytest.fixture
def specs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write("letters.npz", letters(60)), write("digits.npz", digits(60))


BARE = ("--extractor", "convnet:width=4", "--pool", "1", "--students", "none", "--seeds", "1")


def run(capsys, *words, code=0):
    assert main(["distill", *BARE, "--json", *map(str, words)]) == code
    out, err = capsys.readouterr()
    return json.loads(out) if code == 0 else err


def test_the_command_line_makes_the_base_fit_and_records_it(specs, tmp_path, capsys):
    small = dataclasses.replace(letters(60), images=letters(60).images[:, :, 2:10, 2:10])
    source = write("small.npz", small)
    words = ("--target", specs[1], "--base", source, "--test-fraction", 0.3, "--out", "run")
    assert "--base-fit resize" in run(capsys, *words, code=2)
    assert "`--base-fit` must be one of pad, resize" in run(
        capsys, *words, "--base-fit", "crop", code=2
    )
    run(capsys, *words, "--base-fit", "pad", "--examples", 10)
    made = Distilled.load("run")
    assert made.examples.shape == (10, 1, 12, 12)
    assert torch.equal(made.examples[:, :, 2:10, 2:10], small.images[made.base.indices])
    assert made.provenance["base"] == {"source": source, "choose": "balanced", "fit": "pad"}
    assert main(["evaluate", "run", "--students", "none", "--seeds", "1"]) == 0


def test_a_base_of_image_files_of_many_sizes_is_made_to_fit(specs, tmp_path, capsys):
    files = {f"{k % 2}/{k}.png": png(random_images(1, (9 + k, 20 - k, 3), k)[0]) for k in range(6)}
    write_tree(tmp_path / "birds", files)
    words = ("--target", specs[1], "--base", "folder:birds", "--test-fraction", 0.3, "--out", "run")
    assert "--base-fit resize" in run(capsys, *words, "--examples", 4, code=2)
    run(capsys, *words, "--examples", 4, "--base-fit", "resize")
    made = Distilled.load("run")
    assert made.examples.shape == (4, 1, 12, 12)
    assert made.provenance["base"]["source"] == "folder:birds"


@pytest.mark.parametrize(
    ("words", "head"),
    [
        (("--head", "logistic:l2=0.5"), "LogisticHead(l2=0.5"),
        (("--head", "svm", "--l2", 0.25, "--intercept", "none"), "SVMHead(l2=0.25"),
        (("--method", "first-order:steps=2,head=logistic"), "LogisticHead(l2=0.01"),
        (("--l2", 0.5, "--l2-scale", "absolute"), "RidgeHead(l2=0.5, l2_scale='absolute'"),
    ],
)
def test_the_head_of_the_command_line_is_in_the_artefact(specs, capsys, words, head):
    method = () if "--method" in words else ("--method", "first-order:steps=2")
    common = ("--target", specs[1], "--base", specs[0], "--test-fraction", 0.3, "--out", "run")
    result = run(capsys, *common, *method, *words)
    assert str(Distilled.load("run").head).startswith(head)
    assert result["accuracy"]["same_extractor"]["distilled"] >= 0


def test_heads_that_a_method_cannot_take_are_one_line(specs, capsys):
    common = ("--target", specs[1], "--test-fraction", 0.3, "--out", "run")
    err = run(capsys, *common, "--head", "logistic", code=2)
    assert "Use the method `first-order`" in err
    err = run(capsys, *common, "--head", "ridge:l2=1", "--l2", 2, code=2)
    assert "`l2` is given both by --head and by --l2" in err
    err = run(capsys, *common, "--head", "cvxpy", code=2)
    assert "`head` must be one of kernel-ridge, logistic, ridge, svm" in err


def test_true_labels_of_fewer_classes_are_a_failed_row_of_a_logistic_head(specs, capsys):
    common = ("--target", specs[0], "--test-fraction", 0.3, "--examples", 3, "--out", "run")
    result = run(capsys, *common, "--head", "logistic", "--method", "first-order:steps=2")
    rows = {row["labels"]: row for row in result["rows"] if row["setting"] == "same_extractor"}
    assert rows["distilled"]["status"] == "ok"
    assert rows["hard"]["values"] == []
    assert "every class must have weight" in rows["hard"]["status"]


def test_one_archive_under_two_names_keeps_the_test_part_out(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "omniglot").mkdir()
    data = make_images(48, shape=(1, 12, 12))
    np.savez(
        "omniglot/small.npz", images=data.images.numpy()[:, 0], labels=data.labels.numpy(),
        class_names=list("abc"), alphabet_labels=data.labels.numpy() // 2,
        alphabet_names=["A", "B"],
    )  # fmt: skip
    words = ("--target", "omniglot-alphabets", "--base", "omniglot", "--data-root", ".")
    run(capsys, *words, "--examples", 20, "--out", "run")
    test = load_splits("omniglot-alphabets", data_root=".").test()
    assert not set(Distilled.load("run").base.indices.tolist()) & set(test.indices.tolist())


# Real data. -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "least"),
    [
        pytest.param("emnist-letters", "mnist", 0.75, marks=pytest.mark.slow),
        pytest.param("omniglot", "mnist", 0.75, marks=pytest.mark.slow),
        ("mnist", "omniglot", 0.1),
    ],
)
def test_exact_labels_across_real_data(data_root, source, target, least, tmp_path, capsys):
    words = ("--base", source, "--target", target, "--data-root", data_root, "--limit", 1000)
    result = run(
        capsys, *words, "--extractor", "convnet:width=8", "--examples", 60,
        "--out", tmp_path / "run",
    )  # fmt: skip
    accuracy = result["accuracy"]["same_extractor"]
    assert set(accuracy) == {"distilled", "full"}
    assert least < accuracy["distilled"] < 1


def test_emnist_letters_on_the_test_files_of_kmnist(data_root, tmp_path, capsys):
    words = ("--base", "emnist-letters", "--target", "kmnist", "--data-root", data_root)
    size = ("--limit", 1000, "--examples", 60, "--extractor", "convnet:width=8")
    assert "--test-fraction 0.2" in run(capsys, *words, *size, code=2)
    result = run(
        capsys, *words, *size, "--test-fraction", 0.2, "--validation", 1000,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert result["accuracy"]["same_extractor"]["distilled"] > 0.4
    parts = Distilled.load(tmp_path / "run").provenance["splits"]
    assert (parts["source_split"], parts["test_rule"]) == ("test", "stratified")
    assert parse_method("exact").name == result["method"]
