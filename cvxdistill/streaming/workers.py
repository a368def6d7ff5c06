"""Work on many items by several threads, and how many threads a library may use meanwhile."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Yield `work(item)` for all items in their order, worked on by threads.

    Items are read by the caller's thread while the others work; at no time do more than
    `workers + 1` of them wait or are worked on. What reading or working raises is raised here.

    Example:
        >>> list(map_in_order(str, range(3), workers=2))
        ['0', '1', '2']
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@functools.cache
def _controller() -> Any:
    """Look through the loaded libraries once: that takes as long as a small pass."""
    import numpy as np  # noqa: F401  its library is the one that counts
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def library_threads(threads: int) -> Iterator[None]:
    """Let PyTorch and numpy's products use so many threads a call, inside the block.

    The numbers belong to the process, so other threads of it see them too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _controller().limit(limits=threads, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
