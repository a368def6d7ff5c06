"""The evaluation: truth by construction, what validation decides, and which rows there are."""

import dataclasses
import math
from typing import ClassVar

import pytest
import scipy.stats
import torch
from artifact.makers import make_distilled, make_features, make_images
from cases import draw
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.data import ImageSet, load_splits
from cvxdistill.errors import InputError
from cvxdistill.evaluate import (
    METRICS,
    EvalRow,
    accuracy,
    evaluate,
    evaluate_students,
    interval,
    labels,
    nested,
    protocol,
    students,
    trainer,
)
from cvxdistill.features import MLP, wrap_module
from cvxdistill.heads import KernelRidgeHead, LogisticHead, RidgeHead
from cvxdistill.labels import one_hot
from cvxdistill.students import OPTIMISERS, Recipe, default_student

QUICK = Recipe(checkpoints=(1, 2))
TEST = make_images(45, seed=7, split="test")


def by_labels(rows, setting):
    return {row.labels: row for row in rows if row.setting == setting}


# Metrics and intervals. -------------------------------------------------------------------------


def test_accuracy_by_hand():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [-1.0, -2.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 0])) == 0.75
    assert METRICS["accuracy"] is accuracy


def test_what_is_not_a_number_predicts_nothing():
    logits = torch.tensor([[math.nan, 0.0], [0.0, math.nan], [math.nan, math.nan], [0.0, 1.0]])
    for label in (0, 1):
        wanted = torch.tensor([label] * 3 + [1])
        assert accuracy(logits, wanted) == 0.25


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_interval_is_that_of_scipy(values):
    found = interval(values)
    spread = scipy.stats.sem(values)
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert found.count == len(values)
    if spread > 1e-9:
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=found.mean, scale=spread)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def test_interval_of_two_by_hand():
    found = interval([0.5, 0.7])
    # t of one degree of freedom at 97.5 %: tan(0.475 pi); standard error 0.1.
    assert found.high - found.mean == pytest.approx(0.1 * math.tan(0.475 * math.pi), rel=1e-10)


def test_one_value_has_no_interval():
    assert dataclasses.astuple(interval([0.3])) == (0.3, 0.3, 0.3, 1)


def test_nested_form():
    rows = [
        EvalRow("same_extractor", "convnet", "hard", (0.5,)),
        EvalRow("students", "lenet", "hard", (0.25, 0.75)),
        EvalRow("students", "lenet", "full", (), status="failed: no"),
    ]
    assert nested(rows) == {
        "same_extractor": {"hard": 0.5},
        "students": {"lenet": {"hard": 0.5, "full": None}},
    }
    spread = nested(rows, "accuracy_ci")
    assert spread["same_extractor"] == {"hard": [0.5, 0.5]}
    assert spread["students"]["lenet"]["hard"] == pytest.approx(list(rows[1].accuracy_ci))
    assert spread["students"]["lenet"]["full"] is None
    assert rows[2].record()["accuracy"] is None
    assert rows[2].record()["status"] == "failed: no"


# Heads: truth by construction. ------------------------------------------------------------------


@pytest.mark.parametrize("target_l2", [None, 100.0])
def test_lossless_labels_do_as_well_as_the_full_data(target_l2):
    data, test = make_features(60, 5), make_features(50, 5, seed=3)
    # Of unequal classes, so that a penalty changes what the head says.
    data = data.subset((data.labels == 0).logical_or(torch.arange(60) < 20).nonzero()[:, 0])
    made = make_distilled(data, m=9, target_l2=target_l2)
    rows = evaluate(made, test, train=data, students=(), seeds=2)
    values = by_labels(rows, "same_extractor")
    assert values["distilled"].values == values["full"].values
    assert made.provenance["certificate"]["lossless"]


