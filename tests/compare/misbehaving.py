"""Methods that do what a comparison must survive, importable from a process of its own."""

import dataclasses
import time
from typing import ClassVar

import torch

from cvxdistill.methods import DistillTask, Method, MethodResult


@dataclasses.dataclass(frozen=True)
class Hanging(Method):
    """Never comes back."""

    name: ClassVar[str] = "hanging"

    def run(self, task: DistillTask) -> MethodResult:
        time.sleep(600)
        raise AssertionError("still there")


@dataclasses.dataclass(frozen=True)
class Faulty(Method):
    """Has a fault of its own."""

    name: ClassVar[str] = "faulty"

    def run(self, task: DistillTask) -> MethodResult:
        raise ZeroDivisionError("a fault\nover two lines")


@dataclasses.dataclass(frozen=True)
class Greedy(Method):
    """Takes so many megabytes for a moment, and gives uniform labels."""

    megabytes: int = 0

    name: ClassVar[str] = "greedy"

    def run(self, task: DistillTask) -> MethodResult:
        torch.ones(self.megabytes, 1_000_000, dtype=torch.uint8).max()
        shape = len(task.base), task.target.num_classes
        return MethodResult(torch.full(shape, 1 / shape[1], dtype=torch.float64), "distribution")
