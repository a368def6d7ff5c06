"""Whole numbers of few bits, without gaps between them."""

import math

import numpy as np
import torch
from torch import Tensor


def packed_size(count: int, bits: int) -> int:
    """Return the bytes that `count` numbers of `bits` bits take.

    Example:
        >>> packed_size(5, 3)
        2
    """
    return -(-count * bits // 8)


def pack(numbers: Tensor, bits: int) -> Tensor:
    """Return whole numbers in `[0, 2^bits)` as bytes, the first number in the lowest bits.

    Args:
        numbers: any shape; taken row after row.
        bits: of each number, at most 32.

    Returns:
        uint8, `packed_size(count, bits)` of them; bits that are left over are zero.

    Example:
        >>> pack(torch.tensor([1, 15, 2]), 4).tolist()
        [241, 2]
    """
    word = _word(bits)
    flat = numbers.reshape(-1).cpu().numpy().astype(word)
    parts = flat.view(np.uint8).reshape(-1, word.itemsize)
    every = np.unpackbits(parts, axis=1, bitorder="little")[:, :bits]
    return torch.from_numpy(np.packbits(every.reshape(-1), bitorder="little"))


def unpack(packed: Tensor, bits: int, shape: tuple[int, ...]) -> Tensor:
    """Return the numbers that `pack` was given, int64.

    Example:
        >>> unpack(pack(torch.tensor([[1, 15, 2]]), 4), 4, (1, 3)).tolist()
        [[1, 15, 2]]
    """
    word, count = _word(bits), math.prod(shape)
    every = np.unpackbits(packed.cpu().numpy(), count=count * bits, bitorder="little")
    padded = np.zeros((count, 8 * word.itemsize), dtype=np.uint8)
    padded[:, :bits] = every.reshape(count, bits)
    numbers = np.packbits(padded, axis=1, bitorder="little").view(word).reshape(shape)
    return torch.from_numpy(numbers.astype(np.int64))


def _word(bits: int) -> np.dtype[np.unsignedinteger]:
    # Bits are held one a byte on the way, so a wider word than needed would cost memory.
    return np.dtype("u1" if bits <= 8 else "<u4")