def test_labels_that_are_the_full_heads_own_outputs_reproduce_it():
    """Noiseless labels of a linear head, at hardly any penalty, give that head back."""
    data, test = make_features(60, 5), make_features(50, 5, seed=3)
    weights, offset = draw(5, 3, seed=4), draw(3, seed=5)
    scores = data.images.double() @ weights + offset
    base = data.subset(torch.arange(20))
    made = Distilled(
        base, scores[:20], "scores", data.class_names, head=RidgeHead(l2=1e-10),
        extractors=make_distilled(data).extractors,
    )  # fmt: skip
    truth = (test.images.double() @ weights + offset).argmax(1)
    test = ImageSet(test.images, truth, test.class_names, name="own", split="test")
    rows = evaluate(made, test, students=(), seeds=1)
    assert by_labels(rows, "same_extractor")["distilled"].values == (1.0,)


def test_labels_that_know_nothing_give_chance():
    """Equal labels everywhere: every class ties, and the first one is named."""
    classes = ("a", "b", "c", "d")
    data = make_images(32, classes=classes)
    base = choose_base(data, 8)
    uniform = torch.full((8, 4), 0.25, dtype=torch.float64)
    extractors = make_distilled(data, m=8).extractors
    made = Distilled(base, uniform, "distribution", classes, extractors=extractors)
    test = make_images(40, classes=classes, seed=2, split="test")
    rows = evaluate(made, test, students=(), seeds=2)
    assert by_labels(rows, "same_extractor")["distilled"].values == (0.25,)
    hard = by_labels(rows, "same_extractor")["hard"]
    assert hard.accuracy > 0.5


@pytest.mark.parametrize("with_train", [True, False])
def test_rows_of_every_setting(with_train):
    data = make_images()
    made = make_distilled(data, pool=3)
    rows = evaluate(
        made,
        TEST,
        train=data if with_train else None,
        students=["mlp:width=4", "convnet:width=2"],
        seeds=2,
        recipe=QUICK,
    )
    names = ["distilled", "hard", "smoothed"] + ["full"] * with_train
    settings = [("same_extractor", "convnet:width=4"), ("unseen_extractor", "convnet:width=4")]
    settings += [("students", "mlp:width=4"), ("students", "convnet:width=2")]
    assert [(row.setting, row.network, row.labels) for row in rows] == [
        (*setting, name) for setting in settings for name in names
    ]
    for row in rows:
        assert row.status == "ok"
        assert len(row.values) == 2
        assert all(0 <= value <= 1 for value in row.values)
        assert row.seconds >= 0
        assert row.record()["accuracy"] == pytest.approx(sum(row.values) / 2)


@pytest.mark.parametrize("names", [("distilled",), ("full",), ("hard", "smoothed"), ()])
def test_some_label_sets_alone_have_the_rows_they_have_among_all(names):
    made, data = make_distilled(), make_images()
    options = {
        "train": data, "validation": data, "students": ["mlp:width=4"], "seeds": 2, "recipe": QUICK
    }  # fmt: skip
    rows = evaluate(made, TEST, **options)
    some = evaluate(made, TEST, label_sets=names, **options)
    wanted = [dataclasses.replace(row, seconds=0.0) for row in rows if row.labels in names]
    assert [dataclasses.replace(row, seconds=0.0) for row in some] == wanted


def test_an_unknown_label_set_is_refused():
    with pytest.raises(InputError, match="`label_sets` must be one of distilled"):
        evaluate(make_distilled(), TEST, label_sets=("soft",))


def test_true_labels_only_where_they_exist():
    base = choose_base(make_images(12, classes=("x", "y", "z")), 6)
    made = Distilled(base, draw(6, 3), "scores", ("a", "b", "c"))
    rows = evaluate(made, TEST, students=["mlp:width=4"], seeds=1, recipe=QUICK)
    assert [row.labels for row in rows] == ["distilled"]


