"""Recorded steps: what warming up leaves behind, and the weights of steps that are not recorded."""

import pytest
import torch
from cases import draw, draw_labels

from cvxdistill.features import MLP, parse_network
from cvxdistill.students import OPTIMISERS, Recipe, Students
from cvxdistill.students.graph import WORTH_RECORDING, allow_recording, forget, put_back, record

EXAMPLES, LABELS = draw(8, 3).float(), draw_labels(8, 2).float()


def made(optimiser, **options):
    students = Students(MLP(width=4), (3,), 2, seeds=[0, 1], **options)
    students.begin(Recipe(checkpoints=(100,), optimiser=optimiser))
    return students


def train(students, steps, *, device="cpu"):
    for _ in range(steps):
        students.step(EXAMPLES.to(device), LABELS.to(device), "distribution")
    return students.weights()


@pytest.mark.parametrize("before", [0, 4])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_steps_that_are_put_back_leave_no_trace(optimiser, before):
    expected = train(made(optimiser), before + 5)
    students = made(optimiser)
    weights = train(students, before)
    parameters = list(students.parameters.values())
    kept = [weight.detach().clone() for weight in parameters]
    remembered = {
        parameter: {key: value.clone() for key, value in entries.items() if value is not None}
        for parameter, entries in students.optimiser.state.items()
    }
    moved = train(students, 3)
    assert not torch.equal(next(iter(moved.values())), next(iter(weights.values())))
    put_back(parameters, kept, {students.optimiser: remembered})
    for key, value in train(students, 5).items():
        assert torch.equal(value, expected[key])


def test_optimisers_that_can_be_recorded_are_told_so():
    for name in OPTIMISERS:
        students = made(name)
        train(students, 1)
        allow_recording(students.optimiser)
        (group,) = students.optimiser.param_groups
        assert group.get("capturable", True)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_optimiser_that_forgets_is_as_good_as_new(optimiser):
    students, fresh = made(optimiser), made(optimiser)
    train(students, 4)
    students.redraw([0, 1])
    forget(students.optimiser)
    expected = train(fresh, 5)
    for key, value in train(students, 5).items():
        assert torch.equal(value, expected[key])


def test_a_step_that_cannot_be_recorded_is_left_to_be_taken(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("cvxdistill.students.graph.Recorded", refuse)
    monkeypatch.setattr("torch.cuda.device", lambda _: torch.no_grad())
    students = made("adam")
    changed = list(students.parameters.values())
    optimisers = [students.optimiser]
    step = students._update
    assert record(step, (EXAMPLES, LABELS), changed=changed, optimisers=optimisers) is None


@pytest.mark.gpu
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("spec", ["lenet", "convnet:width=8", "convnet:width=8,norm=batch"])
def test_recorded_steps_are_the_steps(spec, optimiser):
    # In float64, and by the same arithmetic: Adam turns the rounding of a gradient near zero, such
    # as that of a bias before a norm, into a step of full length, and one that can be recorded
    # counts its steps in float32.
    examples, labels = draw(12, 1, 12, 12).cuda(), draw_labels(12, 3).cuda()
    recipe = Recipe(checkpoints=(7, WORTH_RECORDING + 10), optimiser=optimiser, batch_size=6)
    found = {}
    for recorded in (False, True):
        students = Students(
            parse_network(spec), (1, 12, 12), 3, seeds=[0, 1], device="cuda", recorded=recorded
        )
        students.parameters = {
            key: value.detach().double().requires_grad_()
            for key, value in students.parameters.items()
        }
        students.buffers = {
            key: value.double() if value.is_floating_point() else value
            for key, value in students.buffers.items()
        }
        students.begin(recipe)
        allow_recording(students.optimiser)
        found[recorded] = {}
        for step in range(1, recipe.checkpoints[-1] + 1):
            students.step(examples, labels, "distribution")
            if step in recipe.checkpoints:
                found[recorded][step] = students.weights()
        kept = [record for record in students._records.values() if record is not None]
        assert bool(kept) == recorded
    for steps in recipe.checkpoints:
        for key, expected in found[False][steps].items():
            got = found[True][steps][key]
            assert torch.allclose(got, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not torch.equal(*(next(iter(found[True][s].values())) for s in recipe.checkpoints))


@pytest.mark.gpu
def test_recording_again_after_a_restore_goes_on_from_there():
    students = made("adam", device="cuda")
    train(students, 10, device="cuda")
    state = students.state()
    expected = train(students, 10, device="cuda")
    students.restore(state)
    for key, value in train(students, 10, device="cuda").items():
        assert torch.allclose(value, expected[key], rtol=0, atol=1e-6)
    # The same state on a CPU, where nothing is recorded.
    other = made("adam")
    train(other, 1)
    other.restore({key: value.cpu() for key, value in state.items()})
    for key, value in train(other, 10).items():
        assert torch.allclose(value, expected[key].cpu(), rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_rates_that_change_are_not_recorded():
    students = Students(parse_network("lenet"), (1, 12, 12), 3, seeds=[0, 1], device="cuda")
    examples, labels = draw(12, 1, 12, 12).float().cuda(), draw_labels(12, 3).float().cuda()
    recipe = Recipe(checkpoints=(WORTH_RECORDING + 10,), step_sizes=(0.1, 0.2), optimiser="sgd")
    list(students.fit(examples, labels, "distribution", recipe=recipe))
    assert list(students._records.values()) == [None]
    assert students.predict(examples).isfinite().all()


@pytest.mark.gpu
def test_labels_that_change_between_steps_are_seen():
    found = []
    for recorded in (False, True):
        students = made("sgd", device="cuda", recorded=recorded)
        for step in range(12):
            labels = draw_labels(8, 2, seed=step).float().cuda()
            students.step(EXAMPLES.cuda(), labels, "distribution")
        found.append(students.weights())
    for key, expected in found[0].items():
        assert torch.allclose(found[1][key], expected, atol=1e-6)
