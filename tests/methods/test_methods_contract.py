"""What every registered method promises, and what each of the first three gives."""

import dataclasses

import pytest
import torch
from artifact.makers import make_features, make_images
from cases import CLOSED_FORM
from methods.tasks import student_task
from truths import relative_error

from cvxdistill.choose import choose_base
from cvxdistill.errors import IncompatibleError, InputError
from cvxdistill.features import Pixels, Preprocessing, draw_pool, embed, parse_network
from cvxdistill.heads import LogisticHead, RidgeHead
from cvxdistill.labels import CrossEntropyLoss
from cvxdistill.methods import METHODS, DistillTask, Method, parse_method
from cvxdistill.problem import Status
from cvxdistill.solvers import solve_labels

# Options as a user types them, for every registered method: the defaults, and others.
SPECS = {
    "alternating": (
        "alternating:teachers=2,teacher_steps=3,rounds=2,students=2,student_steps=2,examples=9",
        "alternating:teachers=1,teacher_steps=2,rounds=1,students=1,student_steps=1,pull=none",
        "alternating:teachers=1,teacher_steps=2,rounds=0,students=1,student_steps=2",
    ),
    "exact": (
        "exact",
        "exact:constraint=simplex",
        "exact:loss=cross_entropy,temperature=0.5",
        "exact:loss=cross_entropy,constraint=simplex",
    ),
    "first-order": (
        "first-order:steps=6",
        "first-order:steps=3,head=logistic:l2=0.1,batch_size=20",
        "first-order:steps=3,loss=hinge,constraint=top-k,memory=0",
    ),
    "hard": ("hard",),
    "images": (
        "images:steps=2,inner_steps=2,inner_epochs=1,networks=2,batch_size=8",
        "images:steps=2,inner_steps=2,inner_epochs=2,networks=1,batch_size=8,divide=true,noise=0.1",
    ),
    "images-labels": (
        "images-labels:steps=2,inner_steps=2,inner_epochs=1,networks=1,batch_size=8",
    ),
    "online-ridge": (
        "online-ridge:steps=3,batch_size=8,inner_batch=4,validate_every=2",
        "online-ridge:steps=5,patience=1,init=smoothed,validate_every=9,rate=0.5",
    ),
    "second-order": (
        "second-order:steps=3,batch_size=8,inner_batch=4,validate_every=2",
        "second-order:steps=3,inner_steps=2,models=2,patience=1,validate_every=9",
    ),
    "smoothed": ("smoothed", "smoothed:smoothing=0.3"),
    "teacher": (
        "teacher:teachers=2,steps=4,batch_size=8,checkpoints=2,students=1,student_steps=2",
        "teacher:teachers=1,steps=2,batch_size=8,choose=false,temperature=2.0",
        "teacher:teachers=1,steps=2,batch_size=8,choose=false,reading=scores",
    ),
}


def task_on(data, *, m=6, network="convnet:width=4", pool=2, **options):
    return DistillTask(
        base=options.pop("base", choose_base(data, m)),
        target=data,
        extractors=tuple(draw_pool(parse_network(network), data.shape, size=pool, seed=0)),
        preprocessing=Preprocessing.fit(data),
        head=options.pop("head", RidgeHead()),
        validation=data,
        **options,
    )


@pytest.fixture(params=[(name, spec) for name in METHODS for spec in SPECS.get(name, (name,))])
def method(request) -> Method:
    name, spec = request.param
    assert name in SPECS, f"give {name} specs here"
    return parse_method(spec)


def test_methods_are_named_after_their_keys():
    assert all(kind.name == name for name, kind in METHODS.items())


def test_labels_are_finite_and_of_the_kind_they_claim(method):
    result = method.run(task_on(make_images()))
    assert result.labels.shape == (6, 3)
    assert result.labels.dtype == torch.float64
    assert result.labels.device.type == "cpu"
    assert bool(result.labels.isfinite().all())
    assert result.label_kind in ("distribution", "scores")
    assert isinstance(result.status, Status)
    assert result.target_passes >= 0
    if result.label_kind == "distribution":
        assert float(result.labels.min()) >= 0
        assert torch.allclose(result.labels.sum(1), torch.ones(6, dtype=torch.float64))


def test_nothing_given_is_changed(method):
    data = make_images()
    task = task_on(data)
    parts = {"base": task.base, "target": task.target}
    before = {key: part.fingerprint() for key, part in parts.items()}
    weights = [extractor.fingerprint() for extractor in task.extractors]
    ready, state = task.preprocessing.fingerprint(), torch.get_rng_state()
    method.run(task)
    assert {key: part.fingerprint() for key, part in parts.items()} == before
    assert [extractor.fingerprint() for extractor in task.extractors] == weights
    assert task.preprocessing.fingerprint() == ready
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_seeds_give_equal_bits(method):
    first, again = (method.run(task_on(make_images(), seed=3)) for _ in range(2))
    assert torch.equal(first.labels, again.labels)
    assert first.certificate == again.certificate