def test_unseen_extractors_are_none_of_the_pool(monkeypatch):
    made, used = make_distilled(pool=2), {}
    kept = protocol.evaluate_heads

    def spy(*given, setting, extractors, **options):
        used[setting] = [extractor.fingerprint() for extractor in extractors]
        return kept(*given, setting=setting, extractors=extractors, **options)

    monkeypatch.setattr(protocol, "evaluate_heads", spy)
    evaluate(made, TEST, students=(), seeds=2, seed=0)
    assert used["same_extractor"] == [extractor.fingerprint() for extractor in made.extractors]
    assert len(set(used["same_extractor"] + used["unseen_extractor"])) == 4
    evaluate(made, TEST, students=(), seeds=2, seed=1)
    assert len(set(used["same_extractor"] + used["unseen_extractor"])) == 4


def test_another_unseen_network():
    rows = evaluate(make_distilled(), TEST, students=(), seeds=1, unseen="mlp:width=8")
    assert {row.network for row in rows if row.setting == "unseen_extractor"} == {"mlp:width=8"}


def test_where_a_draw_means_nothing_there_is_no_unseen_row():
    assert not by_labels(
        evaluate(make_distilled(extractors="pixels"), TEST, students=(), seeds=1),
        "unseen_extractor",
    )
    outside = make_distilled(extractors=[wrap_module(nn.Flatten(), (1, 8, 8))])
    assert not by_labels(evaluate(outside, TEST, students=(), seeds=1), "unseen_extractor")


@pytest.mark.parametrize("head", [LogisticHead(), KernelRidgeHead()])
def test_a_head_without_a_full_data_fit_says_so_in_its_row(head):
    made = make_distilled(method="smoothed", head=head)
    rows = evaluate(made, TEST, train=make_images(), students=(), seeds=1)
    for setting in ("same_extractor", "unseen_extractor"):
        full = by_labels(rows, setting)["full"]
        assert full.values == ()
        assert full.accuracy is None
        assert f"{type(head).__name__} is not fitted from moments" in full.status
        assert by_labels(rows, setting)["distilled"].accuracy > 0.5


# Students: choices on validation. ---------------------------------------------------------------


class Knows(nn.Module):
    """Names the right class of an image's top-left byte, for a share of the examples."""

    def __init__(self, codes):
        super().__init__()
        self.codes = codes

    def forward(self, images):
        code = (images[:, 0, 0, 0] * 255).round().long()
        known = torch.tensor([value in self.codes for value in code.tolist()])
        classes = torch.where(known, code % 3, (code + 1) % 3)
        return torch.nn.functional.one_hot(classes, 3).float()


