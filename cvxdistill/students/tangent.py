r"""Empirical tangent kernels: what a small change of the labels does to a trained network.

Near its weights a network is linear in them. Trained further on base examples by a squared loss it
moves like a ridge regression in the features `J(x) = d f(x) / d weights`, so to first order its
answers on a query change by `H (Y' - Y)` when the labels `Y` become `Y'`, with

    H = K_qb (K_bb + l2 I)^-1,    K_ab = J_a J_b'.

The kernel of all outputs is `(n C) x (m C)`. Taken here is its mean over outputs of one class by
one class, `1/C sum_c J_c J_c'`, in expectation that of a random combination of outputs.

Sources: Jacot, Gabriel and Hongler (2018), <https://arxiv.org/abs/1806.07572>; the combination of
outputs: Mohamadi, Bae and Sutherland (2023), <https://arxiv.org/abs/2206.12543>.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError
from cvxdistill.seeding import derive_seed, generator
from cvxdistill.students.augmentations import AUGMENTATIONS
from cvxdistill.students.stack import Students

# Numbers in the gradients of query examples that are held at a time: 256 MB.
CHUNK_NUMBERS = 2**26


def tangent_transfers(
    students: Students,
    base: Tensor,
    queries: Tensor,
    *,
    l2: float,
    seed: int,
    augment: str = "none",
    combinations: int = 1,
) -> Tensor:
    """Return `H (students, n, m)` float64: what labels do to each student's answers.

    Args:
        students: trained, without BatchNorm's running statistics.
        base: `(m, *shape)` preprocessed examples that the students were trained on.
        queries: `(students, n, *shape)`, each student's own.
        l2: ridge, relative to the mean of the kernel's diagonal; above zero. It stands for
            training that stops before the labels are fitted.
        seed: of the combinations of outputs, and of views.
        augment: what the students saw of the base examples, a name in `AUGMENTATIONS`. All views
            of an example have its label, so that its column is the sum of theirs.
        combinations: of outputs whose kernels are averaged; the more the nearer to the mean over
            outputs, each at the cost of the first.

    Raises:
        InputError: `l2` is not above zero, examples that cannot be augmented, or a network whose
            answers depend on the batch.

    Example:
        >>> from cvxdistill.features import MLP
        >>> students = Students(MLP(width=4), (3,), 2, seeds=[0])
        >>> base, queries = torch.eye(3), torch.ones(1, 5, 3)
        >>> tangent_transfers(students, base, queries, l2=0.1, seed=0).shape
        torch.Size([1, 5, 3])
    """
    check_positive("l2", l2)
    check_positive("combinations", combinations)
    check_tangent(students)
    transfers = []
    for index, query in enumerate(queries):
        weights = {key: value[index].detach() for key, value in students.parameters.items()}
        shape = (combinations, students.num_classes)
        signs = torch.randint(2, shape, generator=generator(seed, "signs", index))
        size = max(1, CHUNK_NUMBERS // sum(value.numel() for value in weights.values()))
        views = AUGMENTATIONS[augment].views(base, seed=derive_seed(seed, "views", index))
        gram = torch.zeros((), dtype=torch.float64, device=base.device)
        cross = gram
        for combination in (2 * signs - 1).to(base) / students.num_classes**0.5:
            rows = _gradients(students, weights, combination)
            # The products are taken in float32, like the network: they enter a model of the
            # training, whose own error is a thousand times larger. The solve is not.
            features = torch.cat([rows(part) for part in views.split(size)])
            gram = gram + (features @ features.mT).double()
            parts = [rows(part) @ features.mT for part in query.split(size)]
            cross = cross + torch.cat(parts).double()
        ridge = l2 * gram.diagonal().mean()
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        apart = torch.linalg.solve(gram + ridge * eye, cross.mT).mT
        transfers.append(apart.unflatten(1, (-1, len(base))).sum(1))
    return torch.stack(transfers)


def check_tangent(students: Students) -> None:
    """Refuse students whose answers depend on the batch.

    Raises:
        InputError: a network with BatchNorm.
    """
    if students.buffers:
        raise InputError(
            "a tangent kernel needs a network that answers example by example; BatchNorm, as in "
            f"`{students.network}`, does not. Use another norm, such as norm=group or "
            "norm=instance."
        )


def _gradients(
    students: Students, weights: dict[str, Tensor], combination: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return `(n, *shape) -> (n, weights)`: gradients of a combination of a student's outputs."""

    def answer(weights: dict[str, Tensor], example: Tensor) -> Tensor:
        logits: Tensor = functional_call(students.template, weights, (example[None],))
        return (logits[0] * combination).sum()

    single = vmap(grad(answer), in_dims=(None, 0))

    def rows(examples: Tensor) -> Tensor:
        found: dict[str, Tensor] = single(weights, examples)
        return torch.cat([value.flatten(1) for value in found.values()], dim=1).detach()

    return rows
