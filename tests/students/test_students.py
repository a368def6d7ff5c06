"""Students: side by side as one after another, the right loss, every registered network."""

import pytest
import torch
from artifact.makers import make_images
from cases import draw, draw_labels

from cvxdistill.errors import InputError
from cvxdistill.features import FEATURES, Preprocessing, parse_network
from cvxdistill.students import (
    Recipe,
    Students,
    draw_student,
    networks,
    pack_optimiser,
    predict,
    student_loss,
    students_at_once,
    unpack_optimiser,
)
from cvxdistill.students.networks import predict_stack

# A sum over students in one product rounds otherwise than each product alone; Adam's division by
# tiny second moments magnifies that over a few steps: to 7e-4 of a ResNet's largest logit.
SIDE_BY_SIDE = 2e-3
RECIPE = Recipe(checkpoints=(2, 5), batch_size=8)
SHORT = Recipe(checkpoints=(1, 3), batch_size=4)

SPECS = {
    "alexnet": (),
    "convnet": ("convnet:width=4", "convnet:width=4,norm=batch", "convnet:width=4,norm=group"),
    "lenet": ("lenet",),
    "mlp": ("mlp:width=8",),
    "pixels": (),
    "resnet18": ("resnet18:width=4",),
}


def data(n=12):
    images = make_images(n)
    return Preprocessing.fit(images)(images.images), draw_labels(n, 3).float()


def train(spec, seeds, *, recipe=RECIPE, kind="distribution", n=12, seed=0):
    examples, labels = data(n)
    students = Students(parse_network(spec), (1, 8, 8), 3, seeds=seeds)
    fitted = students.fit(examples, labels, kind, recipe=recipe, seed=seed)
    return {steps: students.modules() for steps in fitted}


def test_every_network_is_here():
    assert SPECS.keys() == FEATURES.keys()


@pytest.mark.parametrize("spec", [spec for specs in SPECS.values() for spec in specs])
def test_side_by_side_is_one_after_another(spec):
    examples, _ = data()
    together = train(spec, [3, 8], recipe=SHORT)
    alone = [train(spec, [seed], recipe=SHORT) for seed in (3, 8)]
    assert sorted(together) == [1, 3]
    for steps, modules in together.items():
        for module, single in zip(modules, alone, strict=True):
            got, expected = predict(module, examples), predict(single[steps][0], examples)
            assert torch.allclose(got, expected, rtol=0, atol=SIDE_BY_SIDE * expected.abs().max())
    first, second = (predict(module, examples) for module in together[3])
    assert not torch.allclose(first, second, atol=1e-2)


@pytest.mark.parametrize("spec", ["convnet:width=4,norm=batch", "resnet18:width=4"])
def test_running_statistics_are_each_students_own(spec):
    """What BatchNorm gathers in training is there afterwards, and differs between students."""
    one, other = train(spec, [3, 8], recipe=SHORT)[3]
    buffers = dict(one.named_buffers())
    counted = [key for key in buffers if key.endswith("num_batches_tracked")]
    assert counted
    assert all(int(buffers[key]) == 3 for key in counted)
    means = [key for key in buffers if key.endswith("running_mean")]
    assert any(not torch.allclose(buffers[key], dict(other.named_buffers())[key]) for key in means)
    assert not one.training