def coded(codes, split):
    """Images whose top-left byte is a code; its class is the code modulo 3."""
    images = torch.zeros(len(codes), 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(codes, dtype=torch.uint8)
    return ImageSet(images, torch.tensor(codes) % 3, ("a", "b", "c"), name="coded", split=split)


class FakeStudents:
    """Know codes by the number of steps, the largest entry of their labels and the rate."""

    by_steps: ClassVar[dict] = {10: {0, 1}, 20: {0, 1, 2}, 30: {0, 60, 61, 62}}
    by_top: ClassVar[dict] = {}
    by_rate: ClassVar[dict] = {}
    made: ClassVar[list] = []
    recipes: ClassVar[list] = []

    def __init__(self, network, shape, num_classes, *, seeds, device):
        self.seeds = tuple(seeds)
        self.made.append(list(seeds))

    def fit(self, examples, labels, label_kind, *, recipe, seed, progress):
        self.recipes.append(recipe)
        stacked = labels.expand(len(self.seeds), *labels.shape[-2:])
        tops = [round(float(top), 6) for top in stacked.amax((1, 2))]
        rate = round(recipe.rate(0), 6)
        for steps in recipe.checkpoints:
            progress("students", steps, recipe.checkpoints[-1])
            table = [self.by_rate.get(rate, self.by_top.get(top, self.by_steps)) for top in tops]
            known = [sum(2**code for code in given.get(steps, set())) for given in table]
            self.known = {"known": torch.tensor(known)}
            yield steps

    def weights(self):
        return self.known

    def predict(self, examples, weights=None):
        known = (self.known if weights is None else weights)["known"].tolist()
        sets = [{code for code in range(63) if bits >> code & 1} for bits in known]
        return torch.stack([Knows(codes)(examples) for codes in sets])


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(trainer, "Students", FakeStudents)
    for name in ("made", "recipes"):
        monkeypatch.setattr(FakeStudents, name, [])
    for name in ("by_top", "by_rate"):
        monkeypatch.setattr(FakeStudents, name, {})
    base = coded([0, 1, 2], "base")
    eye = torch.eye(3, dtype=torch.float64)
    return Distilled(base, eye, "distribution", base.class_names)


def measure(made, validation, test, seeds=2):
    rows = evaluate(
        made,
        test,
        validation=validation,
        students=["mlp:width=4"],
        seeds=seeds,
        recipe=Recipe(checkpoints=(10, 20, 30)),
    )
    return by_labels(rows, "students")


def test_validation_decides_the_steps_and_the_test_part_does_not(fakes):
    # On validation 20 steps are best; on the test part 30 would be.
    rows = measure(fakes, coded([0, 1, 2], "validation"), coded([0, 60, 61, 62], "test"))
    assert rows["hard"].choices == {"steps": 20}
    assert rows["hard"].values == (0.25, 0.25)


def test_of_equals_the_fewest_steps_are_taken(fakes):
    rows = measure(fakes, coded([0, 0], "validation"), coded([0, 1, 2], "test"))
    assert rows["hard"].choices == {"steps": 10}


def test_without_validation_the_last_steps_and_the_least_smoothing_are_taken(fakes):
    rows = measure(fakes, None, coded([0, 60, 61, 62], "test"))
    assert rows["hard"].choices == {"steps": 30}
    assert rows["hard"].values == (1.0, 1.0)
    assert rows["smoothed"].choices == {"steps": 30, "smoothing": 0.1}


def test_validation_decides_the_smoothing(fakes, monkeypatch):
    known = {10: {0}, 20: {0, 1, 2}, 30: {0}}
    # The largest entry of labels smoothed by 0.3 is 0.8.
    monkeypatch.setattr(FakeStudents, "by_top", {0.8: known, 0.933333: {10: {0}}})
    monkeypatch.setattr(FakeStudents, "by_steps", {10: {0}, 20: {0}, 30: {0, 1}})
    rows = measure(fakes, coded([0, 1, 2], "validation"), coded([0, 1, 2], "test"))
    assert rows["smoothed"].choices == {"steps": 20, "smoothing": 0.3}
    assert rows["smoothed"].values == (1.0, 1.0)
    assert rows["hard"].choices == {"steps": 30}
    # Both smoothings side by side, each from the same initial weights as the other labels.
    once = FakeStudents.made[0]
    assert FakeStudents.made == [once, once, once * len(labels.SMOOTHINGS)]


def test_validation_decides_the_scale_of_scores(fakes, monkeypatch):
    eye = torch.eye(3, dtype=torch.float64)
    scores = Distilled(fakes.base, eye, "scores", fakes.class_names)
    largest = max(labels.SCALES)
    monkeypatch.setattr(FakeStudents, "by_top", {largest: {10: {0}, 20: {0, 1, 2}}})
    monkeypatch.setattr(FakeStudents, "by_steps", {10: {0}})
    rows = measure(scores, coded([0, 1, 2], "validation"), coded([0, 1, 2], "test"))
    assert rows["distilled"].choices == {"steps": 20, "scale": largest}
    assert rows["distilled"].values == (1.0, 1.0)


def test_a_long_validation_part_sorted_by_class_is_judged_on_all_of_it(fakes, monkeypatch):
    monkeypatch.setattr(students, "CHOICE_EXAMPLES", 40)
    monkeypatch.setattr(FakeStudents, "by_steps", {10: {0}, 20: {1, 2}, 30: set()})
    validation = coded([0] * 100 + [1] * 100 + [2] * 100, "validation")
    rows = measure(fakes, validation, coded([0, 1, 2], "test"))
    assert rows["hard"].choices == {"steps": 20}


# Students: the recipe of the artefact, optimisers and numbers of steps. ---------------------------


def matrix(made, *, validation=None, test=None, **options):
    """Rows of students as tuples of what tells them apart."""
    rows = evaluate_students(
        made,
        coded([0, 1, 2], "test") if test is None else test,
        validation=validation,
        students=["mlp:width=4"],
        seeds=2,
        recipe=options.pop("recipe", Recipe(checkpoints=(10, 20, 30))),
        **options,
    )
    return {(row.labels, row.optimiser, row.step_factor): row for row in rows}


def with_recipe(made, **recipe):
    return dataclasses.replace(made, recipe=Recipe(**recipe))


def test_labels_that_come_with_a_recipe_are_trained_by_it(fakes):
    own = Recipe(checkpoints=(15,), optimiser="sgd", step_sizes=(0.3, 0.2))
    scores = Distilled(fakes.base, fakes.labels, "scores", fakes.class_names, recipe=own)
    validation = coded([0, 1, 2], "validation")
    rows = matrix(scores, validation=validation, label_sets=["distilled", "hard"])
    assert list(rows) == [("distilled", "sgd", 1.0), ("hard", "adam", 1.0)]
    distilled, hard = rows.values()
    assert FakeStudents.recipes[0] == own
    assert (distilled.steps, distilled.choices, distilled.main) == (15, {}, True)
    # The baseline may train for as long as the distilled labels do.
    assert FakeStudents.recipes[1].checkpoints == (10, 15, 20, 30)
    assert (hard.steps, hard.choices) == (20, {"steps": 20})
    # Without its recipe the artefact is tuned like the others, its scale as well.
    bare = dataclasses.replace(scores, recipe=None)
    (row,) = matrix(bare, validation=validation, label_sets=["distilled"]).values()
    assert set(row.choices) == {"steps", "scale"}
    assert row.optimiser == "adam"


def test_of_several_checkpoints_of_the_artefact_validation_chooses(fakes):
    made = with_recipe(fakes, checkpoints=(10, 20))
    (row,) = matrix(
        made, validation=coded([0, 1, 2], "validation"), label_sets=["distilled"]
    ).values()
    assert (row.steps, row.choices) == (20, {"steps": 20})


def test_validation_decides_the_learning_rate_of_other_optimisers(fakes, monkeypatch):
    # Only momentum at a third of its own rate ever learns all codes, after 30 steps.
    slow = {10: {0}, 20: {0}, 30: {0, 1, 2}}
    monkeypatch.setattr(FakeStudents, "by_rate", {round(0.01 / 3, 6): slow})
    monkeypatch.setattr(FakeStudents, "by_steps", {10: {0, 1}})
    rows = matrix(
        fakes,
        validation=coded([0, 1, 2], "validation"),
        optimisers=["momentum", "adam", "momentum"],
        label_sets=["distilled", "hard"],
    )
    for name in ("distilled", "hard"):
        adam, momentum = rows[name, "adam", 1.0], rows[name, "momentum", 1.0]
        assert (adam.main, momentum.main) == (True, False)
        assert adam.choices == {"steps": 10}
        assert momentum.choices == {"steps": 30, "lr": pytest.approx(0.01 / 3)}
        assert momentum.values == (1.0, 1.0)
    assert len(rows) == 4
    tried = [recipe.rate(0) for recipe in FakeStudents.recipes if recipe.optimiser == "momentum"]
    assert tried == pytest.approx([0.01, 0.01 / 3, 0.03] * 2)
    # All of them from the same initial weights.
    assert len({tuple(seeds) for seeds in FakeStudents.made}) == 1


def test_a_rate_that_is_given_is_not_chosen(fakes):
    made = with_recipe(fakes, checkpoints=(20,), optimiser="sgd", lr=0.7)
    given = Recipe(checkpoints=(20,), optimiser="rmsprop", lr=0.6)
    rows = matrix(
        made, validation=coded([0], "validation"), label_sets=["distilled", "hard"], recipe=given
    )
    assert [recipe.rate(0) for recipe in FakeStudents.recipes] == [0.7, 0.6]
    assert all("lr" not in row.choices for row in rows.values())


@pytest.mark.parametrize("given", ["none", "shift"])
def test_all_labels_are_shown_in_the_artefacts_way_unless_told_otherwise(fakes, given):
    made = with_recipe(fakes, checkpoints=(20,), augment="flip")
    recipe = Recipe(checkpoints=(10,), augment=given)
    matrix(made, label_sets=["distilled", "hard"], recipe=recipe)
    seen = [recipe.augment for recipe in FakeStudents.recipes]
    assert seen[0] == "flip"
    assert set(seen[1:]) == {"flip" if given == "none" else given}


def test_a_recipe_of_the_artefact_leaves_no_rate_to_choose(fakes):
    made = with_recipe(fakes, checkpoints=(20,), optimiser="momentum")
    (row,) = matrix(made, validation=coded([0], "v"), label_sets=["distilled"]).values()
    assert (row.steps, row.choices) == (20, {})
    assert FakeStudents.recipes == [made.recipe]


def test_without_validation_every_optimiser_keeps_its_own_rate(fakes):
    rows = matrix(fakes, optimisers=list(OPTIMISERS), label_sets=["hard"])
    assert [row.optimiser for row in rows.values()] == list(OPTIMISERS)
    assert [recipe.rate(0) for recipe in FakeStudents.recipes] == [
        kind.lr for kind in OPTIMISERS.values()
    ]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_learns_from_scores(optimiser):
    # As large as learned scores are. A squared error is steep: at 0.1 SGD has no finite weights.
    data = load_splits("digits")
    base = choose_base(data.train, 50)
    scores = 10 * (one_hot(base.labels, 10).double() - 0.1)
    made = Distilled(base, scores, "scores", base.class_names)
    (row,) = evaluate_students(
        made, data.test(), students=["convnet:width=8"], optimisers=[optimiser], seeds=1,
        label_sets=["distilled"], recipe=Recipe(checkpoints=(60,)),
    )[-1:]  # fmt: skip
    assert (row.optimiser, row.status) == (optimiser, "ok")
    assert row.accuracy > 0.6


def test_other_numbers_of_steps_are_multiples_of_the_chosen_one(fakes, monkeypatch):
    known = {5: {0}, 10: {0, 1}, 20: {0, 1, 2}, 40: {0, 1}, 80: set()}
    monkeypatch.setattr(FakeStudents, "by_steps", known)
    rows = matrix(
        fakes,
        validation=coded([0, 1, 2], "validation"),
        step_factors=[0.25, 0.5, 1, 2, 4, 0.001],
        label_sets=["smoothed"],
    )
    found = {factor: (row.steps, row.accuracy) for (*_, factor), row in rows.items()}
    third = pytest.approx(1 / 3)
    assert found == {
        1.0: (20, 1.0), 0.25: (5, third), 0.5: (10, pytest.approx(2 / 3)),
        2: (40, pytest.approx(2 / 3)), 4: (80, 0.0), 0.001: (1, 0.0),
    }  # fmt: skip
    assert [factor for (*_, factor), row in rows.items() if row.main] == [1.0]
    assert all(row.choices == {"steps": 20, "smoothing": 0.1} for row in rows.values())
    # In one training, with the labels that were chosen.
    assert FakeStudents.recipes[-1].checkpoints == (1, 5, 10, 40, 80)
    assert len(FakeStudents.made[-1]) == 2


def test_other_numbers_of_steps_of_a_recipe(fakes):
    made = with_recipe(fakes, checkpoints=(20,), optimiser="sgd", step_sizes=(0.3,))
    rows = matrix(made, step_factors=[0.5], optimisers=["adam"], label_sets=["distilled"])
    assert [(key[1], row.steps, row.main) for key, row in rows.items()] == [
        ("sgd", 20, True), ("sgd", 10, False), ("adam", 20, False), ("adam", 10, False),
    ]  # fmt: skip
    assert FakeStudents.recipes[1].step_sizes == (0.3,)
    assert FakeStudents.recipes[2].step_sizes == ()


def test_only_the_main_cells_stand_in_the_nested_form(fakes):
    rows = list(matrix(fakes, optimisers=["sgd"], step_factors=[0.5], label_sets=["hard"]).values())
    assert [row.main for row in rows] == [True, False, False, False]
    assert nested(rows) == {"students": {"mlp:width=4": {"hard": rows[0].accuracy}}}
    record = rows[-1].record()
    assert (record["optimiser"], record["steps"], record["step_factor"]) == ("sgd", 15, 0.5)


def test_a_student_that_cannot_be_fails_in_every_cell():
    rows = evaluate_students(
        make_distilled(), TEST, students=["convnet:depth=6"], seeds=1, recipe=QUICK,
        optimisers=["sgd"], step_factors=[2.0], label_sets=["hard"],
    )  # fmt: skip
    assert [(row.optimiser, row.step_factor, row.main) for row in rows] == [
        ("adam", 1.0, True), ("adam", 2.0, False), ("sgd", 1.0, False), ("sgd", 2.0, False),
    ]  # fmt: skip
    assert all("needs images of at least" in row.status and not row.values for row in rows)


def test_cells_do_not_depend_on_how_many_students_train_at_once(monkeypatch):
    def values():
        rows = evaluate_students(
            make_distilled(method="hard"), TEST, validation=make_images(seed=4), seeds=3,
            students=["mlp:width=4"], recipe=QUICK, optimisers=["sgd"], step_factors=[2.0],
        )  # fmt: skip
        return [(row.values, dict(row.choices)) for row in rows]

    together = values()
    monkeypatch.setattr(trainer, "students_at_once", lambda *_: 2)
    for (few, few_chosen), (many, many_chosen) in zip(values(), together, strict=True):
        assert few == pytest.approx(many, abs=0.05)
        assert few_chosen == many_chosen


def test_other_steps_are_those_of_a_training_of_that_length():
    made = make_distilled(method="hard")
    options = {"students": ["mlp:width=4"], "seeds": 2, "label_sets": ["distilled"]}
    long = evaluate_students(
        made, TEST, recipe=Recipe(checkpoints=(2,)), step_factors=[6.0], **options
    )
    short = evaluate_students(made, TEST, recipe=Recipe(checkpoints=(12,)), **options)
    assert long[1].values == short[0].values
    assert long[0].values != long[1].values


def test_students_are_those_that_the_labels_were_learned_with():
    made = make_distilled(method="hard", student="mlp:width=4")
    rows = evaluate_students(made, TEST, seeds=1, recipe=QUICK, label_sets=["hard"])
    assert [row.network for row in rows] == ["mlp:width=4"]
    unknown = dataclasses.replace(made, provenance={"student": "a network of my own"})
    rows = evaluate_students(unknown, TEST, seeds=1, recipe=QUICK, label_sets=["hard"])
    assert [row.network for row in rows] == [str(default_student((1, 8, 8)))]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"optimisers": ["adagrad"]}, "`optimisers` must be one of adam"),
        ({"step_factors": [0.0]}, "`step_factors` must be finite and above zero"),
        ({"label_sets": ["soft"]}, "`label_sets` must be one of distilled"),
    ],
)
def test_unknown_cells_are_refused_before_the_work(options, match, monkeypatch):
    def work(*_, **__):
        raise AssertionError("work began")

    monkeypatch.setattr(protocol, "evaluate_heads", work)
    with pytest.raises(InputError, match=match):
        evaluate(make_distilled(), TEST, **options)


