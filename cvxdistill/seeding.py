"""Independent random streams from one seed.

Nothing in the package touches a global generator. A stream is named by the seed and a path of
words and numbers, so adding a draw in one place never shifts the draws of another.
"""

import hashlib

import torch


def derive_seed(seed: int, *path: str | int) -> int:
    """Derive the 63-bit seed of the stream called `path` under `seed`.

    Args:
        seed: the seed given by the user.
        *path: names and indices, such as `"extractor", 3`.

    Returns:
        A non-negative integer below 2**63; the same on every platform and Python version.

    Example:
        >>> derive_seed(0, "base") == derive_seed(0, "base")
        True
        >>> derive_seed(0, "extractor", 1) == derive_seed(0, "extractor", 2)
        False
    """
    text = "/".join([str(int(seed)), *(str(part) for part in path)])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """Return a fresh CPU generator for the stream called `path` under `seed`.

    Draws are made on the CPU and then moved, so that one seed means the same numbers with and
    without a GPU.

    Example:
        >>> a, b = generator(0, "base"), generator(0, "base")
        >>> torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b))
        True
    """
    return torch.Generator().manual_seed(derive_seed(seed, *path))
