"""Max pooling that is quicker on a CPU, with and without gradients."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HalvingMaxPool(nn.Module):
    """`MaxPool2d(2)`, the same bits, quicker on a CPU: five times without gradients.

    Without gradients nobody asks where each largest value lay, and the largest of two shifted
    copies, taken twice, is one vectorised pass. With gradients comparisons of the same kind say
    where it lay, and the pooled values are gathered from there, in half the time. Like PyTorch's
    own, the first of equal values gets the gradient. PyTorch's pooling serves other devices, and
    gradients of maps that have odd sides or channels last.

    Example:
        >>> with torch.no_grad():
        ...     HalvingMaxPool()(torch.arange(6.0).reshape(1, 1, 2, 3)).tolist()
        [[[[4.0]]]]
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Map `(..., h, w)` to `(..., h // 2, w // 2)`, the largest of each 2 x 2 square."""
        height, width = maps.shape[-2] // 2 * 2, maps.shape[-1] // 2 * 2
        if maps.device.type != "cpu" or height == 0 or width == 0:
            return F.max_pool2d(maps, 2)
        if torch.is_grad_enabled():
            # With channels last, PyTorch's is vectorised, and flat maps would be copies.
            quick = (height, width) == maps.shape[-2:] and maps.stride(-1) == 1
            return _gathered(maps) if quick else F.max_pool2d(maps, 2)
        rows = torch.maximum(maps[..., 0:height:2, :], maps[..., 1:height:2, :])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def _gathered(maps: Tensor) -> Tensor:
    """Pool by gathering, which PyTorch can differentiate in every way and any number of times."""
    places, largest = _first_largest(maps.detach())
    pooled = maps.flatten(-2).gather(-1, places.flatten(-2)).unflatten(-1, places.shape[-2:])
    # Comparisons do not find what is not a number.
    return torch.where(largest.isnan(), largest, pooled)


def _first_largest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return where in its map, row after row, each square's first largest value is, and that."""
    height, width = maps.shape[-2:]
    squares = maps.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))
    # One copy first: what follows takes many passes, and is vectorised on contiguous memory only.
    corners = squares.movedim((-3, -1), (0, 1)).flatten(0, 1).contiguous()
    top_left, top_right, bottom_left, bottom_right = corners
    top, bottom = torch.maximum(top_left, top_right), torch.maximum(bottom_left, bottom_right)
    above, below = top_right > top_left, bottom_right > bottom_left
    low = bottom > top
    # `torch.where(low, below, above)`, which takes many times as long on booleans.
    right = above ^ ((above ^ below) & low)
    offset = torch.add(right.to(torch.int32), low.to(torch.int32), alpha=width)
    rows = torch.arange(0, height * width, 2 * width, device=maps.device)
    starts = rows[:, None] + torch.arange(0, width, 2, device=maps.device)
    return offset + starts, torch.maximum(top, bottom)
