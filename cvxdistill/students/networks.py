"""What students are: which network, how it is drawn, how it reads labels, what it predicts."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cvxdistill.errors import InputError
from cvxdistill.features import MLP, ConvNet, LeNet, Network, draw_weights
from cvxdistill.seeding import generator

# Networks times examples that predict together on a GPU: enough to fill it, while the maps of the
# widest networks still fit.
TOGETHER = 8192


def default_student(shape: tuple[int, ...]) -> Network:
    """Return the network that students are when nobody says: LeNet where it fits.

    LeNet was made for 28 x 28. Below 12 pixels a side its second layer looks at 4 x 4 maps and
    little is left of it, so a narrow ConvNet takes its place; feature vectors get an MLP.

    Example:
        >>> str(default_student((1, 28, 28))), str(default_student((1, 8, 8)))
        ('lenet', 'convnet:width=32')
    """
    if len(shape) == 1:
        return MLP()
    return LeNet() if min(shape[1:]) >= 12 else ConvNet(width=32)


def student_loss(label_kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss with which students read labels of this kind, a mean over examples.

    Cross-entropy for a `distribution`; a squared error summed over classes for `scores`, which
    may be negative and mean what a squared-error head would say.
    """
    if label_kind == "distribution":
        return lambda logits, labels: -(labels * logits.log_softmax(-1)).sum(-1).mean(-1)
    return lambda logits, labels: (logits - labels).square().sum(-1).mean(-1)


def draw_student(
    network: Network, shape: tuple[int, ...], num_classes: int, *, seed: int
) -> nn.Module:
    """Return a freshly drawn network with a linear layer to `num_classes` on top."""
    stream = generator(seed, "student")
    trunk = network.build(shape, stream)
    trunk.eval()
    with torch.no_grad():
        width = int(trunk(torch.zeros(1, *shape)).shape[1])
    # Built on the meta device, which draws nothing from the global generator.
    with torch.device("meta"):
        last = nn.Linear(width, num_classes)
    return nn.Sequential(trunk, draw_weights(last.to_empty(device="cpu"), stream))


def quick_layout(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Return how maps and weights of convolutions lie in memory where training is quickest.

    Channels last on a CPU. But PyTorch (2.14) writes beyond its memory there on the way back
    through a strided 1 x 1 convolution of fewer than 8 channels, as in a ResNet of width 4.
    """
    breaks = any(
        isinstance(part, nn.Conv2d)
        and part.kernel_size == (1, 1)
        and part.stride != (1, 1)
        and part.in_channels < 8
        for part in module.modules()
    )
    on_cpu = device.type == "cpu" and not breaks
    return torch.channels_last if on_cpu else torch.contiguous_format


def check_batch(network: Network, shape: tuple[int, ...], size: int) -> None:
    """Refuse mini-batches that are too small for a network's norm.

    Args:
        network: to be trained.
        shape: of one preprocessed example.
        size: examples a batch.

    Raises:
        InputError: a single example a batch, where BatchNorm needs two.
    """
    if size > 1:
        return
    module = draw_student(network, shape, 2, seed=0).train()
    try:
        module(torch.zeros(size, *shape))
    except ValueError as error:
        raise InputError(
            f"`{network}` normalises over the batch and needs 2 examples a step; got {size}. Use "
            "more examples, or another norm, such as norm=group."
        ) from error


def predict(module: nn.Module, examples: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Return logits `(n, C)` of preprocessed examples, without gradients."""
    with torch.no_grad():
        return torch.cat([module(part) for part in examples.split(batch_size)])


def predict_stack(
    template: nn.Module, state: Mapping[str, Tensor], examples: Tensor, *, batch_size: int = 1024
) -> Tensor:
    """Return logits `(students, n, C)` of networks of one kind, in eval mode, without gradients.

    Args:
        template: one such network, whose weights are not looked at.
        state: stacked weights and buffers, `(students, ...)`.
        examples: `(n, *shape)` preprocessed, on the same device.
        batch_size: examples at a time, at most.
    """

    def one(state: dict[str, Tensor], batch: Tensor) -> Tensor:
        out: Tensor = functional_call(template, state, (batch,))
        return out

    size = max(1, min(batch_size, TOGETHER // len(next(iter(state.values())))))
    training = template.training
    template.eval()
    try:
        with torch.no_grad():
            parts = [
                vmap(one, in_dims=(0, None))(dict(state), part) for part in examples.split(size)
            ]
    finally:
        template.train(training)
    return torch.cat(parts, dim=1)
