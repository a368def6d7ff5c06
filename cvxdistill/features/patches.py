"""A convolution of images as a product of its weights with their patches."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ImageConv2d(nn.Conv2d):
    """A first convolution: `Conv2d` of stride 1, trained in about half the time on a CPU.

    Choose it for a layer of few maps that sees the images themselves. The weights' gradient is
    what PyTorch takes longest for in a small network; as a product with the images' patches it
    takes a quarter of that. The patches are copies of the images, `kernel_size**2` times their
    size, and have no use where the images are to have gradients. There, without gradients, and on
    other devices, where PyTorch's convolution is many times quicker, it is that.

    Args:
        channels: of the images.
        maps: that come out.
        kernel_size: side of the patches.
        padding: zeros on each side.

    Example:
        >>> ImageConv2d(1, 6, 5, padding=2)(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 6, 8, 8])
    """

    def __init__(self, channels: int, maps: int, kernel_size: int, *, padding: int) -> None:
        super().__init__(channels, maps, kernel_size, padding=padding)
        self.side, self.margin = kernel_size, padding

    def forward(self, input: Tensor) -> Tensor:
        """Map images `(n, channels, h, w)` to `(n, maps, h', w')`."""
        if input.device.type != "cpu" or not torch.is_grad_enabled() or input.requires_grad:
            plain: Tensor = super().forward(input)
            return plain
        assert self.bias is not None
        padded = F.pad(input, (self.margin,) * 4)
        patches = padded.unfold(2, self.side, 1).unfold(3, self.side, 1)
        sizes = patches.shape[0], *patches.shape[2:4]
        # One column a patch: the product of so few rows is quickest this way round.
        columns = patches.permute(1, 4, 5, 0, 2, 3).flatten(3).flatten(0, 2)
        maps = torch.addmm(self.bias[:, None], self.weight.flatten(1), columns)
        out: Tensor = maps.unflatten(1, sizes).transpose(0, 1)
        return out