def test_options_come_back_from_a_spec(method):
    options = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
    listed = ",".join(f"{key}={value}" for key, value in options.items())
    assert parse_method(f"{method.name}:{listed}" if listed else method.name) == method


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("exakt", "`method` must be one of .*exact.*got `exakt`. Did you mean `exact`?"),
        ("smoothed:smooth=1", "`option of smoothed` must be one of smoothing; got `smooth`"),
        ("smoothed:smoothing=lots", "must be a number; got `lots`"),
        ("smoothed:smoothing=1", r"`smoothing` must lie in \[0, 1\); got 1.0"),
        ("smoothed:smoothing=nan", r"`smoothing` must lie in \[0, 1\); got nan"),
        ("exact:", "options of `exact` are missing"),
    ],
)
def test_bad_specs_are_refused_when_they_are_read(spec, match):
    with pytest.raises(InputError, match=match):
        parse_method(spec)


# The single methods. ----------------------------------------------------------------------------


def test_hard_labels_are_the_classes():
    task = task_on(make_images(), m=5)
    labels = METHODS["hard"]().run(task).labels
    assert labels.argmax(1).tolist() == task.base.labels.tolist()
    assert sorted(labels.unique().tolist()) == [0.0, 1.0]
    assert labels.sum(1).tolist() == [1.0] * 5


def test_smoothed_labels_by_hand():
    labels = parse_method("smoothed:smoothing=0.3").run(task_on(make_images(), m=3)).labels
    expected = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]).double()
    expected = expected.mul(10).round().div(10)
    assert relative_error(labels, expected) < CLOSED_FORM


@pytest.mark.parametrize("name", ["hard", "smoothed"])
def test_true_labels_do_not_exist_across_data_sets(name):
    base = make_images(9, classes=("x", "y", "z"), name="letters")
    task = task_on(make_images(), base=choose_base(base, 3))
    with pytest.raises(
        InputError, match=r"true labels do not exist across.*`letters` and `toy`.*learns labels"
    ):
        METHODS[name]().run(task)


def test_exact_is_solve_labels_on_the_same_features():
    task = task_on(make_images(), head=RidgeHead(l2=0.1), target_l2=0.02)

    def features(data):
        return [
            embed(extractor, data.images, preprocessing=task.preprocessing).double()
            for extractor in task.extractors
        ]

    targets = [(z, task.target.labels) for z in features(task.target)]
    expected = solve_labels(features(task.base), targets, head=task.head, target_l2=0.02)
    result = METHODS["exact"]().run(task)
    assert relative_error(result.labels, expected.labels) < 1e-6  # moments against examples
    assert result.certificate.rank == expected.certificate.rank
    assert result.target_passes == 2


def test_exact_with_another_loss_is_solve_labels_on_examples():
    task = task_on(make_images())

    def features(data):
        return [
            embed(extractor, data.images, preprocessing=task.preprocessing)
            for extractor in task.extractors
        ]

    expected = solve_labels(
        [z.double() for z in features(task.base)],
        [(z, task.target.labels) for z in features(task.target)],
        head=task.head,
        loss=CrossEntropyLoss(temperature=0.5),
    )
    result = parse_method("exact:loss=cross_entropy,temperature=0.5").run(task)
    assert torch.equal(result.labels, expected.labels)
    assert result.label_kind == "scores"


def test_exact_takes_feature_vectors():
    data = make_features(40, 5)
    task = task_on(data, m=8, network="pixels", pool=1)
    assert isinstance(task.extractors[0].network, Pixels)
    result = METHODS["exact"]().run(task)
    fit = task.head.fit(task.base.images.double(), result.labels)
    full = RidgeHead().fit(data.images.double(), torch.eye(3, dtype=torch.float64)[data.labels])
    assert result.certificate.lossless
    assert relative_error(fit.weights, full.weights) < 1e-6


def test_exact_refuses_a_head_that_is_not_linear():
    with pytest.raises(IncompatibleError, match="LogisticHead"):
        METHODS["exact"]().run(task_on(make_images(), head=LogisticHead()))


def test_exact_says_how_far_it_is():
    seen = []
    task = task_on(make_images(), progress=lambda *given: seen.append(given))
    METHODS["exact"]().run(task)
    embedded = [(done, total) for stage, done, total in seen if stage == "embed"]
    assert embedded[-1] == (60, 60)
    assert embedded == sorted(embedded)
    assert seen[-1] == ("solve", 1, 1)


@pytest.mark.parametrize("option", ["loss=hinge", "constraint=top-k", "constraint=clamp"])
def test_exact_takes_only_what_it_solves_exactly(option):
    with pytest.raises(InputError, match=rf"no solver for `{option}`.*`first-order`"):
        parse_method(f"exact:{option}")
    parse_method(f"first-order:{option}")


@pytest.mark.parametrize(
    "name", ["teacher", "alternating", "online-ridge", "second-order", "images"]
)
def test_one_example_is_too_few_for_batch_norm(name):
    task = student_task(m=1, student=parse_network("resnet18:width=4"))
    rounds = ":rounds=0" if name == "alternating" else ""
    with pytest.raises(InputError, match=r"needs 2 examples a step; got 1"):
        parse_method(f"{name}{rounds}").learner(task)
