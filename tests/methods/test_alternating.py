"""Labels by tangent kernels: the order of the work, what is kept, and a gain on real digits."""

import dataclasses

import pytest
import torch
from artifact.makers import make_images

from cvxdistill.choose import choose_base
from cvxdistill.data import load_splits
from cvxdistill.errors import InputError
from cvxdistill.features import MLP, ConvNet, Preprocessing
from cvxdistill.heads import RidgeHead
from cvxdistill.methods import Alternating, DistillTask, alternating, parse_method
from cvxdistill.methods.choosing import choose_labels
from cvxdistill.students import Recipe, Students, predict, tangent_transfers

TINY = Alternating(teachers=2, teacher_steps=8, rounds=2, students=2, student_steps=4, examples=20)


STUDENT = MLP(width=16)


def task_on(data, *, m=6, student=STUDENT, **options):
    return DistillTask(
        base=choose_base(data, m),
        target=data,
        extractors=(),
        preprocessing=Preprocessing.fit(data),
        head=RidgeHead(),
        student=student,
        **{"validation": data, **options},
    )


@pytest.mark.parametrize(
    "options",
    [{"rounds": -1}, {"students": 0}, {"l2": 0.0}, {"pull": 0.0}, {"combinations": 0}],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(InputError, match=f"`{next(iter(options))}`"):
        Alternating(**options)


def test_students_and_their_kernels_see_what_the_recipe_says(monkeypatch):
    task = task_on(make_images(30), student=ConvNet(width=4, depth=1))
    kernels, shown = [], []
    transfers, fit = alternating.tangent_transfers, Students.fit

    def spy(*arguments, **options):
        kernels.append((options["augment"], options["combinations"]))
        return transfers(*arguments, **options)

    def watch(self, *arguments, recipe, **options):
        shown.append(recipe.augment)
        return fit(self, *arguments, recipe=recipe, **options)

    monkeypatch.setattr(alternating, "tangent_transfers", spy)
    monkeypatch.setattr(Students, "fit", watch)
    result = dataclasses.replace(TINY, augment="flip", combinations=2).run(task)
    assert kernels == [("flip", 2)] * TINY.rounds
    assert set(shown) == {"flip"}
    assert result.recipe.augment == "flip"


def test_without_rounds_the_labels_are_the_teachers_centred_logits():
    task = task_on(make_images(30))
    method = dataclasses.replace(TINY, rounds=0, scale=3.0)
    learner = method.learner(task)
    for index in range(learner.blocks):
        learner.step(index)
    opinions = learner.opinions
    result = method.run(task)
    assert any(torch.equal(result.labels, opinion) for opinion in opinions)
    assert float(result.labels.square().mean()) == pytest.approx(9.0)
    assert torch.allclose(result.labels.sum(1), torch.zeros(6).double(), atol=1e-9)


def test_a_round_adds_the_solution_of_the_convex_problem(monkeypatch):
    """One round by hand: the same students, transfers and answers, and the solver's move."""
    task = task_on(make_images(30), validation=None)
    learner = TINY.learner(task)
    for index in range(learner.blocks + 1):
        learner.step(index)
    labels, seen = learner.candidates[0].clone(), {}

    def solve(offsets, transfers, classes, *, weight):
        seen.update(offsets=offsets, transfers=transfers, classes=classes, weight=weight)
        return torch.ones_like(labels)

    monkeypatch.setattr(alternating, "solve_displacement", solve)
    learner.step(learner.blocks + 1)
    assert torch.equal(learner.candidates[0], labels + 1)
    assert seen["weight"] == pytest.approx(TINY.pull / float(labels.square().sum()))
    seed = alternating.derive_seed(0, "alternating", 0)
    seeds = [alternating.derive_seed(seed, "student", index) for index in range(2)]
    students = Students(task.network, task.base.shape, 3, seeds=seeds)
    base = task.preprocessing(task.base.images)
    recipe = Recipe(checkpoints=(2, 4))
    assert list(students.fit(base, labels, "scores", recipe=recipe)) == [2, 4]
    stream = alternating.generator(seed, "target examples")
    rows = torch.stack([torch.randperm(30, generator=stream)[:20] for _ in range(2)])
    queries = [task.preprocessing(task.target.images[row]) for row in rows]
    for module, query, offsets in zip(students.modules(), queries, seen["offsets"], strict=True):
        assert torch.equal(predict(module, query), offsets)
    assert torch.equal(torch.stack(seen["classes"]), task.target.labels[rows])
    transfers = tangent_transfers(students, base, torch.stack(queries), l2=TINY.l2, seed=seed)
    assert torch.equal(torch.stack(seen["transfers"]), transfers)


def test_the_labels_that_validation_preferred_are_kept(monkeypatch):
    scores = iter([0.5, 0.6, 0.9, 0.7, 0.8, 0.2])
    monkeypatch.setattr(alternating, "accuracies", lambda *_: [next(scores)])
    learner = TINY.learner(task_on(make_images(30)))
    tried = []
    for index in range(learner.total):
        tried.append(learner.candidates)
        learner.step(index)
    result = learner.result()
    # The third value is that of the second round, after half of the steps.
    assert torch.equal(result.labels, tried[learner.blocks + 2][0])
    assert result.recipe == Recipe(checkpoints=(2,))
    assert result.stats["validation_accuracy"] == pytest.approx(0.9)


def test_a_student_without_a_tangent_kernel_is_refused_before_any_training():
    task = task_on(make_images(30), student=ConvNet(width=4, depth=1, norm="batch"))
    with pytest.raises(InputError, match=r"convnet.*norm=batch.*Use another norm"):
        TINY.learner(task)
    dataclasses.replace(TINY, rounds=0).learner(task)


def test_teachers_that_the_budget_stops_are_asked_as_they_are(monkeypatch):
    method = dataclasses.replace(TINY, teacher_steps=100)
    learner = method.learner(task_on(make_images(30)))
    learner.step(0)
    asked = {}

    def choose(task, candidates, *arguments, **options):
        asked.update(candidates)
        return choose_labels(task, candidates, *arguments, **options)

    monkeypatch.setattr(alternating, "choose_labels", choose)
    result = learner.result()
    assert 25 not in learner.marks
    assert len(asked) == len(learner.opinions) + 1
    assert torch.equal(asked[len(learner.opinions)], learner._scaled_opinion())
    assert any(torch.equal(result.labels, labels) for labels in asked.values())
    blind = method.learner(task_on(make_images(30), validation=None))
    blind.step(0)
    assert torch.equal(blind.result().labels, blind._scaled_opinion())


def test_validation_picks_among_pulls(monkeypatch):
    monkeypatch.setattr(
        alternating,
        "accuracies",
        lambda stack, query, truth, students: list(range(len(stack.seeds) // students)),
    )
    method = dataclasses.replace(TINY, pull=None, rounds=1)
    learner = method.learner(task_on(make_images(30)))
    for index in range(learner.total):
        learner.step(index)
    assert len(learner.candidates) == len(alternating.PULLS)
    assert torch.equal(learner.result().labels, learner.candidates[-1])
    # The higher the price, the shorter the move.
    lengths = [float((one - learner.opinions[0]).norm()) for one in learner.candidates]
    assert lengths == sorted(lengths, reverse=True)


def test_passes_over_the_target_are_counted():
    task = task_on(make_images(30), validation=None)
    taught = 2 * 8  # two teachers, eight batches of the whole target
    assert TINY.run(task).target_passes == pytest.approx(taught + 2 * 2 * 20 / 30)


def test_its_labels_beat_the_teachers_on_digits():
    data = load_splits("digits")
    task = task_on(data.train, m=20, student=MLP(width=64), validation=data.validation)
    method = parse_method(
        "alternating:teachers=2,teacher_steps=100,rounds=2,students=2,student_steps=120,examples=300"
    )
    learner = method.learner(task)
    scores = []
    for index in range(learner.total):
        learner.step(index)
        scores.append(learner.score)
    taught, ours = scores[learner.blocks + 1], learner.result()
    assert ours.stats["validation_accuracy"] >= taught + 0.02
    seeds = list(range(50, 55))
    test = data.test()
    students = Students(task.network, task.base.shape, 10, seeds=seeds)
    base = task.preprocessing(task.base.images)
    list(students.fit(base, ours.labels, ours.label_kind, recipe=ours.recipe))
    right = students.predict(task.preprocessing(test.images)).argmax(-1) == test.labels
    assert float(right.double().mean()) > taught
