"""Work on a CPU shared out by the batch instead of inside each operation."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Yield `work(item)` in order, computed by threads in which each operation is single-threaded.

    Choose it for many small independent forward passes on a CPU. Nothing waits at the end of
    every operation for the slowest thread, and results are the same bits for any number of
    workers. At most two items a worker are in flight. `work` must be safe to call from several
    threads, and enters its own `torch.no_grad`, which holds for one thread only.

    Args:
        work: what is done to each item.
        items: the items, in order.
        workers: number of threads.

    Raises:
        Exception: whatever `work` raises.

    Example:
        >>> list(map_threads(lambda x: x * x, range(4), workers=2))
        [0, 1, 4, 9]
    """
    before = torch.get_num_threads()
    executor = ThreadPoolExecutor(workers, initializer=_single_threaded)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)
        # The workers' setting is their own, but it is also what threads started later begin with.
        torch.set_num_threads(before)


def _single_threaded() -> None:
    # A thread takes over the common setting at its first operation; asking first makes that
    # happen now, and not after ours.
    torch.get_num_threads()
    torch.set_num_threads(1)
