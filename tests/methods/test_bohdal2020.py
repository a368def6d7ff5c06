"""The two methods of Bohdal et al. (2020): gradients, heads, restarts, choices, by other means."""

import copy
import dataclasses
import types

import pytest
import torch
from artifact.makers import make_images
from cases import draw, draw_labels
from torch.nn import functional as F
from truths import relative_error

from cvxdistill.choose import choose_base
from cvxdistill.data import load_splits
from cvxdistill.errors import InputError
from cvxdistill.features import Preprocessing, parse_network
from cvxdistill.heads import RidgeHead
from cvxdistill.labels import one_hot
from cvxdistill.methods import DistillTask, OnlineRidge, SecondOrder, bohdal2020_learner
from cvxdistill.methods.bohdal2020_restarts import Restarts, student_steps
from cvxdistill.methods.bohdal2020_ridge import apply_head, ridge_weights
from cvxdistill.methods.bohdal2020_second_order import label_gradient
from cvxdistill.methods.choosing import choose_labels
from cvxdistill.students import WORTH_RECORDING, Recipe, Recorded, quick_layout
from cvxdistill.students.graph import _copied, put_back

SMALL = {"batch_size": 16, "inner_batch": 4, "validate_every": 2, "patience": 2}
RUNS = [
    (OnlineRidge(steps=9, **SMALL), "mlp:width=8"),
    (OnlineRidge(steps=9, init="smoothed", rate=0.5, **SMALL), "convnet:width=2,norm=batch"),
    (SecondOrder(steps=9, **SMALL), "convnet:width=2,norm=batch"),
    (SecondOrder(steps=9, models=2, inner_steps=2, **SMALL), "mlp:width=8"),
]


def task_on(data, *, m=6, network="convnet:width=4", **options):
    return DistillTask(
        base=options.pop("base", choose_base(data, m)),
        target=data,
        extractors=(),
        preprocessing=Preprocessing.fit(data),
        head=RidgeHead(),
        validation=options.pop("validation", data),
        student=parse_network(network),
        **options,
    )


def learner_on(method, **options):
    return method.learner(task_on(make_images(), **options))


def soft_entropy(logits, labels):
    return -(labels * logits.log_softmax(-1)).sum(-1).mean(-1)


def central_differences(function, at, step=1e-5):
    """The gradient of a scalar function, one entry at a time."""
    gradient = torch.zeros_like(at)
    for index in range(at.numel()):
        moved = torch.zeros_like(at).flatten()
        moved[index] = step
        moved = moved.view_as(at)
        gradient.view(-1)[index] = (function(at + moved) - function(at - moved)) / (2 * step)
    return gradient


# The ridge method. ------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "features"), [(4, 9), (9, 4)])
def test_ridge_weights_are_those_of_the_head(rows, features):
    z, labels = draw(rows, features), draw_labels(rows, 3, seed=1)
    fit = RidgeHead(l2=0.7, l2_scale="absolute", intercept="penalised").fit(z, labels)
    found = ridge_weights(z, labels, 0.7)
    assert relative_error(found[:-1], fit.weights) < 1e-10
    assert relative_error(found[-1], fit.intercept) < 1e-10
    query = draw(5, features, seed=2)
    assert relative_error(apply_head(query, found), fit(query)) < 1e-10


def in_the_middle(**options):
    """A learner with a head, a scale and labels that are not what they start from."""
    learner = learner_on(OnlineRidge(rate=0.3, **SMALL), network="mlp:width=8", **options)
    learner.head.copy_(draw(*learner.head.shape, seed=7) / 3)
    with torch.no_grad():
        learner.scale.fill_(1.7)
    learner.labels.copy_(draw_labels(6, 3, seed=4))
    return learner


def reference_losses(learner, images, classes, rows):
    """The two losses of one step as the paper writes them, in float64, on a network of its own.

    The base examples pass the network twice, and the target's features carry gradients.
    """
    trunk = copy.deepcopy(learner.trunk).double()
    scale = learner.scale.detach().double().requires_grad_()
    head = RidgeHead(l2=learner.method.l2, l2_scale="absolute", intercept="penalised")
    rate, base, before = learner.method.rate, learner.base[rows].double(), learner.head.clone()

    def logits(labels, examples):
        fit = head.fit(trunk(base), labels)
        local = torch.cat([fit.weights, fit.intercept[None]])
        weights = (1 - rate) * before + rate * local
        return scale * (trunk(examples) @ weights[:-1] + weights[-1])

    def outer(labels):
        return F.cross_entropy(logits(labels, images.double()), classes)

    def inner(labels, wanted):
        return soft_entropy(logits(labels, base), wanted)

    return trunk, scale, outer, inner


