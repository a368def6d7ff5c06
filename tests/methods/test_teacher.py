"""Teachers: labels by hand from their logits, the choice by construction, and real digits."""

import dataclasses

import numpy as np
import pytest
import torch
from artifact.makers import make_features, make_images
from methods.tasks import interrupted, student_task

from cvxdistill.choose import choose_base
from cvxdistill.data import load_splits
from cvxdistill.errors import InputError
from cvxdistill.features import MLP, ConvNet, Preprocessing
from cvxdistill.labels import one_hot
from cvxdistill.methods import Journal, parse_method, qin2024_teacher
from cvxdistill.methods.choosing import Chosen, choose_labels
from cvxdistill.methods.qin2024_teacher import TEMPERATURES, Teacher, choose_reading
from cvxdistill.methods.teachers import Teachers, geometric_steps
from cvxdistill.problem import Status
from cvxdistill.seeding import derive_seed
from cvxdistill.students import Recipe, Students, batch_rows, draw_student

SMALL = Teacher(teachers=2, steps=60, batch_size=8, checkpoints=3, students=1, student_steps=40)


def test_labels_at_a_temperature_by_hand():
    task = student_task()
    method = Teacher(teachers=2, steps=7, batch_size=8, choose=False, temperature=2.5)
    result = method.run(task)
    teachers = Teachers(task, 2, batch_size=8)
    for _ in range(7):
        teachers.step()
    base = task.preprocessing(task.base.images)
    each = [module(base).double().numpy() for module in teachers.students.modules()]
    mean = np.mean([logits - logits.mean(1, keepdims=True) for logits in each], axis=0) / 2.5
    expected = np.exp(mean) / np.exp(mean).sum(1, keepdims=True)
    assert np.allclose(result.labels.numpy(), expected, atol=1e-6)
    assert result.stats["teacher_steps"] == 7
    assert result.stats["teacher_epochs"] == pytest.approx(7 * 8 / 30)
    assert result.target_passes == pytest.approx(2 * 7 * 8 / 30)
    assert result.recipe is None
    scores = dataclasses.replace(method, reading="scores").run(task)
    assert scores.label_kind == "scores"
    assert np.allclose(scores.labels.numpy(), mean, atol=1e-6)


def test_opinions_are_means_over_what_students_will_see():
    task = student_task(student=ConvNet(width=4, depth=1))
    method = Teacher(teachers=2, steps=7, batch_size=8, choose=False, temperature=1.0)
    method = dataclasses.replace(method, augment="flip", reading="scores")
    result = method.run(task)
    assert result.recipe == Recipe(augment="flip")
    teachers = Teachers(task, 2, batch_size=8)
    for _ in range(7):
        teachers.step()
    images = task.base.images
    sides = [teachers.logits(one) for one in (images, images.flip(-1))]
    assert not torch.allclose(*sides, atol=1e-2)
    assert torch.allclose(result.labels, (sides[0] + sides[1]) / 2, atol=1e-6)


def test_students_of_a_choice_see_it_too(monkeypatch):
    seen = []
    task = student_task(student=ConvNet(width=4, depth=1))
    fit = Students.fit

    def spy(self, *arguments, recipe, **options):
        seen.append(recipe.augment)
        return fit(self, *arguments, recipe=recipe, **options)

    monkeypatch.setattr(Students, "fit", spy)
    result = dataclasses.replace(SMALL, augment="shift").run(task)
    assert set(seen) == {"shift"}
    assert result.recipe.augment == "shift"


@pytest.mark.parametrize("kind", ["teacher", "alternating"])
def test_augmentation_of_feature_vectors_is_refused_before_the_work(kind):
    task = student_task(make_features(), validation=None)
    method = parse_method(f"{kind}:augment=flip")
    with pytest.raises(InputError, match="`augment` is for images"):
        method.learner(task)
    with pytest.raises(InputError, match="flip-shift"):
        parse_method(f"{kind}:augment=rotate")


