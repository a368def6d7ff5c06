"""Features from inside a network: the output of a named layer, made one row an image."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError


def _mean(values: Tensor) -> Tensor:
    return values.mean(1) if values.ndim == 3 else values.mean((2, 3))


def _max(values: Tensor) -> Tensor:
    return values.amax(1) if values.ndim == 3 else values.amax((2, 3))


def _mean_last(values: Tensor) -> Tensor:
    return values.flatten(1, -2).mean(1)


def _cls(values: Tensor) -> Tensor:
    if values.ndim != 3:
        raise InputError(
            f"pool `cls` takes the first of tokens (n, t, d); got {tuple(values.shape)}. Use mean "
            "or max for maps (n, c, h, w)."
        )
    return values[:, 0]


def _flatten(values: Tensor) -> Tensor:
    return values.flatten(1)


POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": _mean,
    "max": _max,
    "cls": _cls,
    "mean-last": _mean_last,
    "flatten": _flatten,
}
"""From maps `(n, c, h, w)` or tokens `(n, t, d)` to `(n, features)`.

`mean` and `max` go over the places of maps and over tokens; `cls` is the first token; `mean-last`
is the mean for maps with channels last, `(n, h, w, c)`; `flatten` keeps all numbers.
"""


class Tap(nn.Module):
    """A network cut off after one of its layers, with the layer's output pooled to `(n, d)`.

    The layer is reached by a hook that is there during a call only, so the network itself stays as
    it was, and nothing after the layer is computed. A layer that a network uses several times
    counts at its first use.

    Args:
        network: the network; it is neither copied nor frozen here.
        layer: dotted name of a submodule, such as `layer3.1`, as `named_modules()` gives it; `None`
            for the output of the network.
        pool: a key of `POOLINGS`; outputs `(n, d)` are left as they are.

    Raises:
        InputError: no such layer, or an unknown pool.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> Tap(network, "1")(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, layer: str | None = None, pool: str = "mean") -> None:
        super().__init__()
        self.network = network
        self.layer = layer
        self.pool = check_choice("pool", pool, POOLINGS)
        if layer is not None:
            find_layer(network, layer)

    def forward(self, images: Tensor) -> Tensor:
        """Map images to features `(n, d)`.

        Raises:
            InputError: a layer that is not reached, or that gives something other than a tensor
                of 2, 3 or 4 dimensions.
        """
        if self.layer is None:
            return self._pooled(self.network(images))
        hook = find_layer(self.network, self.layer).register_forward_hook(_stop)
        try:
            self.network(images)
        except _ReachedError as reached:
            return self._pooled(reached.output)
        finally:
            hook.remove()
        raise InputError(f"layer `{self.layer}` is not used when the network runs. Name another.")

    def _pooled(self, output: Any) -> Tensor:
        where = "the network" if self.layer is None else f"layer `{self.layer}`"
        if not isinstance(output, Tensor):
            raise InputError(
                f"{where} gives a {type(output).__name__}; features are one tensor. Name a layer "
                "that gives one."
            )
        if output.ndim == 2:
            return output
        if output.ndim not in (3, 4):
            raise InputError(
                f"{where} gives {tuple(output.shape)}; expected features (n, d), tokens (n, t, d) "
                "or maps (n, c, h, w). Name another layer."
            )
        return POOLINGS[self.pool](output)


class _ReachedError(Exception):
    """Carries the output of the layer out of the rest of the network."""

    def __init__(self, output: Any) -> None:
        super().__init__("reached")
        self.output = output


def _stop(module: nn.Module, arguments: Any, output: Any) -> NoReturn:
    del module, arguments
    raise _ReachedError(output)


def find_layer(network: nn.Module, layer: str) -> nn.Module:
    """Return the submodule of that dotted name.

    Raises:
        InputError: no such layer; the message names those beside or below the place.
    """
    try:
        return network.get_submodule(layer)
    except AttributeError as error:
        known = [name for name, _ in network.named_modules() if name]
        parent = layer
        near: list[str] = []
        while not near:
            parent = parent.rpartition(".")[0]
            depth = parent.count(".") + 1 if parent else 0
            near = [
                name
                for name in known
                if name.count(".") == depth and (not parent or name.startswith(f"{parent}."))
            ]
            if not parent:
                break
        raise InputError(
            f"no layer `{layer}` in this {type(network).__name__}; there are "
            f"{', '.join(near[:12]) or 'none'}."
        ) from error


def find_classifier(network: nn.Module) -> str | None:
    """Return the dotted name of the last linear layer; `None` where there is none.

    What it reads is what is commonly called the features of a classification network.
    """
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    return names[-1] if names else None


def cut_classifier(network: nn.Module, name: str) -> None:
    """Put an identity in the place of the layer of that dotted name."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())


def width_of(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the number of features that `module` gives for images of this shape."""
    device = next(module.parameters(), torch.empty(0)).device
    with torch.no_grad():
        features: Tensor = module(torch.zeros(1, *input_shape, device=device))
    return int(features.shape[1])
