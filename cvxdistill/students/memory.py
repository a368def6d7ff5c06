"""How many students fit side by side."""

import torch
from torch import Tensor, nn

from cvxdistill.features import Network

# What a stack of students may hold of activations. Beyond this a CPU gains nothing by more of them
# at once; of a GPU's memory a share that leaves room for whatever else lies there.
CPU_BYTES = 2**28
GPU_SHARE = 0.25


def students_at_once(
    network: Network, shape: tuple[int, ...], batch_size: int, device: torch.device
) -> int:
    """Return how many students of a network should train side by side on this device.

    Counted are activations of a batch, and what their gradients take again. It depends on the
    device's memory, not on how much of it is free, so that a run can be repeated.

    Example:
        >>> from cvxdistill.features import MLP
        >>> cpu = torch.device("cpu")
        >>> small, large = (students_at_once(MLP(width=w), (9,), 100, cpu) for w in (16, 64))
        >>> small > large > 1
        True
    """
    room = float(CPU_BYTES)
    if device.type == "cuda":
        room = GPU_SHARE * torch.cuda.get_device_properties(device).total_memory
    return max(1, int(room // (3 * 4 * batch_size * _activations(network, shape))))


def _activations(network: Network, shape: tuple[int, ...]) -> int:
    """Return how many numbers the layers of a network give for one example.

    Args:
        network: the recipe.
        shape: of one example.

    Raises:
        InputError: the network cannot take examples of this shape.
    """
    with torch.device("meta"):
        trunk = network.trunk(shape)
    counted: list[int] = []

    def count(_module: nn.Module, _inputs: object, out: Tensor) -> None:
        counted.append(out.numel() // 2)

    for layer in trunk.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count)
    # Two examples, since BatchNorm refuses a single one.
    trunk(torch.empty(2, *shape, device="meta"))
    return max(1, sum(counted))
