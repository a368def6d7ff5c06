"""What every registered chooser promises."""

import dataclasses
import itertools

import pytest
import torch

from cvxdistill.choose import CHOOSERS, choose_base, parse_chooser
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError

OPTIONS = {
    "greedy": ["greedy", "greedy:exchanges=2"],
    "herding": ["herding", "herding:per_class=false"],
    "kcenter": ["kcenter", "kcenter:per_class=false"],
    "kmeans": ["kmeans", "kmeans:per_class=false"],
}
SPECS = [spec for name in CHOOSERS for spec in OPTIONS.get(name, [name])]


def cloud(n=60, d=7, classes=3, seed=0):
    """Features in clusters, numbered so that positions and indices cannot be confused."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=draw)
    centres = 3 * torch.randn(classes, d, generator=draw, dtype=torch.float64)
    features = centres[labels] + torch.randn(n, d, generator=draw, dtype=torch.float64) + 5
    names = tuple(f"class-{k}" for k in range(classes))
    return ImageSet(features, labels, names, name="cloud", indices=100 + 3 * torch.arange(n))


def chosen(data, examples, how, **options):
    if how == "indices":
        return choose_base(data, how=how, indices=data.indices[: 2 * examples : 2], **options)
    return choose_base(data, examples, how=how, **options)


@pytest.fixture(params=SPECS)
def how(request):
    return request.param


def test_choosers_are_sorted_and_named():
    assert list(CHOOSERS) == sorted(CHOOSERS)
    assert [kind.name for kind in CHOOSERS.values()] == list(CHOOSERS)


@pytest.mark.parametrize("examples", [1, 2, 6, 17, 30])
def test_distinct_examples_of_the_data(how, examples):
    data = cloud()
    base = chosen(data, examples, how)
    assert len(base) == len(set(base.indices.tolist())) == examples
    assert base.split == "base"
    positions = (base.indices - 100) // 3
    assert torch.equal(base.images, data.images[positions])
    assert torch.equal(base.labels, data.labels[positions])


def test_a_seed_says_which(how):
    data = cloud(300)
    runs = [chosen(data, 9, how, seed=seed).indices.tolist() for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert (runs[0] != runs[2]) == parse_chooser(how).drawn


def test_the_global_random_state_is_untouched(how):
    before = torch.random.get_rng_state()
    chosen(cloud(), 6, how)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_features_are_not_changed(how):
    data = cloud()
    before = data.images.clone()
    chosen(data, 6, how)
    assert torch.equal(before, data.images)


def test_smaller_choices_begin_larger_ones(how):
    chooser = parse_chooser(how)
    if not chooser.nested or getattr(chooser, "exchanges", 0):
        pytest.skip("not nested")
    data, sizes = cloud(), (1, 2, 6, 12, 24)
    runs = [chosen(data, m, how).indices.tolist() for m in sizes]
    for small, large in itertools.pairwise(runs):
        if not getattr(chooser, "per_class", False):
            assert large[: len(small)] == small
        elif len(small) % data.num_classes == 0:
            # Ordered by class, so that a smaller choice is contained class by class.
            assert set(small) < set(large)


def test_the_order_of_candidates_does_not_matter(how):
    if parse_chooser(how).drawn:
        pytest.skip("drawn by position")
    data = cloud()
    moved = data.subset(torch.randperm(60, generator=torch.Generator().manual_seed(1)))
    base = chosen(data, 9, how)
    options = {"indices": base.indices} if how == "indices" else {}
    again = choose_base(moved, 9, how=how, **options)
    assert set(base.indices.tolist()) == set(again.indices.tolist())
    assert torch.equal(base.images[base.indices.argsort()], again.images[again.indices.argsort()])


def test_repeated_examples_are_chosen_once_each(how):
    data = cloud(12)
    twice = dataclasses.replace(
        data,
        images=torch.cat([data.images, data.images]),
        labels=torch.cat([data.labels, data.labels]),
        indices=torch.arange(24),
    )
    assert len(set(chosen(twice, 9, how).indices.tolist())) == 9
    if how not in ("indices", "balanced") and not getattr(parse_chooser(how), "per_class", False):
        assert len(set(chosen(twice, 24, how).indices.tolist())) == 24


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_features_of_few_digits_give_examples_too(how, dtype):
    data = cloud()
    base = chosen(dataclasses.replace(data, images=data.images.to(dtype)), 9, how)
    assert len(set(base.indices.tolist())) == 9
    assert base.images.dtype == dtype


def test_images_need_their_features(how):
    data = cloud()
    images = dataclasses.replace(data, images=torch.zeros(60, 1, 2, 2, dtype=torch.uint8))
    if not parse_chooser(how).needs_features:
        assert len(chosen(images, 6, how)) == 6
        return
    with pytest.raises(InputError, match=r"looks at features; got images.*features=embed"):
        chosen(images, 6, how)
    by_features = chosen(images, 6, how, features=data.images)
    assert by_features.indices.tolist() == chosen(data, 6, how).indices.tolist()


@pytest.mark.parametrize("examples", [0, 61, None])
def test_a_number_out_of_range_is_refused(how, examples):
    if how != "indices":
        with pytest.raises(InputError, match="`examples` must be at"):
            choose_base(cloud(), examples, how=how)


@pytest.mark.parametrize("name", ["herding", "kcenter", "kmeans"])
def test_per_class_is_balanced(name):
    base = choose_base(cloud(), 10, how=name)
    assert base.labels.tolist() == sorted(base.labels.tolist())
    assert int(base.class_counts.max() - base.class_counts.min()) == 1


@pytest.mark.parametrize("how", ["greedy", "kmeans"])
def test_features_that_do_not_fit_are_refused(how):
    data = cloud()
    with pytest.raises(InputError, match="must have 60 rows; got 59"):
        choose_base(data, 6, how=how, features=data.images[:59])
    spoiled = data.images.clone()
    spoiled[3, 2] = torch.nan
    with pytest.raises(InputError, match="finite"):
        choose_base(data, 6, how=how, features=spoiled)


@pytest.mark.gpu
def test_a_gpu_chooses_the_same_examples(how):
    data = cloud(300)
    base = chosen(data, 6, how)
    assert chosen(data.to("cuda"), 6, how).indices.tolist() == base.indices.tolist()