def test_teachers_train_by_adam_on_mini_batches_of_the_target():
    task = student_task()
    teachers = Teachers(task, 2, batch_size=8)
    for _ in range(5):
        teachers.step()
    images = task.preprocessing(task.target.images)
    for index, found in enumerate(teachers.students.modules()):
        seed = derive_seed(task.seed, "teacher", index)
        module = draw_student(task.network, (1, 8, 8), 3, seed=seed).train()
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
        for step in range(5):
            rows = batch_rows(30, 8, derive_seed(task.seed, "teacher", "batches"), step)
            loss = torch.nn.functional.cross_entropy(module(images[rows]), task.target.labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        for one, other in zip(found.parameters(), module.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_a_target_smaller_than_a_batch_is_used_whole():
    teachers = Teachers(student_task(), 1, batch_size=999)
    teachers.step()
    assert teachers.epochs == 1


# The choice. ------------------------------------------------------------------------------------


def opinions(task, *, good, marks=(10, 20, 40)):
    """Logits that name the right class at one checkpoint and the next class at the others."""
    right = 8 * one_hot(task.base.labels, 3)
    return {mark: right if mark == good else right.roll(1, dims=1) for mark in marks}


@pytest.mark.parametrize("search", ["grid", "halving"])
@pytest.mark.parametrize("good", [10, 20, 40])
def test_the_checkpoint_is_the_one_that_students_prefer(search, good):
    task = student_task()
    method = dataclasses.replace(SMALL, search=search, temperature=2.0)
    chosen = choose_reading(task, opinions(task, good=good), method)
    assert chosen.key == (good, 2.0)
    assert chosen.accuracy > 0.6


def score(place):
    """A landscape with one top, at checkpoint 20 and temperature 3, along whose axes one climbs."""
    return 1 - 0.01 * abs(place[0] - 20) - 0.05 * abs(TEMPERATURES.index(place[1]) - 3)


@pytest.mark.parametrize(("search", "work"), [("grid", 18 * 4 * 80), ("halving", None)])
def test_both_searches_find_the_top_and_halving_costs_less(search, work, monkeypatch):
    asked = []

    def fake(task, candidates, label_kind, *, recipe, students):
        assert label_kind == "distribution"
        asked.append(len(candidates) * students * recipe.checkpoints[-1])
        table = {place: dict.fromkeys(recipe.checkpoints, score(place)) for place in candidates}
        best = max(table, key=score)
        return Chosen(best, Recipe(checkpoints=(recipe.checkpoints[0],)), score(best), table)

    monkeypatch.setattr(qin2024_teacher, "choose_labels", fake)
    task = student_task()
    method = dataclasses.replace(SMALL, students=4, student_steps=80, search=search)
    chosen = choose_reading(task, opinions(task, good=20), method)
    assert chosen.key == (20, 3.0)
    # Six temperatures and two more checkpoints at half of the steps, the two beside the best
    # temperature there, and two finalists.
    assert sum(asked) == (work or (6 + 2 + 2) * 40 + 2 * 4 * 80)


def test_the_labels_are_those_of_the_choice_with_its_steps():
    task = student_task()
    method = dataclasses.replace(SMALL, search="grid")
    learner = method.learner(task)
    for index in range(learner.total):
        learner.step(index)
    result = learner.result()
    assert learner.marks == (3, 15, 60)
    kept = dict(zip(learner.marks, learner.kept, strict=True))
    chosen = choose_reading(task, kept, method)
    steps, temperature = chosen.key
    assert torch.equal(result.labels, (kept[steps] / temperature).softmax(1))
    assert result.recipe.checkpoints == (chosen.steps,)
    assert result.stats == {
        "teacher_steps": steps,
        "teacher_epochs": steps * 8 / 30,
        "temperature": temperature,
        "validation_accuracy": chosen.accuracy,
        "student_steps": chosen.steps,
    }


@pytest.mark.parametrize("options", [{"validation": None}, {}])
def test_without_a_choice_it_is_the_last_word_at_temperature_four(options):
    task = student_task(**options)
    result = dataclasses.replace(SMALL, choose="validation" in options).run(task)
    again = dataclasses.replace(SMALL, choose=False, temperature=4.0).run(task)
    assert torch.equal(result.labels, again.labels)
    assert (result.stats["teacher_steps"], result.stats["temperature"]) == (60, 4)
    assert result.recipe is None


def test_checkpoints_are_geometric_and_distinct():
    assert geometric_steps(600, 6) == (37, 65, 113, 197, 344, 600)
    assert geometric_steps(3, 6) == (1, 3)
    assert geometric_steps(50, 1) == (50,)


# Runs. ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_run_ends_with_the_same_bits(after):
    task = student_task()
    result, whole = interrupted(SMALL, task, after), SMALL.run(task)
    assert torch.equal(result.labels, whole.labels)
    assert result.stats == whole.stats
    assert result.recipe == whole.recipe


def test_a_state_brings_back_opinions_and_teachers():
    task = student_task()
    first, second = SMALL.learner(task), SMALL.learner(task)
    for index in range(2):
        first.step(index)
    assert len(first.kept) == 2
    state = first.state()
    second.restore(state)
    found = second.state()
    assert found.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in found.items())


def test_a_run_without_time_gives_the_opinion_so_far():
    task = student_task(journal=Journal(budget=0.0))
    result = SMALL.run(task)
    assert result.status is Status.STOPPED_EARLY
    assert result.stats["teacher_steps"] == 0


def test_foreign_images_are_labelled_in_the_classes_of_the_target():
    letters = make_images(9, classes=("x", "y", "z", "w"), name="letters")
    task = student_task(base=choose_base(letters, 4))
    result = SMALL.run(task)
    assert result.labels.shape == (4, 3)
    # Their blocks are those of the first three classes, which the teachers know.
    assert result.labels.argmax(1)[:3].tolist() == letters.labels[:3].tolist()


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("teacher:teachers=0", "`teachers` must be 1 or more; got 0"),
        ("teacher:temperature=0", "`temperature` must be finite and above zero"),
        ("teacher:search=all", "`search` must be one of auto, grid, halving; got `all`"),
    ],
)
def test_bad_options_are_refused(spec, match):
    with pytest.raises(ValueError, match=match):
        parse_method(spec)


