"""Threads: order, how many items are out at once, failures, and thread counts given back."""

import threading

import pytest
import torch
from threadpoolctl import threadpool_info

from cvxdistill.streaming import library_threads, map_in_order


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_few_items_are_out(workers):
    taken, done, peak = [], [], []
    gate = threading.Barrier(workers, timeout=30)

    def items():
        for item in range(3 * workers):
            taken.append(item)
            peak.append(len(taken) - len(done))
            yield item

    def work(item):
        gate.wait()  # Only so many at once can ever pass: they do run side by side.
        return item * item

    for result in map_in_order(work, items(), workers=workers):
        done.append(result)
    assert done == [item * item for item in range(3 * workers)]
    assert max(peak) <= workers + 2


@pytest.mark.parametrize("where", ["reading", "working"])
def test_failures_come_through(where):
    def items():
        yield 1
        if where == "reading":
            raise ValueError("broken")
        yield 2

    def work(item):
        if where == "working" and item == 2:
            raise ValueError("broken")
        return item

    with pytest.raises(ValueError, match="broken"):
        list(map_in_order(work, items(), workers=2))


def test_threads_are_given_back_even_after_a_failure():
    def blas():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    def failing():
        with library_threads(1):
            assert set(blas()) == {1}
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError

    before, torch_before = blas(), torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        failing()
    assert blas() == before
    assert torch.get_num_threads() == torch_before
