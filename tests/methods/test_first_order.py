"""First-order labels: how near they come to the exact ones, through which heads, and resuming."""

import pytest
import torch
from artifact.makers import make_features, make_images
from truths import relative_error

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.distill import distill
from cvxdistill.errors import IncompatibleError, InputError
from cvxdistill.features import Preprocessing, draw_pool, embed, parse_network
from cvxdistill.features import moments as moments_room
from cvxdistill.heads import CvxpyHead, KernelRidgeHead, LogisticHead, RidgeHead, SVMHead
from cvxdistill.methods import METHODS, DistillTask, Journal, parse_method
from cvxdistill.methods.first_order import FirstOrder
from cvxdistill.methods.iterative import task_fingerprint
from cvxdistill.problem import Status


def task_on(data, *, m=6, pool=2, network="convnet:width=4", base=None, **options):
    return DistillTask(
        base=choose_base(data, m) if base is None else base,
        target=data,
        extractors=tuple(draw_pool(parse_network(network), data.shape, size=pool, seed=0)),
        preprocessing=Preprocessing.fit(data),
        head=options.pop("head", RidgeHead()),
        **options,
    )


@pytest.mark.parametrize("constraint", ["free", "simplex"])
def test_it_comes_within_one_percent_of_the_exact_objective(constraint):
    task = task_on(make_images(60), m=9)
    exact = METHODS["exact"](constraint=constraint).run(task).certificate
    near = FirstOrder(steps=300, constraint=constraint).run(task)
    start = near.stats["objective_start"]
    assert exact.objective <= near.certificate.objective < 1.01 * exact.objective < start
    # Moments and examples give one full-data head, so the gaps are comparable.
    assert near.certificate.full_objective == pytest.approx(exact.full_objective, rel=1e-6)
    assert near.certificate.relative_gap >= exact.relative_gap
    assert (near.certificate.rank, near.target_passes) == (exact.rank, 2)
    assert near.stats["steps"] <= 300


def test_the_certificate_is_of_the_labels_that_come_back():
    task = task_on(make_images(60), pool=1)
    result = FirstOrder(steps=5).run(task)
    (extractor,) = task.extractors
    base, target = (
        embed(extractor, data.images, preprocessing=task.preprocessing).double()
        for data in (task.base, task.target)
    )
    fit = task.head.fit(base, result.labels)
    goal = torch.eye(3, dtype=torch.float64)[task.target.labels]
    centred = target - target.mean(0)
    lam = task.head.l2 * float(centred.square().sum()) / len(target)
    error = (fit(target) - goal).square().sum() + lam * fit.weights.square().sum()
    assert result.certificate.objective == pytest.approx(float(error) / len(target), rel=1e-6)
    assert result.certificate.objective == pytest.approx(result.stats["objective_best"], rel=1e-6)


def test_few_steps_stop_early_and_enough_come_to_rest():
    task = task_on(make_images(), pool=1)
    assert FirstOrder(steps=1).run(task).status is Status.STOPPED_EARLY
    rest = FirstOrder(steps=2000, tolerance=0.05).run(task)
    assert rest.status is Status.SOLVED
    assert rest.stats["steps"] < 2000
    assert rest.certificate.optimality <= 0.05


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (LogisticHead(l2=0.1), "task"),
        (RidgeHead(), "logistic:l2=0.1"),
        (SVMHead(l2=0.5), "task"),
        (CvxpyHead(l2=0.1), "task"),
    ],
    ids=["logistic", "logistic by name", "svm", "cvxpy"],
)
def test_heads_that_are_not_linear_in_the_labels_improve(head, name):
    task = task_on(make_features(40, 5), network="pixels", pool=1, head=head)
    result = FirstOrder(steps=10, lr=0.05, head=name).run(task)
    assert result.label_kind == "distribution"
    assert result.certificate.objective < result.stats["objective_start"]
    assert result.certificate.relative_gap is None
    assert "no bound" in str(result.certificate)
    assert type(result.head) is (LogisticHead if "logistic" in name else type(head))


def test_a_kernel_head_takes_free_scores():
    task = task_on(make_images(), head=KernelRidgeHead(l2=0.1, l2_scale="absolute"))
    result = FirstOrder(steps=300, lr=0.1).run(task)
    exact = METHODS["exact"]().run(task)
    assert result.label_kind == "scores"
    assert exact.certificate.objective <= result.certificate.objective
    assert result.certificate.objective < 1.02 * exact.certificate.objective