def test_ridge_label_gradient_is_that_of_the_whole_graph(monkeypatch):
    learner = in_the_middle()
    images, classes = learner.task.preprocessing(learner.images), learner.classes
    rows = torch.tensor([4, 0, 3, 1])
    before = learner.labels[rows].clone()
    trunk, scale, outer, inner = reference_losses(learner, images, classes, rows)
    seen = []
    learn = learner.learn
    monkeypatch.setattr(
        learner, "learn", lambda rows, gradient: (seen.append(gradient), learn(rows, gradient))
    )
    network, learned_scale = learner.trunk, learner.scale
    learner.update(images, classes, rows)

    given = before.clone().requires_grad_()
    (expected,) = torch.autograd.grad(outer(given), given)
    assert relative_error(seen[0], expected) < 1e-5
    numeric = central_differences(lambda labels: outer(labels).item(), before)
    assert relative_error(expected, numeric) < 1e-6
    # The network is fitted to the labels as they are after their step, through head and features.
    fit = inner(before, learner.labels[rows])
    weights = list(trunk.parameters())
    gradients = torch.autograd.grad(fit, [*weights, scale])
    found = [weight.grad for weight in network.parameters()]
    for got, wanted in zip([*found, learned_scale.grad], gradients, strict=True):
        assert relative_error(got.double(), wanted) < 1e-4


def test_global_head_is_a_moving_average():
    learner = learner_on(OnlineRidge(rate=0.25, **{**SMALL, "patience": 50}))
    expected = torch.zeros_like(learner.head)
    images, classes = learner.task.preprocessing(learner.images), learner.classes
    for rows in (torch.tensor([0, 1, 2]), torch.tensor([5, 3, 1])):
        with torch.no_grad():
            local = ridge_weights(learner.trunk(learner.base[rows]), learner.labels[rows], 1.0)
        expected = 0.75 * expected + 0.25 * local
        learner.update(images, classes, rows)
    assert relative_error(learner.head, expected) < 1e-6
    assert learner.scale.item() != 1
    learner.redraw(0, 1)
    assert learner.scale.item() == 1
    assert not bool(learner.head.any())
    remembered = learner.network_optimiser.state.values()
    assert len(remembered) > 1
    assert not any(bool(value.any()) for entries in remembered for value in entries.values())
    for found, drawn in zip(
        learner.trunk.parameters(), learner._drawn(1).parameters(), strict=True
    ):
        assert torch.equal(found, drawn)


def test_errors_are_counted_before_the_labels_move():
    learner = in_the_middle()
    images, classes = learner.task.preprocessing(learner.images), learner.classes
    rows = torch.tensor([0, 1, 2, 3])
    labels = learner.labels[rows].clone()
    with torch.no_grad():
        local = ridge_weights(learner.trunk(learner.base[rows]), labels, 1.0)
        logits = apply_head(learner.trunk(images), 0.7 * learner.head + 0.3 * local)
    wrong = learner.update(images, classes, rows)
    assert wrong.tolist() == [int((logits.argmax(1) != classes).sum())]
    assert 0 < wrong.item() < len(classes)


# The second-order method. -----------------------------------------------------------------------


def smooth_network():
    """A small network without kinks in float64: `(logits, weights)`."""
    shapes = [(4, 5), (5,), (5, 3)]
    sizes = [torch.Size(shape).numel() for shape in shapes]

    def logits(weights, examples):
        first, shift, last = (
            part.view(shape) for part, shape in zip(weights.split(sizes), shapes, strict=True)
        )
        return torch.tanh(examples @ first + shift) @ last

    return logits, draw(sum(sizes), seed=5)


