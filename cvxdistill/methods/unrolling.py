"""Differentiation through training: how a loss after gradient steps depends on what they saw."""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cvxdistill.students import Students, student_loss


@dataclasses.dataclass(frozen=True, eq=False)
class UnrolledGradient:
    """The target loss after training, and its derivatives.

    Attributes:
        loss: mean over networks, a scalar.
        examples: `(m, *shape)`.
        labels: `(m, C)`.
        step_sizes: `(steps,)`.
    """

    loss: Tensor
    examples: Tensor
    labels: Tensor
    step_sizes: Tensor


def unrolled_weights(
    networks: Students,
    examples: Tensor,
    labels: Tensor,
    step_sizes: Tensor,
    rows: Sequence[Tensor | None],
) -> list[dict[str, Tensor]]:
    """Return the networks' weights before each step of plain gradient descent, and after the last.

    Args:
        networks: stacked; their own weights stay as they are.
        examples: `(m, *shape)` preprocessed.
        labels: `(m, C)` distributions.
        step_sizes: `(steps,)`.
        rows: the mini-batch of each step; `None` is all examples.
    """
    networks.template.train()
    trail = [_leaves(networks.parameters)]
    for size, part in zip(step_sizes.detach(), rows, strict=True):
        x, y = _part(examples.detach(), part), _part(labels.detach(), part)
        gradient = _weight_gradient(networks, trail[-1], x, y, create_graph=False)
        pairs = zip(trail[-1].items(), gradient, strict=True)
        trail.append(_leaves({key: value - size * slope for (key, value), slope in pairs}))
    return trail


def unrolled_gradient(
    networks: Students,
    examples: Tensor,
    labels: Tensor,
    step_sizes: Tensor,
    query: Tensor,
    truth: Tensor,
    rows: Sequence[Tensor | None],
) -> UnrolledGradient:
    """Return the loss on target examples after training on synthetic ones, and its derivatives.

    Exact reverse mode by hand: with `w' = w - s g(w)`, `g` the gradient of the students' loss, an
    adjoint `a` of `w'` gives `a - s (dg/dw)' a` for `w`, `-s (dg/dx)' a` for the examples and
    `-<a, g>` for the step size. Each step is computed anew on the way back, so that memory holds
    the graph of one step and the weights of all, and not the graphs of all. What BatchNorm has
    gathered counts as a constant.

    Args:
        networks: freshly drawn, stacked; their own weights stay as they are.
        examples: `(m, *shape)` preprocessed.
        labels: `(m, C)` distributions.
        step_sizes: `(steps,)`.
        query: `(n, *shape)` preprocessed target examples.
        truth: `(n,)` their classes.
        rows: the mini-batch of each step; `None` is all examples.
    """
    trail = unrolled_weights(networks, examples, labels, step_sizes, rows)
    networks.template.eval()
    logits = networks.logits(query, trail[-1])
    loss = cross_entropy(logits.flatten(0, 1), truth.repeat(len(logits)))
    adjoint = torch.autograd.grad(loss, list(trail[-1].values()))
    networks.template.train()
    by_example, by_label = torch.zeros_like(examples), torch.zeros_like(labels)
    by_size: list[Tensor] = []
    for step in reversed(range(len(rows))):
        part, weights, size = rows[step], trail[step], step_sizes[step].detach()
        x = _part(examples.detach(), part).requires_grad_()
        y = _part(labels.detach(), part).requires_grad_()
        gradient = _weight_gradient(networks, weights, x, y, create_graph=True)
        product = sum(
            ((a * slope).sum() for a, slope in zip(adjoint, gradient, strict=True)),
            start=loss.new_zeros(()),
        )
        slopes = torch.autograd.grad(product, [x, y, *weights.values()], materialize_grads=True)
        by_size.append(-product.detach())
        _part_add(by_example, part, -size * slopes[0])
        _part_add(by_label, part, -size * slopes[1])
        adjoint = tuple(a - size * slope for a, slope in zip(adjoint, slopes[2:], strict=True))
    return UnrolledGradient(loss.detach(), by_example, by_label, torch.stack(by_size[::-1]))


def _weight_gradient(
    networks: Students, weights: Mapping[str, Tensor], x: Tensor, y: Tensor, *, create_graph: bool
) -> tuple[Tensor, ...]:
    # The sum over networks keeps their gradients apart, as in `Students.step`.
    value = student_loss("distribution")(networks.logits(x, weights), y).sum()
    return torch.autograd.grad(value, list(weights.values()), create_graph=create_graph)


def _leaves(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().requires_grad_() for key, value in weights.items()}


def _part(values: Tensor, rows: Tensor | None) -> Tensor:
    return values.detach() if rows is None else values[rows]


def _part_add(values: Tensor, rows: Tensor | None, added: Tensor) -> None:
    if rows is None:
        values += added
    else:
        values[rows] += added
