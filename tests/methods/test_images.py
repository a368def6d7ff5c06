"""Learning through training: gradients by other routes, what students then do, and real digits."""

import dataclasses
import math

import pytest
import torch
from artifact.makers import make_features, make_images
from cases import draw
from methods.tasks import interrupted, student_task
from torch.func import functional_call
from truths import relative_error

from cvxdistill.choose import choose_base
from cvxdistill.data import load_splits
from cvxdistill.distill import distill
from cvxdistill.errors import InputError
from cvxdistill.features import MLP, Preprocessing, parse_network
from cvxdistill.labels import one_hot
from cvxdistill.methods import Images, ImagesLabels, parse_method
from cvxdistill.methods.choosing import choose_labels
from cvxdistill.methods.unrolling import unrolled_gradient, unrolled_weights
from cvxdistill.students import (
    WORTH_RECORDING,
    Recipe,
    Recorded,
    Students,
    batch_rows,
    draw_student,
)

SMALL = {"steps": 3, "inner_steps": 3, "inner_epochs": 1, "networks": 2, "batch_size": 12}
SEEDS = (5, 6)
ROWS = {"whole": [None] * 3, "parts": [torch.tensor(r) for r in ([0, 2], [1, 3], [3, 0])]}


# The gradient. ----------------------------------------------------------------------------------


def problem(network="mlp:width=5,depth=2", shape=(1, 4, 4)):
    """Networks and data in float64, and the loss after training by one graph of plain modules."""
    kind = parse_network(network)
    networks = Students(kind, shape, 3, seeds=SEEDS)
    networks.parameters = {
        key: value.detach().double() for key, value in networks.parameters.items()
    }
    networks.buffers = {key: value.double() for key, value in networks.buffers.items()}
    examples, labels = draw(4, *shape, seed=1), draw(4, 3, seed=2).softmax(1)
    sizes = torch.tensor([0.5, 0.3, 0.4], dtype=torch.float64)
    query, truth = draw(9, *shape, seed=3), torch.arange(9) % 3

    def loss(examples, labels, sizes, rows):
        total = 0.0
        for seed in SEEDS:
            module = draw_student(kind, shape, 3, seed=seed).double().train()
            weights = dict(module.named_parameters())
            for size, part in zip(sizes, rows, strict=True):
                x, y = (examples, labels) if part is None else (examples[part], labels[part])
                value = torch.nn.functional.cross_entropy(functional_call(module, weights, x), y)
                slopes = torch.autograd.grad(value, list(weights.values()), create_graph=True)
                weights = {
                    key: weight - size * slope
                    for (key, weight), slope in zip(weights.items(), slopes, strict=True)
                }
            logits = functional_call(module, weights, query)
            total = total + torch.nn.functional.cross_entropy(logits, truth) / len(SEEDS)
        return total

    return networks, (examples, labels, sizes), (query, truth), loss


@pytest.mark.parametrize("rows", ROWS.values(), ids=list(ROWS))
@pytest.mark.parametrize("network", ["mlp:width=5,depth=2", "convnet:width=3,depth=1"])
def test_the_gradient_is_that_of_the_whole_graph(network, rows):
    networks, given, seen, loss = problem(network)
    leaves = [value.clone().requires_grad_() for value in given]
    value = loss(*leaves, rows)
    expected = torch.autograd.grad(value, leaves)
    found = unrolled_gradient(networks, *given, *seen, rows)
    assert relative_error(found.loss, value.detach()) < 1e-12
    for one, other in zip((found.examples, found.labels, found.step_sizes), expected, strict=True):
        assert relative_error(one, other) < 1e-10


@pytest.mark.parametrize("rows", ROWS.values(), ids=list(ROWS))
def test_the_gradient_is_that_of_finite_differences(rows):
    networks, given, seen, _ = problem()
    found = unrolled_gradient(networks, *given, *seen, rows)
    slopes = (found.examples, found.labels, found.step_sizes)
    for index, (value, slope) in enumerate(zip(given, slopes, strict=True)):
        way = draw(*value.shape, seed=20 + index)
        ends = []
        for sign in (1, -1):
            moved = list(given)
            moved[index] = value + sign * 1e-6 * way
            ends.append(unrolled_gradient(networks, *moved, *seen, rows).loss)
        difference = (ends[0] - ends[1]) / 2e-6
        assert relative_error((slope * way).sum(), difference) < 1e-6


def test_weights_follow_plain_gradient_descent_and_the_networks_stay():
    networks, given, _, _ = problem()
    before = networks.weights()
    trail = unrolled_weights(networks, *given, ROWS["whole"])
    assert len(trail) == 4
    for index, seed in enumerate(SEEDS):
        module = draw_student(parse_network("mlp:width=5"), (1, 4, 4), 3, seed=seed).double()
        for size, weights in zip(given[2], trail[1:], strict=True):
            module.zero_grad()
            torch.nn.functional.cross_entropy(module(given[0]), given[1]).backward()
            for key, weight in module.named_parameters():
                weight.data -= size * weight.grad
                assert relative_error(weights[key][index].detach(), weight.detach()) < 1e-10
    assert all(torch.equal(value, before[key]) for key, value in networks.weights().items())