def test_a_first_step_is_that_of_plain_adam():
    examples, labels = data(6)
    module = draw_student(parse_network("mlp:width=8"), (1, 8, 8), 3, seed=5).train()
    optimiser = torch.optim.Adam(module.parameters())
    for _ in range(3):
        loss = -(labels * module(examples).log_softmax(1)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    students = Students(parse_network("mlp:width=8"), (1, 8, 8), 3, seeds=[5])
    recipe = Recipe(checkpoints=(3,))
    assert list(students.fit(examples, labels, "distribution", recipe=recipe)) == [3]
    (student,) = students.modules()
    assert torch.allclose(predict(student, examples), predict(module.eval(), examples), atol=1e-5)


def test_label_kinds_pick_their_loss():
    logits, labels = draw(4, 3), draw_labels(4, 3, seed=1)
    entropy = sum(
        -sum(labels[i, c] * (logits[i, c] - logits[i].exp().sum().log()) for c in range(3))
        for i in range(4)
    )
    squares = sum((logits[i, c] - labels[i, c]) ** 2 for i in range(4) for c in range(3))
    assert student_loss("distribution")(logits, labels) == pytest.approx(float(entropy / 4))
    assert student_loss("scores")(logits, labels) == pytest.approx(float(squares / 4))
    stacked = student_loss("scores")(torch.stack([logits, labels]), labels)
    assert stacked.tolist() == pytest.approx([float(squares / 4), 0.0])


def test_scores_are_fitted_as_scores():
    """Negative labels, which a cross-entropy could not reach, come out of a squared error."""
    examples, _ = data(6)
    labels = 2 * draw(6, 3).float()
    students = Students(parse_network("mlp:width=32"), (1, 8, 8), 3, seeds=[0])
    recipe = Recipe(checkpoints=(150,), lr=2e-2)
    assert list(students.fit(examples, labels, "scores", recipe=recipe)) == [150]
    (student,) = students.modules()
    assert torch.allclose(predict(student, examples), labels, atol=0.2)


def test_equal_seeds_give_equal_bits():
    examples, _ = data()
    one, again, reordered = (train("convnet:width=4", [3, 8], seed=s)[5] for s in (0, 0, 1))
    for first, second, third in zip(one, again, reordered, strict=True):
        assert torch.equal(predict(first, examples), predict(second, examples))
        # Another seed of mini-batches: the same start, another way.
        assert not torch.equal(predict(first, examples), predict(third, examples))


def test_a_set_no_larger_than_a_batch_is_used_whole():
    examples, _ = data()
    recipe = Recipe(checkpoints=(3,), batch_size=12)
    one, other = (train("mlp:width=4", [3], recipe=recipe, seed=s)[3][0] for s in (0, 1))
    assert torch.equal(predict(one, examples), predict(other, examples))


def test_checkpoints_do_not_disturb_the_training():
    examples, _ = data()
    often = train("mlp:width=4", [3], recipe=Recipe(checkpoints=(1, 2, 3, 5)))
    assert torch.equal(
        predict(often[5][0], examples),
        predict(train("mlp:width=4", [3], recipe=Recipe(checkpoints=(5,)))[5][0], examples),
    )
    assert not torch.equal(predict(often[1][0], examples), predict(often[5][0], examples))


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    train("lenet", [0, 1], recipe=Recipe(checkpoints=(1,)))
    assert torch.equal(torch.get_rng_state(), before)


def test_prediction_in_batches_is_prediction_at_once():
    examples, _ = data(12)
    module = draw_student(parse_network("convnet:width=4"), (1, 8, 8), 3, seed=0).eval()
    assert torch.allclose(predict(module, examples, batch_size=5), predict(module, examples))


@pytest.mark.parametrize("spec", ["lenet", "mlp:width=8", "convnet:width=4,norm=batch"])
@pytest.mark.parametrize("size", [1024, 5])
def test_prediction_of_all_at_once_is_one_after_another(spec, size, monkeypatch):
    """What a GPU does, in chunks of students and examples, on a CPU."""
    examples, labels = data()
    students = Students(parse_network(spec), (1, 8, 8), 3, seeds=[3, 8, 9])
    (steps,) = students.fit(examples, labels, "distribution", recipe=Recipe(checkpoints=(2,)))
    expected = students.predict(examples)
    monkeypatch.setattr(networks, "TOGETHER", 3 * size)
    together = predict_stack(students.template, students.weights(), examples)
    assert together.shape == (3, 12, 3)
    assert torch.allclose(together, expected, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)
    assert steps == 2
    assert students.template.training


def test_redrawn_students_are_new_ones_in_the_old_place():
    students = Students(parse_network("convnet:width=4,norm=batch"), (1, 8, 8), 3, seeds=[3, 8])
    list(students.fit(*data(), "distribution", recipe=SHORT))
    places = [value.data_ptr() for value in students.parameters.values()]
    students.redraw([5, 3])
    fresh = Students(students.network, (1, 8, 8), 3, seeds=[5, 3])
    assert students.seeds == (5, 3)
    assert [value.data_ptr() for value in students.parameters.values()] == places
    for key, value in fresh.weights().items():
        assert torch.equal(students.weights()[key], value), key


def test_weights_of_some_students_predict_for_these():
    examples, _ = data()
    students = Students(parse_network("mlp:width=8"), (1, 8, 8), 3, seeds=[3, 8, 9])
    all_of_them = students.predict(examples)
    some = {key: value[1:] for key, value in students.weights().items()}
    assert torch.equal(students.predict(examples, weights=some), all_of_them[1:])


def test_as_many_at_once_as_memory_takes():
    network, cpu = parse_network("lenet"), torch.device("cpu")
    few, many = (students_at_once(network, (1, 28, 28), size, cpu) for size in (1000, 10))
    assert 1 <= few < many
    huge = parse_network("resnet18")
    assert students_at_once(huge, (3, 32, 32), 1000, cpu) == 1
    with pytest.raises(InputError, match="lenet"):
        students_at_once(network, (7,), 10, cpu)


def test_a_network_without_weights_is_refused():
    with pytest.raises(InputError, match="`pixels` has no weights to train"):
        Students(parse_network("pixels"), (1, 8, 8), 3, seeds=[0])


@pytest.mark.parametrize("bad", [-1.0, 0.0, float("nan"), float("inf")])
def test_rates_of_a_recipe_are_finite_and_above_zero(bad):
    with pytest.raises(InputError, match="`step_sizes` must be finite and above zero"):
        Recipe(checkpoints=(2,), optimiser="sgd", step_sizes=(0.1, bad))
    with pytest.raises(InputError, match="`lr` must be finite and above zero"):
        Recipe(checkpoints=(2,), lr=bad)


def test_moments_go_where_their_weights_lie():
    """PyTorch's fused Adam reads weights and moments in the order of their memory."""
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    scale = torch.ones((), requires_grad=True)

    def adam():
        return torch.optim.Adam([weight, scale], fused=True)

    def step(optimiser):
        (weight.square().sum() * scale).backward()
        optimiser.step()
        optimiser.zero_grad()

    first = adam()
    step(first)
    # As a run writes them whose weights lie otherwise.
    kept = {key: value.contiguous() for key, value in pack_optimiser(first, "adam").items()}
    second = adam()
    unpack_optimiser(second, kept, "adam")
    start = [weight.detach().clone(), scale.detach().clone()]
    step(first)
    expected = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(start[0])
        scale.copy_(start[1])
    step(second)
    assert torch.equal(weight, expected)
