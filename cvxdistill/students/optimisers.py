"""Optimisers of students by name, and what is between two of their steps as tensors."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class OptimiserKind:
    """One optimiser and the learning rate it starts from when nobody says.

    Attributes:
        make: `(parameters, lr) -> optimiser`; every other setting is PyTorch's default.
        lr: PyTorch's default, or the usual one where PyTorch's is not meant for use.
        proportional: whether a step is proportional to the gradient, so that a steeper loss needs a
            smaller rate.
    """

    make: Callable[[Sequence[Tensor], float], torch.optim.Optimizer]
    lr: float
    proportional: bool = False

    def usual_rate(self, label_kind: str) -> float:
        """Return the learning rate for students that read labels of this kind.

        Example:
            >>> OPTIMISERS["sgd"].usual_rate("scores"), OPTIMISERS["adam"].usual_rate("scores")
            (0.005, 0.001)
        """
        # A squared error has curvature 2 in the logits, a cross-entropy p (1 - p): 0.09 where ten
        # classes are equal. With its usual rate, SGD on scores diverges.
        return self.lr / 20 if self.proportional and label_kind == "scores" else self.lr


def _momentum(parameters: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def _on_cpu(parameters: Sequence[Tensor]) -> bool:
    """Return whether one pass over all weights is quicker: a fifth of an MLP's step on a CPU."""
    return all(parameter.device.type == "cpu" for parameter in parameters)


OPTIMISERS: dict[str, OptimiserKind] = {
    "adam": OptimiserKind(lambda p, lr: torch.optim.Adam(p, lr=lr, fused=_on_cpu(p)), 1e-3),
    "adamw": OptimiserKind(lambda p, lr: torch.optim.AdamW(p, lr=lr, fused=_on_cpu(p)), 1e-3),
    "sgd": OptimiserKind(lambda p, lr: torch.optim.SGD(p, lr=lr), 1e-1, proportional=True),
    "momentum": OptimiserKind(_momentum, 1e-2, proportional=True),
    "rmsprop": OptimiserKind(lambda p, lr: torch.optim.RMSprop(p, lr=lr), 1e-3),
}


def pack_optimiser(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Return what an optimiser remembers, such as Adam's moments, as tensors under `prefix`.

    Example:
        >>> weight = torch.zeros(2, requires_grad=True)
        >>> optimiser = torch.optim.Adam([weight])
        >>> weight.grad = torch.ones(2)
        >>> optimiser.step()
        >>> sorted(pack_optimiser(optimiser, "adam"))
        ['adam.0.exp_avg', 'adam.0.exp_avg_sq', 'adam.0.step']
    """
    state: Mapping[int, Mapping[str, Any]] = optimiser.state_dict()["state"]
    return {
        f"{prefix}.{index}.{key}": torch.as_tensor(value).detach().clone()
        for index, entries in state.items()
        for key, value in entries.items()
        if value is not None
    }


def unpack_optimiser(
    optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor], prefix: str
) -> None:
    """Give an optimiser what [pack_optimiser][cvxdistill.students.pack_optimiser] returned."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith(f"{prefix}."):
            index, _, key = name.removeprefix(f"{prefix}.").partition(".")
            # The count of steps is a number that the CPU reads, unless the optimiser moves it.
            own = value.cpu() if key == "step" else value
            like = parameters[int(index)]
            # Moments lie in memory as their weights do, which PyTorch's fused steps take for
            # granted; a checkpoint from another device may have them otherwise.
            like = like if own.shape == like.shape else own
            laid = torch.empty_like(like, dtype=own.dtype, device=own.device)
            entries.setdefault(int(index), {})[key] = laid.copy_(own)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": entries})
