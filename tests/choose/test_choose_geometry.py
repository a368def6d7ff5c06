"""k-means, k-center and herding against their definitions."""

import itertools

import pytest
import torch

from cvxdistill.choose import BaseRequest, Herding, KCenter, KMeans
from cvxdistill.choose.geometry import mean_row, squared_distances
from cvxdistill.data import ImageSet


def points(n, d, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=draw, dtype=torch.float64)


def radius(z, picked):
    return torch.cdist(z, z[picked]).min(1).values.max()


@pytest.mark.parametrize("seed", range(5))
def test_kcenter_is_within_twice_the_best_radius(seed):
    z = points(12, 2, seed)
    picked = KCenter().pick(z, 3, seed=0)
    best = min(radius(z, list(trio)) for trio in itertools.combinations(range(12), 3))
    assert radius(z, picked) <= 2 * best


def test_kcenter_takes_the_farthest_each_time():
    z = points(40, 3)
    picked = KCenter().pick(z, 10, seed=0).tolist()
    assert picked[0] == int((z - z.mean(0)).square().sum(1).argmin())
    for k in range(1, 10):
        apart = torch.cdist(z, z[picked[:k]]).min(1).values
        assert picked[k] == int(apart.argmax())


def test_herding_keeps_the_mean_as_near_as_one_example_can():
    z = points(40, 3)
    picked = Herding().pick(z, 10, seed=0).tolist()
    for k in range(10):
        left = [j for j in range(40) if j not in picked[:k]]
        means = torch.stack([z[[*picked[:k], j]].mean(0) for j in left])
        assert picked[k] == left[int((means - z.mean(0)).square().sum(1).argmin())]


def test_herding_beats_chance_in_the_mean():
    z = points(500, 5)
    herded = z[Herding().pick(z, 25, seed=0)].mean(0) - z.mean(0)
    drawn = z[:25].mean(0) - z.mean(0)
    assert herded.norm() < 0.2 * drawn.norm()


def test_kmeans_finds_separate_clusters_and_their_middles():
    centres = 50 * points(4, 3, seed=2)
    offsets = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    z = torch.cat([centre + offsets for centre in centres])
    picked = KMeans().pick(z, 4, seed=0)
    assert sorted(picked.tolist()) == [1, 4, 7, 10]


def test_kmeans_of_many_rows_by_batches():
    labels = torch.arange(30_000) % 3
    z = (10 * labels[:, None] + 0.1 * points(30_000, 2)).float()
    picked = KMeans(per_class=False).pick(z, 3, seed=0)
    assert sorted(labels[picked].tolist()) == [0, 1, 2]


def test_fewer_distinct_rows_than_clusters():
    z = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0]])
    assert sorted(KMeans().pick(z, 5, seed=0).tolist()) == [0, 1, 2, 3, 4]


def test_distances_of_far_points_keep_their_digits():
    z = (points(100, 3) + 1e7).to(torch.float64)
    exact = ((z - z[3]) ** 2).sum(1)
    torch.testing.assert_close(squared_distances(z, z[3]), exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(mean_row(z.half().float()), z.half().double().mean(0))


def test_classes_choose_independently_of_one_another():
    z, labels = points(60, 3), torch.arange(60) % 3
    data = ImageSet(z, labels, ("a", "b", "c"), name="toy")
    for chooser in (KMeans(), KCenter(), Herding()):
        both = chooser.choose(BaseRequest(data, 9))
        shuffled = data.images.clone()
        shuffled[labels == 2] += 100
        moved = ImageSet(shuffled, labels, data.class_names, name="toy")
        again = chooser.choose(BaseRequest(moved, 9))
        assert both[:6].tolist() == again[:6].tolist()
