r"""Derivatives of a solution through the equation that it satisfies, of any order.

Let `x(p)` solve `r(x, p) = 0` with a symmetric Jacobian `J = dr/dx`. Then `J dx/dp = -dr/dp`, so
the gradient of a scalar with `dL/dx = g` is `-(dr/dp)' u` with `J u = g`: one linear solve with
the factorisation that the forward pass has anyway. The adjoint `u` is itself the solution of an
equation with the same Jacobian, `J(x, p) u - g = 0`, and is differentiated by the same rule. The
recursion never differentiates through a factorisation.

References:
    Blondel et al. 2022, "Efficient and modular implicit differentiation",
    https://arxiv.org/abs/2105.15183
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Residual = Callable[..., Tensor]
Solve = Callable[[Tensor], Tensor]


def implicit(solution: Tensor, residual: Residual, solve: Solve, *parameters: Tensor) -> Tensor:
    """Return `solution` with the derivatives of the root of `residual(x, *parameters)`.

    Args:
        solution: a root, without a graph.
        residual: differentiable torch code, of the shape of the solution; all that depends on a
            tensor to be differentiated comes in through `parameters`.
        solve: returns `J^-1 v` for the symmetric Jacobian `J` at the solution.
        *parameters: tensors that the derivative may be taken in.

    Example:
        >>> p = torch.tensor([4.0], dtype=torch.float64, requires_grad=True)
        >>> root = implicit(p.detach().sqrt(), lambda x, p: x * x - p, lambda v: v / 4, p)
        >>> root.backward()
        >>> p.grad.item()
        0.25
    """
    if not torch.is_grad_enabled() or not any(part.requires_grad for part in parameters):
        return solution
    root: Tensor = _Implicit.apply(solution.detach(), residual, solve, *parameters)
    return root


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, solution: Tensor, residual: Residual, solve: Solve, *parameters: Tensor
    ) -> Tensor:
        root = solution.clone()
        ctx.residual, ctx.solve = residual, solve
        ctx.save_for_backward(root, *parameters)
        return root

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0]
        root, *parameters = ctx.saved_tensors
        again = torch.is_grad_enabled()
        adjoint = ctx.solve(grad.detach())
        if again:
            adjoint = implicit(
                adjoint, _adjoint_residual(ctx.residual), ctx.solve, grad, root, *parameters
            )
        else:
            root = root.detach()
        wanted = ctx.needs_input_grad[3:]
        with torch.enable_grad():
            # Views, so that the derivative is the partial one: the root is a function of the
            # parameters, not of their views.
            views = [
                _leaf(part, again) if want else part.detach() if not again else part
                for part, want in zip(parameters, wanted, strict=True)
            ]
            found = torch.autograd.grad(
                ctx.residual(root, *views),
                [view for view, want in zip(views, wanted, strict=True) if want],
                -adjoint,
                create_graph=again,
                allow_unused=True,
            )
        rest = iter(found)
        return (None, None, None, *(next(rest) if want else None for want in wanted))


def _leaf(value: Tensor, again: bool) -> Tensor:
    if again and value.requires_grad:
        return value.view_as(value)
    return value.detach().requires_grad_()


def _adjoint_residual(residual: Residual) -> Residual:
    def adjoint_residual(
        adjoint: Tensor, grad: Tensor, root: Tensor, *parameters: Tensor
    ) -> Tensor:
        with torch.enable_grad():
            point = _leaf(root, True)
            value = residual(point, *parameters)
            (product,) = torch.autograd.grad(value, point, adjoint, create_graph=True)
        return product - grad

    return adjoint_residual
