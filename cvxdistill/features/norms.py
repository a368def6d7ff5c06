"""The normalisations that the networks share."""

from typing import cast

import torch
from torch import Tensor, nn

from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError

NORMS = ("none", "instance", "batch", "layer", "group")
_GROUPS = 4


def make_norm(kind: str, channels: int, map_size: tuple[int, int]) -> nn.Module:
    """Return the normalisation `kind` for maps of `channels` channels.

    Choose `instance` for drawn, untrained extractors and for training on few examples; `batch`
    for networks trained on many (drawn and untrained it divides by 1, that is, does nothing);
    `group` (four groups) and `layer` (one) in between; `none` to see what a norm gives.

    Sources: Ulyanov, Vedaldi and Lempitsky (2016), "Instance Normalization",
    <https://arxiv.org/abs/1607.08022>; Wu and He (2018), "Group Normalization",
    <https://arxiv.org/abs/1803.08494>; Ioffe and Szegedy (2015), "Batch Normalization",
    <https://arxiv.org/abs/1502.03167>.

    Args:
        kind: one of `none`, `instance`, `batch`, `layer`, `group`.
        channels: channels of the maps that come in.
        map_size: `(h, w)` of those maps.

    Raises:
        InputError: an unknown kind, or channels that do not divide into groups.

    Example:
        >>> make_norm("instance", 8, (4, 4))(torch.rand(2, 8, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """
    check_choice("norm", kind, NORMS)
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group" and channels % _GROUPS:
        raise InputError(
            f"group norm needs a width divisible by {_GROUPS}; got {channels}. Use another width "
            "or norm."
        )
    if kind == "group":
        return nn.GroupNorm(_GROUPS, channels)
    # A map of one pixel minus its own mean is zero whatever the image: instance norm would erase
    # it. One group over all channels is then the only norm of a single example that does not.
    if kind == "layer" or map_size[0] * map_size[1] == 1:
        return nn.GroupNorm(1, channels)
    return InstanceNorm(channels)


class InstanceNorm(nn.GroupNorm):
    """Each channel of each example brought to mean 0 and variance 1, then scaled and shifted.

    Equal to `nn.GroupNorm(channels, channels)` up to the rounding of float32, and quicker without
    gradients on a CPU in channels-last memory, which is the fastest layout for the convolutions.

    Example:
        >>> maps = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
        >>> norm = InstanceNorm(3).requires_grad_(False)
        >>> torch.allclose(norm(maps), nn.GroupNorm(3, 3)(maps), atol=1e-5)
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Map `(n, c, h, w)` to the same shape."""
        # Asked in this order because `vmap`, under which students train, cannot tell the layout.
        if maps.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(maps)
        quick = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
        return self._forward_channels_last(maps) if quick else super().forward(maps)

    def _forward_channels_last(self, maps: Tensor) -> Tensor:
        # Two passes, so that nothing cancels, and means as matrix products, since reductions over
        # the middle of (n, hw, c) are slow. Microseconds an image for a whole ConvNet on 28 x 28,
        # two threads, batches of 32, at widths 32 / 64 / 128: this 55 / 117 / 326; GroupNorm in
        # contiguous memory 74 / 161 / 403; `torch.var_mean` in channels-last 150 / 291 / 687.
        n, c, h, w = maps.shape
        flat = maps.permute(0, 2, 3, 1).reshape(n, h * w, c)
        averager = flat.new_full((n, 1, h * w), 1.0 / (h * w))
        mean = torch.bmm(averager, flat)
        variance = torch.bmm(averager, (flat - mean).square_())
        scale = torch.rsqrt(variance + self.eps) * self.weight
        shift = cast(Tensor, self.bias) - mean * scale
        return torch.addcmul(shift, flat, scale).reshape(n, h, w, c).permute(0, 3, 1, 2)
