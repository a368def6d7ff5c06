"""Choices on validation: against students trained one by one, and by construction."""

import pytest
import torch
from artifact.makers import make_images
from methods.tasks import student_task

from cvxdistill.errors import InputError
from cvxdistill.labels import one_hot
from cvxdistill.methods import choosing
from cvxdistill.methods.choosing import choose_labels, ensemble_logits, tempered
from cvxdistill.seeding import derive_seed
from cvxdistill.students import Recipe, Students, draw_student

RECIPE = Recipe(checkpoints=(10, 30), lr=0.01)


def candidates(task):
    """The true labels, and labels that are each one class off."""
    right = one_hot(task.base.labels, 3)
    return {"wrong": right.roll(1, dims=1), "right": right}


def test_the_table_is_that_of_students_trained_alone():
    task = student_task()
    chosen = choose_labels(task, candidates(task), "distribution", recipe=RECIPE, students=2)
    base, query = task.preprocessing(task.base.images), task.preprocessing(task.validation.images)
    for key, labels in candidates(task).items():
        for steps in RECIPE.checkpoints:
            scores = []
            for index in range(2):
                module = draw_student(
                    task.network, base.shape[1:], 3, seed=derive_seed(task.seed, "choice", index)
                )
                optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
                for _ in range(steps):
                    optimiser.zero_grad()
                    torch.nn.functional.cross_entropy(module(base), labels.float()).backward()
                    optimiser.step()
                guess = module(query).argmax(1)
                scores.append(float((guess == task.validation.labels).double().mean()))
            # One example more or less, since sums are taken in another order.
            expected = sum(scores) / 2
            assert chosen.table[key][steps] == pytest.approx(expected, abs=0.5 / len(query))


def test_better_labels_are_chosen_with_their_steps():
    task = student_task()
    chosen = choose_labels(task, candidates(task), "distribution", recipe=RECIPE, students=2)
    assert chosen.key == "right"
    assert chosen.accuracy == max(chosen.table["right"].values()) > 0.7
    assert max(chosen.table["wrong"].values()) < 0.3
    assert chosen.table["right"][chosen.steps] == chosen.accuracy
    assert chosen.recipe == Recipe(checkpoints=(chosen.steps,), lr=0.01)


def test_of_equals_the_first_and_the_fewest_steps_win():
    task = student_task()
    same = one_hot(task.base.labels, 3)
    recipe = Recipe(checkpoints=(100, 150), lr=0.02)
    chosen = choose_labels(
        task, {"one": same, "other": same}, "distribution", recipe=recipe, students=1
    )
    assert chosen.table["one"] == chosen.table["other"]
    assert chosen.table["one"][100] == chosen.table["one"][150], "the data are easy"
    assert (chosen.key, chosen.steps) == ("one", 100)


def test_choices_do_not_depend_on_how_many_train_at_once(monkeypatch):
    task, seen = student_task(), []

    class Counted(Students):
        def __init__(self, *given, seeds, **options):
            seen.append(len(seeds))
            super().__init__(*given, seeds=seeds, **options)

    monkeypatch.setattr(choosing, "Students", Counted)
    together = choose_labels(task, candidates(task), "distribution", recipe=RECIPE, students=2)
    monkeypatch.setattr(choosing, "students_at_once", lambda *given: 3)
    apart = choose_labels(task, candidates(task), "distribution", recipe=RECIPE, students=2)
    assert seen == [4, 2, 2]
    for key in ("right", "wrong"):
        assert apart.table[key] == pytest.approx(together.table[key], abs=0.5 / 30)


def test_scores_are_read_as_scores():
    task = student_task()
    right = one_hot(task.base.labels, 3)
    scores = {"small": -right, "large": 6 * right - 2}
    recipe = Recipe(checkpoints=(60,), lr=0.01)
    chosen = choose_labels(task, scores, "scores", recipe=recipe, students=1)
    assert chosen.key == "large"
    assert chosen.accuracy > 0.7


def test_other_examples_take_the_place_of_the_base():
    task = student_task()
    turned = task.base.images.flip(0)
    labels = {"turned": one_hot(task.base.labels, 3).flip(0), "right": one_hot(task.base.labels, 3)}
    for examples, key in ((turned, "turned"), (None, "right")):
        chosen = choose_labels(
            task, labels, "distribution", recipe=RECIPE, students=1, examples=examples
        )
        assert chosen.key == key


def test_validation_is_a_draw_of_at_most_so_many():
    task = student_task(validation=make_images(40, seed=5))
    query, truth = choosing.validation_draw(task, 7)
    whole = task.preprocessing(task.validation.images)
    places = [int(((whole - one).abs().flatten(1).amax(1)).argmin()) for one in query]
    assert len(set(places)) == 7
    assert places != list(range(7))
    assert truth.tolist() == task.validation.labels[places].tolist()


def test_choices_need_validation_candidates_and_students():
    task = student_task()
    labels = candidates(task)
    for validation in (None, task.validation.subset(torch.arange(0))):
        empty = student_task(validation=validation)
        with pytest.raises(InputError, match=r"needs validation examples; got none\. Set some"):
            choose_labels(empty, labels, "distribution", recipe=RECIPE)
    with pytest.raises(InputError, match=r"needs candidates, students.*got 0, 3 and 2000"):
        choose_labels(task, {}, "distribution", recipe=RECIPE)
    with pytest.raises(InputError, match="got 2, 0 and 2000"):
        choose_labels(task, labels, "distribution", recipe=RECIPE, students=0)


def test_an_ensemble_averages_centred_logits():
    task = student_task()
    students = Students(task.network, (1, 8, 8), 3, seeds=[1, 2])
    images = task.preprocessing(task.base.images)
    each = [draw_student(task.network, (1, 8, 8), 3, seed=seed)(images) for seed in (1, 2)]
    expected = sum(one - one.mean(1, keepdim=True) for one in each) / 2
    found = ensemble_logits(students, images)
    assert found.dtype == torch.float64
    assert torch.allclose(found, expected.double(), atol=1e-6)


def test_a_temperature_divides_the_logits():
    found = tempered(torch.tensor([[0.0, 3.0]]).double(), 1.5)
    assert float(found[0, 1]) == pytest.approx(0.8807970779778823)
    with pytest.raises(InputError, match=r"`temperature` must be finite and above zero; got 0"):
        tempered(found, 0)
