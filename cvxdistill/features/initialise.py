"""Weights drawn from our own generator, the same bits on every processor."""

import math

import torch
from torch import Tensor, nn

from cvxdistill.errors import InputError

_WEIGHTED = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def draw_weights(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw every parameter of `module` from `generator` and return the module.

    Choose it wherever a network starts afresh: PyTorch's own initialisation draws from the global
    generator, which the package leaves alone. The scales are PyTorch's defaults: weights and
    biases of convolutions and linear layers uniform in `+-1/sqrt(fan_in)` (the Kaiming bound with
    `a = sqrt(5)`), norms at scale 1, shift 0, running mean 0 and running variance 1.

    Source: He, Zhang, Ren and Sun (2015), "Delving Deep into Rectifiers",
    <https://arxiv.org/abs/1502.01852>.

    Args:
        module: a CPU module of convolutions, linear layers and norms; parameters of any floating
            dtype, drawn in float32.
        generator: a CPU generator; it advances by one number a weight.

    Raises:
        InputError: a layer with parameters or buffers of another kind.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> layer = draw_weights(nn.Linear(4, 2), g)
        >>> bool(layer.weight.abs().max() <= 0.5)
        True
    """
    with torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, _WEIGHTED):
                fan_in = layer.weight[0].numel()
                _draw_uniform(layer.weight, fan_in, generator)
                if layer.bias is not None:
                    _draw_uniform(layer.bias, fan_in, generator)
            elif isinstance(layer, _NORMS):
                _reset_norm(layer)
            elif _owns_state(layer):
                raise InputError(
                    f"weights can be drawn for convolutions, linear layers and norms; got a "
                    f"{type(layer).__name__} at `{name or 'the root'}`. Build the network from "
                    "those, or give its weights from a file."
                )
    return module


def _draw_uniform(parameter: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """Fill `parameter` with uniform numbers in `+-1/sqrt(fan_in)`."""
    # Uniform floats are whole multiples of 2**-24, so subtracting one half is exact and a single
    # rounding remains: the same bits on every CPU. Normal draws go through vectorised logarithms
    # and cosines, which differ in the last bit between processors.
    draw = torch.rand(parameter.shape, generator=generator, dtype=torch.float32)
    parameter.copy_(draw.sub_(0.5).mul_(2.0 / math.sqrt(fan_in)))


def _reset_norm(layer: nn.Module) -> None:
    """Set a norm to scale 1, shift 0 and forget its running statistics."""
    for parameter, value in (("weight", 1.0), ("bias", 0.0)):
        if getattr(layer, parameter, None) is not None:
            getattr(layer, parameter).fill_(value)
    for buffer, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
        if getattr(layer, buffer, None) is not None:
            getattr(layer, buffer).fill_(value)


def _owns_state(layer: nn.Module) -> bool:
    """Whether the layer itself, its children aside, has parameters or buffers."""
    own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    return bool(own)
