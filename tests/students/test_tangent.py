"""Tangent transfers: linear networks by hand, and what retraining really does."""

import pytest
import torch
from artifact.makers import make_images
from cases import draw

from cvxdistill.errors import InputError
from cvxdistill.features import LeNet, Preprocessing, parse_network
from cvxdistill.labels import one_hot
from cvxdistill.students import Recipe, Students, tangent_transfers


def trained(spec, labels, base, *, steps=300, lr=1e-3, seeds=(0, 1)):
    students = Students(parse_network(spec), tuple(base.shape[1:]), labels.shape[-1], seeds=seeds)
    recipe = Recipe(checkpoints=(steps,), lr=lr, batch_size=len(base))
    assert list(students.fit(base, labels, "scores", recipe=recipe)) == [steps]
    return students


def test_a_combination_of_outputs_by_finite_differences():
    """`J_a J_b'` of one student against differences of its combined output, in float64."""
    base, query = draw(3, 4), draw(5, 4, seed=1)
    students = Students(parse_network("mlp:width=3,depth=1"), (4,), 2, seeds=[0])
    students.template.double()
    students.parameters = {key: value.double() for key, value in students.parameters.items()}
    found = tangent_transfers(students, base, query[None], l2=1e-1, seed=7)[0]
    slopes = differences(students, base), differences(students, query)
    by_signs = [
        by_hand(*(part @ torch.tensor([a, b]).double() / 2**0.5 for part in slopes))
        for a, b in ((1.0, 1.0), (1.0, -1.0))
    ]
    assert any(torch.allclose(found, one, atol=1e-6) for one in by_signs)
    assert not torch.allclose(*by_signs, atol=1e-2)


def differences(students, x, step=1e-5):
    """Slopes `(n, weights, classes)` of a student's outputs by each of its weights."""
    slopes = []
    for value in students.parameters.values():
        flat = value.detach().view(-1)
        for place in range(len(flat)):
            flat[place] += step
            up = students.logits(x)[0].detach()
            flat[place] -= 2 * step
            slopes.append((up - students.logits(x)[0].detach()) / (2 * step))
            flat[place] += step
    return torch.stack(slopes, 1)


def by_hand(base, query):
    gram = base @ base.mT
    ridge = 1e-1 * gram.diagonal().mean()
    return torch.linalg.solve(gram + ridge * torch.eye(len(gram)).double(), base @ query.mT).mT


@pytest.mark.parametrize("spec", ["mlp:width=64", "convnet:width=8"])
def test_it_predicts_what_training_on_other_labels_changes(spec):
    data = make_images(60)
    ready = Preprocessing.fit(data)
    base, query = ready(data.images[:12]), ready(data.images[12:52])
    classes = one_hot(data.labels[:12], 3).float()
    labels, move = 2 * classes - 0.5, 0.3 * classes @ draw(3, 3, seed=1).float()
    before, after = (trained(spec, y, base) for y in (labels, labels + move))
    transfers = tangent_transfers(before, base, query.expand(2, *query.shape), l2=1e-3, seed=0)
    foreseen = (transfers @ move.double()).flatten()
    seen = (after.predict(query) - before.predict(query)).double().flatten()
    assert float(torch.corrcoef(torch.stack([foreseen, seen]))[0, 1]) > 0.9
    assert 0.8 < float((foreseen * seen).sum() / foreseen.square().sum()) < 1.2


def test_each_student_has_its_own_query_and_kernel():
    base, query = draw(4, 3).float(), draw(2, 6, 3, seed=1).float()
    students = Students(parse_network("mlp:width=8"), (3,), 2, seeds=[0, 1])
    both = tangent_transfers(students, base, query, l2=0.1, seed=0)
    assert both.shape == (2, 6, 4)
    assert both.dtype == torch.float64
    alone = tangent_transfers(students.part([0]), base, query[:1], l2=0.1, seed=0)
    assert torch.allclose(both[0], alone[0], atol=1e-6)
    swapped = tangent_transfers(students, base, query.flip(0), l2=0.1, seed=0)
    assert not torch.allclose(both, swapped.flip(0), atol=1e-3)


def test_what_it_cannot_do_is_said():
    base = torch.zeros(2, 1, 8, 8)
    students = Students(LeNet(), (1, 8, 8), 3, seeds=[0])
    with pytest.raises(InputError, match="`l2`"):
        tangent_transfers(students, base, base[None], l2=0.0, seed=0)
    normed = Students(parse_network("convnet:width=4,norm=batch"), (1, 8, 8), 3, seeds=[0])
    with pytest.raises(InputError, match="BatchNorm"):
        tangent_transfers(normed, base, base[None], l2=0.1, seed=0)