def test_students_do_better_on_teachers_labels_of_digits_than_on_true_ones():
    data = load_splits("digits")
    task = student_task(
        data.train,
        m=20,
        validation=data.validation,
        student=MLP(width=32),
        preprocessing=Preprocessing.fit(data.train),
    )
    method = Teacher(
        steps=150, batch_size=64, checkpoints=1, temperature=3.0, students=1, student_steps=240
    )
    result = method.run(task)
    truth = {"true": one_hot(task.base.labels, 10)}
    recipe = Recipe(checkpoints=(60, 120, 240))
    true = choose_labels(task, truth, "distribution", recipe=recipe, students=1)
    test = data.test()
    query = task.preprocessing(test.images)
    accuracy = {}
    for name, labels, chosen in (
        ("teacher", result.labels, result.recipe),
        ("true", truth["true"], true.recipe),
    ):
        students = Students(task.network, (1, 8, 8), 10, seeds=[100, 101, 102])
        list(
            students.fit(
                task.preprocessing(task.base.images), labels, "distribution", recipe=chosen
            )
        )
        accuracy[name] = float((students.predict(query).argmax(-1) == test.labels).float().mean())
    assert accuracy["teacher"] > accuracy["true"] + 0.04, accuracy


@pytest.mark.gpu
def test_a_gpu_gives_the_same_labels_up_to_rounding():
    task = student_task()
    there = dataclasses.replace(
        task, device=torch.device("cuda"), preprocessing=task.preprocessing.to("cuda")
    )
    method = Teacher(teachers=2, steps=10, batch_size=8, choose=False)
    assert torch.allclose(method.run(there).labels, method.run(task).labels, atol=1e-3)
    result = interrupted(dataclasses.replace(SMALL, steps=120), there, 2)
    assert result.stats["validation_accuracy"] > 0.6