def unrolled(logits, weights, base, labels, images, classes, *, steps, rate):
    """The outer loss after gradient steps, each kept in the graph."""
    for _ in range(steps):
        inner = soft_entropy(logits(weights, base), labels)
        (slope,) = torch.autograd.grad(inner, weights, create_graph=True)
        weights = weights - rate * slope
    return F.cross_entropy(logits(weights, images), classes)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_second_order_gradient_is_that_of_finite_differences(steps):
    logits, weights = smooth_network()
    base, labels = draw(6, 4, seed=1), draw_labels(6, 3, seed=2)
    images, classes = draw(20, 4, seed=3), torch.arange(20) % 3
    options = {"steps": steps, "rate": 0.5}

    def loss(given):
        start = weights.clone().requires_grad_()
        return unrolled(logits, start, base, given, images, classes, **options)

    gradient, slope, wrong = label_gradient(
        logits, weights, base, labels, images, classes, **options
    )
    numeric = central_differences(lambda given: loss(given).item(), labels)
    assert relative_error(gradient, numeric) < 1e-7
    given = labels.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(given), given)
    assert relative_error(gradient, expected) < 1e-12
    start = weights.clone().requires_grad_()
    (first,) = torch.autograd.grad(soft_entropy(logits(start, base), labels), start)
    assert relative_error(slope, first) < 1e-12
    last = weights.clone()
    for _ in range(steps):
        last = last.requires_grad_()
        (down,) = torch.autograd.grad(soft_entropy(logits(last, base), labels), last)
        last = (last - 0.5 * down).detach()
    assert int(wrong) == int((logits(last, images).argmax(1) != classes).sum())


@pytest.mark.parametrize("network", ["lenet", "convnet:width=4,norm=batch", "resnet18:width=2"])
def test_second_order_gradient_through_registered_networks(network):
    learner = learner_on(SecondOrder(inner_steps=2, inner_lr=0.1, **SMALL), network=network)
    images, classes = learner.task.preprocessing(learner.images), learner.classes
    learner.template.double()
    given = (learner.logits, learner.weights[0].double(), learner.base.double())
    rest = (images.double(), classes)
    labels = draw_labels(6, 3, seed=2)
    found, _, _ = label_gradient(*given, labels, *rest, steps=2, rate=0.1)
    moving = labels.clone().requires_grad_()
    start = given[1].clone().requires_grad_()
    loss = unrolled(given[0], start, given[2], moving, *rest, steps=2, rate=0.1)
    (expected,) = torch.autograd.grad(loss, moving)
    assert relative_error(found, expected) < 1e-8


def test_rows_of_weights_are_the_networks_drawn():
    learner = learner_on(SecondOrder(models=2, **SMALL))
    seed = learner.network_seed(1)
    module = learner._draw(seed).train()
    learner.redraw(1, seed)
    expected = module(learner.base)
    assert torch.allclose(learner.logits(learner.weights[1], learner.base), expected, atol=1e-5)
    assert not torch.allclose(learner.logits(learner.weights[0], learner.base), expected, atol=1e-2)


def test_stacked_networks_are_networks_one_by_one():
    one, other = (learner_on(SecondOrder(models=3, **SMALL), network="lenet") for _ in range(2))
    other.stacked = True
    images, classes = one.task.preprocessing(one.images), one.classes
    wrong = [it.update(images, classes, torch.tensor([0, 1, 5, 2])) for it in (one, other)]
    assert wrong[0].tolist() == wrong[1].tolist()
    assert len(wrong[0]) == 3
    assert relative_error(one.moments, other.moments) < 1e-4
    assert relative_error(one.labels, other.labels) < 1e-4


def test_every_network_has_an_adam_of_its_own():
    learner = learner_on(SecondOrder(models=2, network_lr=0.01, **SMALL))
    size = learner.weights.shape[1]
    slopes = [draw(2, size, seed=seed).float() for seed in range(6)]

    def train(start, seen):
        weight = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([weight], lr=0.01)
        for slope in seen:
            weight.grad = slope
            optimiser.step()
        return weight.detach()

    first = learner.weights[0].clone()
    for slope in slopes[:4]:
        learner._train(slope)
    learner.redraw(1, 5)
    second = learner.weights[1].clone()
    for slope in slopes[4:]:
        learner._train(slope)
    kept = train(first, [slope[0] for slope in slopes])
    fresh = train(second, [slope[1] for slope in slopes[4:]])
    assert torch.allclose(learner.weights[0], kept, atol=1e-6)
    assert torch.allclose(learner.weights[1], fresh, atol=1e-6)


