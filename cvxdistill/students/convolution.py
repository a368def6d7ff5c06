"""Convolutions as products of patches, for networks whose weights are stacked.

A convolution over stacked weights becomes a grouped one, whose gradients cuDNN computes group by
group. As a product of weights and patches it is one batched matrix product forwards and two
backwards, however many networks there are.
"""

import copy
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import pad


class ProductConv2d(nn.Conv2d):
    """A `nn.Conv2d` that multiplies its weights with patches of the images.

    The same weights under the same names, the same values up to rounding, and gradients of any
    order. It takes `k**2` times the memory of its input for a `k x k` kernel. On a GPU with stacked
    weights it is the quicker one, on a CPU never. Products are in full float32 unless PyTorch's
    `set_float32_matmul_precision` says otherwise, whereas cuDNN's convolutions round to TF32.

    Example:
        >>> import torch
        >>> layer = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        >>> images = torch.rand(4, 2, 8, 8)
        >>> torch.allclose(as_products(layer)(images), layer(images), atol=1e-6)
        True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map `(n, inputs, h, w)` to `(n, outputs, h', w')`."""
        (rows, columns), (down, right) = self.kernel_size, self.stride
        above, beside = cast(tuple[int, int], self.padding)
        padded = pad(input, (beside, beside, above, above)) if above or beside else input
        # (n, c, h', w', rows, columns), a view; then patches as columns, since what lies side by
        # side in an image does so in a row of them, and is read and written in one go.
        patches = padded.unfold(2, rows, down).unfold(3, columns, right)
        n, _, height, width = patches.shape[:4]
        flat = patches.permute(1, 4, 5, 0, 2, 3).reshape(-1, n * height * width)
        out = self.weight.flatten(1) @ flat
        if self.bias is not None:
            out = out + self.bias[:, None]
        return out.reshape(-1, n, height, width).transpose(0, 1)


def as_products(module: nn.Module) -> nn.Module:
    """Return a copy of a module in which convolutions are products; grouped ones stay as they are.

    Names and shapes of weights and buffers are those of the original.

    Example:
        >>> module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
        >>> [type(layer).__name__ for layer in as_products(module)]
        ['ProductConv2d', 'ReLU']
    """
    copied = copy.deepcopy(module)
    for layer in copied.modules():
        if type(layer) is nn.Conv2d and _plain(layer):
            # The very same layer with another `forward`: whatever it holds stays where it is.
            layer.__class__ = ProductConv2d
    return copied


def _plain(layer: nn.Conv2d) -> bool:
    return (
        layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and tuple(layer.dilation) == (1, 1)
    )