def test_the_head_of_the_method_is_that_of_the_artefact(tmp_path):
    data = make_images()
    made = distill(
        choose_base(data, 6), data, extractors="convnet:width=2", pool=1,
        method="first-order:steps=2,head=logistic:l2=0.5",
    )  # fmt: skip
    made.save(tmp_path / "run")
    assert Distilled.load(tmp_path / "run").head == LogisticHead(l2=0.5)


def test_features_in_a_file_give_the_same_bits():
    task = task_on(make_images())
    inside, outside = (FirstOrder(steps=12, memory=size).run(task) for size in (8.0, 0.0))
    assert torch.equal(inside.labels, outside.labels)
    assert inside.certificate == outside.certificate


def test_the_target_is_embedded_once(monkeypatch):
    data, ran = make_images(), []
    monkeypatch.setattr(moments_room, "embed_statistics", lambda *_, **__: ran.append(1))
    FirstOrder(steps=2).run(task_on(data))
    assert not ran


def test_a_learner_goes_on_with_the_same_bits_after_any_step():
    method, task = FirstOrder(steps=23, batch_size=7), task_on(make_images())
    whole = method.run(task)
    for stop in (1, 2, 11, 22):
        first, second = method.learner(task), method.learner(task)
        for index in range(stop):
            first.step(index)
        second.restore(first.state())
        for index in range(stop, 23):
            second.step(index)
        result = second.result()
        assert torch.equal(result.labels, whole.labels)
        assert (result.certificate, result.stats) == (whole.certificate, whole.stats)


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path):
    method, data = FirstOrder(steps=12, batch_size=7), make_images()
    whole = method.run(task_on(data))
    task = task_on(data)
    learner = method.learner(task)
    for index in range(3):
        learner.step(index)
    path = tmp_path / "state"
    Journal(path).save(3, task_fingerprint(method, task), learner.state())
    result = method.run(task_on(data, journal=Journal(path, resume=True)))
    assert torch.equal(result.labels, whole.labels)
    assert result.stats == whole.stats


def test_a_result_on_the_way_changes_nothing():
    method, task = FirstOrder(steps=15, batch_size=7), task_on(make_images())
    learner = method.learner(task)
    for index in range(15):
        learner.step(index)
        learner.result()
    assert torch.equal(learner.result().labels, method.run(task).labels)


def test_labels_have_a_column_for_classes_that_the_target_lacks():
    data = make_images()
    lacking = data.subset((data.labels < 2).nonzero().flatten())
    for spec in (
        "first-order:steps=2",
        "first-order:steps=2,head=logistic",
        "exact:loss=cross_entropy",
    ):
        result = parse_method(spec).run(task_on(lacking, base=choose_base(data, 6)))
        assert result.labels.shape == (6, 3)


def test_exact_points_to_first_order():
    with pytest.raises(IncompatibleError, match="Use the method `first-order`"):
        METHODS["exact"](loss="cross_entropy").run(task_on(make_images(), head=LogisticHead()))


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("loss=absolute", "`loss` must be one of"),
        ("constraint=fre", "Did you mean `free`"),
        ("head=logistik", "Did you mean `logistic`"),
        ("head=cvxpy", "`head` must be one of kernel-ridge, logistic, ridge, svm"),
        ("steps=0", "`steps` must be 1 or more"),
        ("batch_size=0", "`batch_size` must be 1 or more"),
        ("lr=0", "`lr` must be finite and above zero"),
        ("optimiser=lion", "`optimiser` must be one of adam, sgd"),
        ("memory=-1", "`memory` must be finite and zero or more"),
    ],
)
def test_options_out_of_range_are_refused(spec, match):
    with pytest.raises(InputError, match=match):
        parse_method(f"first-order:{spec}")


def test_moments_from_features_are_those_from_images():
    task = task_on(make_images(), pool=1)
    (extractor,) = task.extractors
    common = {"preprocessing": task.preprocessing}
    features = embed(extractor, task.target.images, **common)
    given = task.cache.statistics(extractor, task.target, features=features, **common)
    assert task.cache.statistics(extractor, task.target, **common) is given
    fresh = DistillTask.__dataclass_fields__["cache"].default_factory()
    other = fresh.statistics(extractor, task.target, **common)
    assert relative_error(given.cross_scatter, other.cross_scatter) < 1e-12