# What both share. -------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "network"), RUNS)
def test_what_a_step_changes_stays_in_its_place_and_is_all_named(method, network):
    """A recorded step knows memory, not names."""
    learner = learner_on(method, network=network)
    for index in range(2):
        learner.step(index)
    images, classes = learner.task.preprocessing(learner.images), learner.classes
    named, optimisers = learner.changed(), learner.optimisers()
    places = [value.data_ptr() for value in named]
    before, kept = learner.state(), [value.detach().clone() for value in named]
    remembered = {optimiser: _copied(optimiser) for optimiser in optimisers}
    learner.update(images, classes, torch.tensor([0, 1, 5, 2]))
    learner.redraw(0, 3)
    assert [value.data_ptr() for value in learner.changed()] == places
    assert not all(torch.equal(value, before[key]) for key, value in learner.state().items())
    put_back(named, kept, remembered)
    for key, value in learner.state().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.gpu
@pytest.mark.parametrize(("method", "network"), RUNS)
def test_recorded_steps_teach_the_same_labels(method, network):
    steps = WORTH_RECORDING + 10
    method = dataclasses.replace(method, steps=steps, patience=20, validate_every=1000)
    found = []
    for recorded in (True, False):
        data = make_images()
        task = task_on(data, network=network, device=torch.device("cuda"))
        task = dataclasses.replace(task, preprocessing=task.preprocessing.to("cuda"))
        learner = method.learner(task)
        learner.tried = not recorded
        start = learner.labels.clone()
        for index in range(steps):
            learner.step(index)
        assert isinstance(learner.take, Recorded) == recorded
        found.append(learner.labels - start)
    # Adam turns the rounding of gradients near zero into steps, so that networks drift apart.
    assert found[1].abs().max() > 1e-3
    assert relative_error(found[0], found[1]) < 0.05


def test_restarts_by_hand():
    rule = Restarts(patience=2)
    # Sums of two: 18 14 13 13 15 10 10 18 18; the lowest, 10, stands after step 7.
    errors = [10, 8, 6, 7, 6, 9, 1, 9, 9, 9]
    assert [rule.after(count) for count in errors] == [False] * 9 + [True]
    assert rule.lengths == [7]
    assert rule.steps == 0
    # A life of its own: 20 is the lowest of the second network although the first had 10.
    assert [rule.after(10) for _ in range(5)] == [False] * 4 + [True]
    assert rule.lengths == [7, 2]


def test_restarts_follow_the_published_rule():
    """Against the rule written down as the authors' code has it, on noisy falling errors."""
    gap, rule, generator = 5, Restarts(patience=5), torch.Generator().manual_seed(0)
    window, count, waited, lowest, lengths = [], 0, 0, None, []
    for step in range(400):
        noise = int(torch.randint(0, 30, (), generator=generator))
        errors = max(0, 60 - 2 * count) + noise
        done = False
        count += 1
        if len(window) < gap:
            window.append(errors)
            if count == gap:
                lowest, waited = sum(window), 0
        else:
            window = [*window[1:], errors]
            if sum(window) < lowest:
                lowest, waited = sum(window), 0
            elif waited < gap:
                waited += 1
            else:
                lengths.append(count - waited - 1)
                window, count, waited, done = [], 0, 0, True
        assert rule.after(errors) == done, step
    assert rule.lengths == lengths
    assert len(lengths) > 5


def test_students_train_as_long_as_networks_last():
    rules = [Restarts(patience=2), Restarts(patience=2)]
    assert student_steps(rules) == 1
    for count in (3, 2, 1):
        for rule in rules:
            rule.after(count)
    assert student_steps(rules) == 3
    rules[0].lengths = [100, 10, 20, 40]
    assert student_steps(rules) == 23
    rules[1].lengths = [50]
    assert student_steps(rules) == 30


@pytest.mark.parametrize(
    ("examples", "classes", "patience", "inner"),
    [(10, 10, 50, 10), (50, 10, 50, 25), (100, 10, 50, 50), (500, 10, 200, 50), (100, 49, 100, 50)],
)
def test_settings_that_depend_on_the_data(examples, classes, patience, inner):
    method = OnlineRidge()
    assert method.restarts(examples, classes).patience == patience
    assert method.inner_size(examples) == inner
    given = OnlineRidge(patience=7, inner_batch=9)
    assert given.restarts(examples, classes).patience == 7
    assert given.inner_size(examples) == 9