def test_the_gradient_passes_through_the_preprocessing():
    data = make_images(60)
    ready = Preprocessing.fit(data, zca=True)
    # Smooth but for ReLU, and one step: differences in float32 are then good to a percent.
    task = student_task(data, preprocessing=ready, student=MLP(width=32, depth=1))
    method = Images(**{**SMALL, "inner_steps": 1, "batch_size": 60, "step_size": 0.5, "lr": 1e-9})
    learner = method.learner(task)
    learner.step(0)
    slope = learner.values["images"].grad
    ends = []
    for sign in (1, -1):
        moved = method.learner(task)
        with torch.no_grad():
            moved.values["images"] += sign * 1e-2 * slope / slope.norm()
        moved.step(0)
        ends.append(float(moved.loss))
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(float(slope.norm()), rel=0.03)


# What is learned. -------------------------------------------------------------------------------


@pytest.mark.parametrize("divide", [False, True])
def test_students_take_the_steps_that_were_learned(divide):
    task = student_task()
    result = Images(**{**SMALL, "inner_epochs": 2}, divide=divide).run(task)
    recipe = result.recipe
    assert (recipe.optimiser, recipe.checkpoints) == ("sgd", (6,))
    assert recipe.batch_size == (2 if divide else 6)
    assert len(recipe.step_sizes) == 6
    assert min(recipe.step_sizes) > 0
    assert len(set(recipe.step_sizes)) == 6
    students = Students(task.network, (1, 8, 8), 3, seeds=SEEDS)
    networks = Students(task.network, (1, 8, 8), 3, seeds=SEEDS)
    examples = task.preprocessing(result.examples)
    rows = [batch_rows(6, recipe.batch_size, 7, step) for step in range(6)]
    trail = unrolled_weights(
        networks, examples, result.labels.float(), torch.tensor(recipe.step_sizes), rows
    )
    list(students.fit(examples, result.labels, "distribution", recipe=recipe, seed=7))
    for key, value in students.parameters.items():
        assert relative_error(value.detach(), trail[-1][key].detach()) < 1e-6


def test_examples_start_as_the_base_and_move_by_at_most_the_rate():
    task = student_task()
    start = task.base.images / 255
    result = Images(**{**SMALL, "steps": 1}, lr=0.02).run(task)
    moved = (result.examples - start).abs()
    assert result.examples.dtype == torch.float32
    assert 0.019 < float(moved.max()) < 0.0201
    noisy = Images(**{**SMALL, "steps": 1}, lr=1e-9, noise=0.5).run(task)
    assert float((noisy.examples - start).std()) == pytest.approx(0.5, rel=0.1)


def test_images_keep_their_true_labels_and_images_labels_learns_them():
    task = student_task()
    fixed = Images(**SMALL).run(task)
    assert torch.equal(fixed.labels, one_hot(task.base.labels, 3))
    start = ImagesLabels(**SMALL, smoothing=0.3, label_lr=1e-9).run(task).labels
    assert torch.allclose(start, 0.7 * one_hot(task.base.labels, 3) + 0.1, atol=1e-6)
    learned = ImagesLabels(**SMALL, smoothing=0.3).run(task)
    assert float((learned.labels - start).abs().max()) > 0.005
    assert not torch.allclose(learned.examples, fixed.examples)


@pytest.mark.parametrize("method", [Images(**SMALL), ImagesLabels(**SMALL)])
def test_foreign_images_are_assigned_to_the_classes_in_turn(method):
    letters = make_images(20, classes=tuple("wxyz"), name="letters")
    task = student_task(base=choose_base(letters, 5))
    result = method.run(task)
    assert result.labels.argmax(1).tolist() == [0, 1, 2, 0, 1]
    assert result.stats["assigned_classes"] == 1
    assert method.run(student_task()).stats["assigned_classes"] == 0


def test_passes_over_the_target_are_counted():
    result = Images(**SMALL).run(student_task())
    assert result.target_passes == pytest.approx(3 * 2 * 12 / 30)


def test_training_that_diverges_moves_nothing_and_is_said():
    task = student_task()
    learner = Images(**SMALL, step_size=1e20).learner(task)
    assert "target_loss" not in learner.result().stats
    learner.step(0)
    assert torch.equal(learner.values["images"].detach(), task.base.images / 255)
    with pytest.raises(InputError, match=r"diverged in all of the 1 updates.* smaller one"):
        learner.result()


def test_updates_that_diverged_are_counted_and_remembered():
    learner = Images(**SMALL).learner(student_task())
    learner.step(0)
    assert learner.result().stats["diverged_updates"] == 0
    assert math.isfinite(learner.result().stats["target_loss"])
    with torch.no_grad():
        learner.values["step_sizes"].fill_(1e20)
    learner.step(1)
    result = learner.result()
    assert result.stats["diverged_updates"] == 1
    assert "target_loss" not in result.stats
    again = Images(**SMALL).learner(student_task())
    again.restore(learner.state())
    assert again.result().stats == result.stats


