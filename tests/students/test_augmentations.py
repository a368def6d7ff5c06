"""Augmentations: what is shown is a view of the example, drawn anew, and repeatable."""

import pytest
import torch
from cases import draw, draw_labels

from cvxdistill.errors import InputError
from cvxdistill.features import MLP, ConvNet
from cvxdistill.students import AUGMENTATIONS, Recipe, Students, batch_rows, tangent_transfers

IMAGES = draw(40, 2, 8, 16).float()
CHANGING = [name for name in AUGMENTATIONS if name != "none"]


def every_view(image, name):
    """All that an augmentation may make of one image, by slow means."""
    kind = AUGMENTATIONS[name]
    mirrored = [image, image.flip(-1)] if kind.flip else [image]
    down, across = (int(kind.shift * side) for side in image.shape[-2:])
    padded = [
        torch.nn.functional.pad(one[None], (across, across, down, down), mode="replicate")[0]
        for one in mirrored
    ]
    height, width = image.shape[-2:]
    return [
        one[:, top : top + height, left : left + width]
        for one in padded
        for top in range(2 * down + 1)
        for left in range(2 * across + 1)
    ]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_what_is_shown_is_a_view_of_the_example(name):
    seen = set()
    for step in range(3):
        for image, shown in zip(
            IMAGES, AUGMENTATIONS[name].draw(IMAGES, seed=0, step=step), strict=True
        ):
            found = [i for i, v in enumerate(every_view(image, name)) if torch.equal(v, shown)]
            assert found
            seen |= set(found)
    # 120 draws among at most 30 views.
    views = len(every_view(IMAGES[0], name))
    assert len(seen) > 0.8 * views


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_draws_follow_from_seed_and_step(name):
    kind = AUGMENTATIONS[name]
    first = kind.draw(IMAGES, seed=0, step=3)
    assert torch.equal(kind.draw(IMAGES, seed=0, step=3), first)
    for other in (kind.draw(IMAGES, seed=0, step=4), kind.draw(IMAGES, seed=1, step=3)):
        assert torch.equal(other, first) == (name == "none")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_views_are_all_or_a_draw(name):
    views = AUGMENTATIONS[name].views(IMAGES, seed=0).unflatten(0, (-1, len(IMAGES)))
    assert len(views) == {"none": 1, "flip": 2}.get(name, 4)
    if name == "flip":
        assert torch.equal(views[0], IMAGES)
        assert torch.equal(views[1], IMAGES.flip(-1))
    for image, shown in zip(IMAGES[:5], views.unbind(1), strict=False):
        for one in shown:
            assert any(torch.equal(view, one) for view in every_view(image, name))


@pytest.mark.parametrize("name", CHANGING)
def test_feature_vectors_are_refused(name):
    students = Students(MLP(width=4), (3,), 2, seeds=[0])
    students.begin(Recipe(checkpoints=(2,), augment=name))
    with pytest.raises(InputError, match=r"`augment` is for images.*\(3,\)"):
        students.step(draw(8, 3).float(), draw_labels(8, 2).float(), "scores")
    students.begin(Recipe(checkpoints=(2,)))
    students.step(draw(8, 3).float(), draw_labels(8, 2).float(), "scores")


def test_an_unknown_one_is_refused():
    with pytest.raises(InputError, match="flip-shift"):
        Recipe(augment="flop")


@pytest.mark.parametrize("batch_size", [40, 16])
def test_students_train_on_what_is_shown(batch_size):
    """Against the same steps on images that were changed by hand."""
    labels = draw_labels(40, 3).float()
    recipe = Recipe(checkpoints=(4,), augment="flip", batch_size=batch_size)
    students, other = (
        Students(ConvNet(width=4, depth=1), (2, 8, 16), 3, seeds=[0, 1]) for _ in range(2)
    )
    list(students.fit(IMAGES, labels, "scores", recipe=recipe, seed=5))
    other.begin(Recipe(checkpoints=(4,), batch_size=batch_size))
    for step in range(4):
        rows = batch_rows(40, batch_size, 5, step)
        rows = torch.arange(40) if rows is None else rows
        shown = AUGMENTATIONS["flip"].draw(IMAGES[rows], seed=5, step=step)
        other._update(shown, labels[rows], "scores")
    for key, value in other.weights().items():
        assert torch.equal(students.weights()[key], value)


def test_a_column_of_the_transfer_is_the_sum_over_views():
    students = Students(ConvNet(width=4, depth=1), (2, 8, 16), 3, seeds=[0, 1])
    queries = draw(2, 5, 2, 8, 16, seed=1).float()
    options = {"l2": 0.1, "seed": 0}
    found = tangent_transfers(students, IMAGES[:6], queries, augment="flip", **options)
    both = torch.cat([IMAGES[:6], IMAGES[:6].flip(-1)])
    apart = tangent_transfers(students, both, queries, **options)
    assert torch.allclose(found, apart[..., :6] + apart[..., 6:], atol=1e-12)
    assert not torch.allclose(found, tangent_transfers(students, IMAGES[:6], queries, **options))