def test_labels_move_and_become_distributions():
    learner = learner_on(OnlineRidge(lr=0.25, **SMALL))
    # Adam's first step is the learning rate, whatever the size of the gradient.
    gradient = torch.tensor([[1.0, -1.0, 2.0], [5.0, 3.0, 4.0]])
    learner.learn(torch.tensor([1, 4]), gradient)
    third = 1 / 3
    for row in (0, 2, 3, 5):
        assert learner.labels[row].tolist() == pytest.approx([third] * 3)
    high, low = third + 0.25, third - 0.25
    total = high + 2 * low
    assert learner.labels[1].tolist() == pytest.approx([low / total, high / total, low / total])
    assert learner.labels[4].tolist() == pytest.approx([third] * 3)


def test_labels_are_clamped_on_both_sides_before_they_are_divided():
    learner = learner_on(OnlineRidge(lr=0.5, **SMALL))
    learner.labels[0] = torch.tensor([0.9, 0.1, 0.0])
    learner.learn(torch.tensor([0]), torch.tensor([[-1.0, -2.0, 3.0]]))
    # 1.4, 0.6 and -0.5 become 1, 0.6 and 0.
    assert learner.labels[0].tolist() == pytest.approx([1 / 1.6, 0.6 / 1.6, 0])
    assert learner.labels[1].tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(("method", "network"), RUNS)
def test_a_run_that_was_interrupted_ends_with_the_same_bits(method, network):
    whole = learner_on(method, network=network)
    for step in range(method.steps):
        whole.step(step)
    expected, state = whole.result(), whole.state()
    assert expected.stats["restarts"] > 0, "the run must hold a restart to be a test of one"
    # More places are cut in `test_resume.py`; here are restarts, momenta and running statistics.
    for cut in (1, method.steps - 2):
        first = learner_on(method, network=network)
        for step in range(cut):
            first.step(step)
        saved = {key: value.clone() for key, value in first.state().items()}
        # A state is a copy: what the first run does afterwards must not reach it.
        first.step(cut)
        second = learner_on(method, network=network)
        second.restore(saved)
        for step in range(cut, method.steps):
            second.step(step)
        after = second.state()
        assert after.keys() == state.keys()
        assert all(torch.equal(after[key], state[key]) for key in state)
    found = second.result()
    assert torch.equal(found.labels, expected.labels)
    assert (found.recipe, found.stats) == (expected.recipe, expected.stats)


def script_choices(monkeypatch, accuracies):
    """Let validation say these accuracies in turn; return what it was asked."""
    asked = []

    def choose(task, candidates, kind, *, recipe, students, stream, max_validation):
        asked.append((stream, candidates[0].clone(), recipe.checkpoints, students))
        last = dataclasses.replace(recipe, checkpoints=recipe.checkpoints[-1:])
        return types.SimpleNamespace(recipe=last, accuracy=accuracies[len(asked) - 1])

    monkeypatch.setattr(bohdal2020_learner, "choose_labels", choose)
    return asked


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [((0.5, 0.9, 0.7), 1), ((0.5, 0.9, 0.9), 2), ((0.9, 0.5, 0.7), 0)],
)
def test_the_best_labels_on_validation_are_kept(monkeypatch, accuracies, best):
    asked = script_choices(monkeypatch, [*accuracies, 0.0])
    method = OnlineRidge(steps=6, **{**SMALL, "patience": 50})
    result = method.run(task_on(make_images()))
    assert [stream for stream, *_ in asked] == ["after 2", "after 4", "after 6", "final"]
    assert [steps for _, _, steps, _ in asked[:3]] == [(1, 2), (1, 2, 4), (1, 3, 6)]
    assert torch.equal(result.labels, asked[best][1])
    assert not torch.equal(asked[0][1], asked[1][1])
    suggested = 2 * (best + 1)
    assert asked[3][2][-3:] == (suggested, 2 * suggested, 4 * suggested)
    assert set(asked[best][2]) < set(asked[3][2])
    assert asked[3][3] == 3
    assert result.recipe == Recipe((4 * suggested,), batch_size=4, lr=1e-3)
    assert result.stats["validation_accuracy"] == max(accuracies)


def test_labels_after_the_last_validation_are_looked_at_too(monkeypatch):
    asked = script_choices(monkeypatch, [0.5, 0.6, 0.0])
    method = SecondOrder(steps=3, **{**SMALL, "patience": 50})
    result = method.run(task_on(make_images()))
    assert [stream for stream, *_ in asked] == ["after 2", "after 3", "final"]
    assert torch.equal(result.labels, asked[1][1])