# Students: rows. --------------------------------------------------------------------------------


def test_a_student_that_cannot_be_is_a_row_with_its_reason():
    data = make_features(30, 5)
    made = make_distilled(data)
    rows = evaluate(
        made, make_features(20, 5, seed=1), train=data, students=["lenet", "mlp:width=4"],
        seeds=2, recipe=QUICK,
    )  # fmt: skip
    failed = [row for row in rows if row.network == "lenet"]
    assert [row.labels for row in failed] == ["distilled", "hard", "smoothed", "full"]
    for row in failed:
        assert row.values == ()
        assert row.accuracy is None
        assert row.accuracy_ci is None
        assert "lenet" in row.status
    assert all(row.status == "ok" for row in rows if row.network == "mlp:width=4")


def test_a_network_without_weights_is_a_failed_student():
    rows = evaluate(make_distilled(), TEST, students=["pixels"], seeds=1, recipe=QUICK)
    assert "has no weights to train" in by_labels(rows, "students")["distilled"].status


def test_students_learn_what_labels_say():
    data = make_images(60)
    made = make_distilled(data, m=30, method="hard")
    recipe = Recipe(checkpoints=(25,), lr=1e-2)
    rows = evaluate(made, TEST, train=data, students=[MLP(width=16)], seeds=1, recipe=recipe)
    rows = by_labels(rows, "students")
    assert rows["distilled"].values == rows["hard"].values
    assert rows["hard"].accuracy > 0.8
    assert rows["full"].accuracy >= rows["hard"].accuracy - 0.05