@pytest.mark.parametrize("size", [1e-3, 0.1, 100.0, 1e4])
def test_steps_start_at_their_size(size):
    recipe = Images(**SMALL, step_size=size).learner(student_task()).result().recipe
    assert recipe.step_sizes == pytest.approx([size] * 3, rel=1e-4)


def test_feature_vectors_are_learned_as_they_are():
    data = make_features(30, 5)
    distilled = distill(
        choose_base(data, 6), data, method=ImagesLabels(**SMALL), student="mlp:width=8"
    )
    assert distilled.examples.shape == (6, 5)
    assert not torch.equal(distilled.examples, choose_base(data, 6).images)


@pytest.mark.parametrize(
    "method", [Images(**SMALL), Images(**SMALL, divide=True), ImagesLabels(**SMALL, noise=0.1)]
)
@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_run_ends_with_the_same_bits(method, after):
    task = student_task(student=parse_network("convnet:width=4"))
    result, whole = interrupted(method, task, after), method.run(task)
    assert torch.equal(result.labels, whole.labels)
    assert torch.equal(result.examples, whole.examples)
    assert result.recipe == whole.recipe
    assert result.stats == whole.stats
    assert result.target_passes == whole.target_passes


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("images:inner_steps=0", "`inner_steps` must be 1 or more; got 0"),
        ("images:step_size=0", "`step_size` must be finite and above zero"),
        ("images-labels:smoothing=0", r"`smoothing` must lie in \(0, 1\); got 0.0"),
        ("images-labels:label_lr=-1", "`label_lr` must be finite and above zero"),
    ],
)
def test_bad_options_are_refused(spec, match):
    with pytest.raises(ValueError, match=match):
        parse_method(spec)


@pytest.mark.parametrize("kind", [Images, ImagesLabels])
def test_students_do_better_on_learned_digits_than_on_real_ones(kind):
    data = load_splits("digits")
    task = student_task(
        data.train,
        m=10,
        validation=data.validation,
        student=MLP(width=32, depth=1),
        preprocessing=Preprocessing.fit(data.train),
    )
    method = kind(
        steps=25, inner_steps=4, inner_epochs=1, networks=1, batch_size=128, lr=0.05, step_size=0.4
    )
    result = method.run(task)
    truth = one_hot(task.base.labels, 10)
    adam = Recipe(checkpoints=(30, 60, 120))
    true = choose_labels(task, {"true": truth}, "distribution", recipe=adam, students=1)
    test = data.test()
    query = task.preprocessing(test.images)
    accuracy = {}
    for name, examples, labels, recipe in (
        ("learned", result.examples, result.labels, result.recipe),
        ("true", task.base.images, truth, true.recipe),
    ):
        students = Students(task.network, (1, 8, 8), 10, seeds=[100, 101, 102])
        list(students.fit(task.preprocessing(examples), labels, "distribution", recipe=recipe))
        accuracy[name] = float((students.predict(query).argmax(-1) == test.labels).float().mean())
    assert accuracy["learned"] > accuracy["true"] + 0.02, accuracy


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["mlp:width=16", "convnet:width=4,depth=1"])
def test_a_gpu_learns_the_same_up_to_rounding(network):
    task = student_task(student=parse_network(network))
    there = dataclasses.replace(
        task, device=torch.device("cuda"), preprocessing=task.preprocessing.to("cuda")
    )
    method = ImagesLabels(**SMALL)
    here, far = method.run(task), interrupted(method, there, 1)
    assert far.labels.device.type == far.examples.device.type == "cpu"
    assert far.stats["target_loss"] == pytest.approx(here.stats["target_loss"], rel=1e-3)
    # Adam turns a gradient near zero into a step of either sign; most pixels agree.
    assert float(((far.examples - here.examples).abs() < 1e-3).double().mean()) > 0.95


@pytest.mark.gpu
@pytest.mark.parametrize("divide", [False, True])
@pytest.mark.parametrize("network", ["lenet", "convnet:width=4,norm=batch"])
def test_a_recorded_way_back_is_the_way_back(network, divide):
    task = student_task(student=parse_network(network))
    task = dataclasses.replace(
        task, device=torch.device("cuda"), preprocessing=task.preprocessing.to("cuda")
    )
    options = {**SMALL, "steps": WORTH_RECORDING, "divide": divide}
    learners = [ImagesLabels(**options).learner(task) for _ in range(2)]
    learners[0].tried = True
    for index in range(6):
        for learner in learners:
            learner.step(index)
        if index < 2:
            for key, value in learners[0].values.items():
                assert torch.allclose(learners[1].values[key], value, atol=1e-3), key
    assert not isinstance(learners[0].gradient, Recorded)
    assert isinstance(learners[1].gradient, Recorded)
    assert float(learners[1].loss) == pytest.approx(float(learners[0].loss), rel=1e-2)