@pytest.mark.parametrize("kind", [OnlineRidge, SecondOrder])
def test_without_validation_the_last_labels_are_taken(kind):
    method = kind(steps=3, **{**SMALL, "patience": 50})
    task = task_on(make_images(), validation=None)
    learner = method.learner(task)
    for step in range(3):
        learner.step(step)
    result = method.run(task)
    assert torch.equal(result.labels, learner.labels)
    assert result.recipe.checkpoints == (3,)
    assert "validation_accuracy" not in result.stats
    assert result.target_passes == pytest.approx(3 * 16 / 30)


def test_bases_from_another_data_set_are_labelled():
    foreign = make_images(20, classes=("x", "y", "z", "w"), name="letters")
    base = choose_base(foreign, 8)
    result = OnlineRidge(steps=2, **SMALL).run(task_on(make_images(), base=base))
    assert result.labels.shape == (8, 3)
    with pytest.raises(InputError, match=r"`init=one-hot` needs true labels.*Use init=uniform"):
        OnlineRidge(init="one-hot").learner(task_on(make_images(), base=base))


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        (OnlineRidge, {"init": "unifrom"}, "Did you mean `uniform`"),
        (OnlineRidge, {"rate": 0.0}, r"`rate` must lie in \(0, 1\]; got 0.0"),
        (OnlineRidge, {"l2": -1.0}, "`l2` must be finite and above zero; got -1.0"),
        (OnlineRidge, {"inner_batch": 0}, "`inner_batch` must be 1 or more; got 0"),
        (SecondOrder, {"inner_steps": 0}, "`inner_steps` must be 1 or more; got 0"),
        (SecondOrder, {"models": 0}, "`models` must be 1 or more; got 0"),
        (SecondOrder, {"lr": float("nan")}, "`lr` must be finite and above zero; got nan"),
    ],
)
def test_bad_options_are_refused(kind, options, match):
    with pytest.raises(InputError, match=match):
        kind(**options)


def test_a_network_without_weights_is_refused():
    with pytest.raises(InputError, match="`pixels` has no weights to train"):
        learner_on(SecondOrder(), network="pixels")
    with pytest.raises(InputError, match="`pixels` has no weights to train"):
        learner_on(OnlineRidge(), network="pixels")


def test_learned_labels_beat_true_ones_on_digits():
    data = load_splits("digits")
    task = task_on(data.train, m=10, network="mlp:width=64", validation=None)
    method = OnlineRidge(steps=300, batch_size=256, lr=0.02)
    learned = method.run(task).labels
    test = dataclasses.replace(task, validation=data.test())
    found = choose_labels(
        test,
        {"true": one_hot(task.base.labels, 10), "learned": learned},
        "distribution",
        recipe=Recipe((50, 100, 200), batch_size=10),
        students=5,
    )
    best = {key: max(row.values()) for key, row in found.table.items()}
    assert best["learned"] > best["true"] + 0.02


# Corners. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [OnlineRidge(steps=2, **SMALL), SecondOrder(steps=2, **SMALL)])
def test_without_validation_examples_the_last_labels_are_taken(method):
    data = make_images()
    nothing = data.subset(torch.arange(0))
    found = method.run(task_on(data, validation=nothing))
    expected = method.run(task_on(data, validation=None))
    assert torch.equal(found.labels, expected.labels)
    assert found.recipe == expected.recipe


@pytest.mark.parametrize("method", [OnlineRidge(steps=4, **SMALL), SecondOrder(steps=4, **SMALL)])
def test_networks_whose_layout_breaks_pytorch_are_trained_in_another(method):
    # Strided 1 x 1 convolutions of 4 channels, channels last: memory was overwritten there.
    learner = learner_on(method, network="resnet18:width=4")
    for index in range(4):
        learner.step(index)
    assert learner.labels.isfinite().all()
    assert (
        quick_layout(
            learner._drawn(0) if method.name == "online-ridge" else learner.template,
            learner.task.device,
        )
        == torch.contiguous_format
    )
    wide = parse_network("resnet18:width=8").build((1, 8, 8), torch.Generator().manual_seed(0))
    assert quick_layout(wide, torch.device("cpu")) == torch.channels_last
    assert quick_layout(wide, torch.device("cuda")) == torch.contiguous_format