def test_equal_seeds_give_equal_values_and_others_others():
    def values(seed):
        rows = evaluate(
            make_distilled(), TEST, students=["mlp:width=4"], seeds=3, recipe=QUICK, seed=seed
        )
        return [row.values for row in rows]

    assert values(0) == values(0)
    assert values(0) != values(1)


def test_repetitions_do_not_depend_on_how_many_there_are():
    few, many = (
        evaluate(make_distilled(pool=3), TEST, students=["mlp:width=4"], seeds=n, recipe=QUICK)
        for n in (1, 3)
    )
    for one, three in zip(few, many, strict=True):
        assert one.values == three.values[:1]
        assert len(three.values) == 3
    spread = {row.values for row in many if row.setting != "same_extractor"}
    assert any(len(set(values)) > 1 for values in spread)


@pytest.mark.parametrize(
    ("test", "match"),
    [
        (make_images(9, shape=(1, 9, 9)), r"examples of shape \(1, 8, 8\).*has \(1, 9, 9\)"),
        (make_images(9, classes=("a", "b")), "labelled with 3 classes.*2 classes"),
        (make_images(9, classes=("a", "b", "x")), "or other names"),
    ],
)
def test_other_data_than_the_artefacts_are_refused(test, match):
    with pytest.raises(InputError, match=match):
        evaluate(make_distilled(), test)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seeds": 0}, "`seeds` must be 1 or more; got 0"),
        ({"students": ["lenot"]}, "Did you mean `lenet`"),
        ({"unseen": "convnet:depth=9"}, "needs images of at least"),
    ],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        evaluate(make_distilled(), TEST, **{"students": (), **options})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"checkpoints": ()}, "rising positive steps"),
        ({"checkpoints": (0, 5)}, "rising positive steps"),
        ({"checkpoints": (5, 5)}, "rising positive steps"),
        ({"checkpoints": (7, 5)}, "rising positive steps"),
        ({"batch_size": 0}, "1 or more"),
        ({"lr": 0.0}, "finite and above zero"),
    ],
)
def test_wrong_recipes_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        Recipe(**options)
