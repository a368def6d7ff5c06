"""Steps of learning recorded as CUDA graphs: one launch a step in the place of hundreds.

A step of a small network is over before the next kernel is launched. A graph launches all kernels
of a step at once; they are the same kernels on the same memory, so the results are the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

# Steps to take before recording, so that whatever is set up on first use has been.
WARM_UP = 3
# Recording costs some tens of milliseconds; fewer steps than these do not earn them back.
WORTH_RECORDING = 50

Out = TypeVar("Out")
Remembered = Mapping[Any, Mapping[str, Tensor]]


class Recorded(Generic[Out]):
    """A function of tensors that was recorded; calling it does again what the function did.

    Args:
        function: of `inputs`, which may change tensors and optimisers in place and returns tensors,
            in whatever holds them; always the same kernels in the same order.
        inputs: of the shapes and types of every later call.
        changed: tensors that it changes.
        optimisers: whose steps it takes; are changed to ones whose steps can be recorded.

    Raises:
        RuntimeError: the function cannot be recorded. What it changes is as it was, and it can be
            called without recording.
    """

    def __init__(
        self,
        function: Callable[..., Out],
        inputs: Sequence[Tensor],
        *,
        changed: Sequence[Tensor],
        optimisers: Sequence[Optimizer] = (),
    ) -> None:
        # Graphs read and write fixed memory, so each call copies what it is given to here.
        self.inputs = [value.clone() for value in inputs]
        self.graph = torch.cuda.CUDAGraph()
        for optimiser in optimisers:
            allow_recording(optimiser)
        before = [value.detach().clone() for value in changed]
        remembered = [_copied(optimiser) for optimiser in optimisers]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    function(*self.inputs)
        finally:
            torch.cuda.current_stream().wait_stream(stream)
            put_back(changed, before, dict(zip(optimisers, remembered, strict=True)))
        # Gradients are to live in the graph's own memory.
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        # Nothing runs in here, so that nothing has to be put back afterwards.
        with torch.cuda.graph(self.graph):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Out:
        """Do it with these inputs; what comes back is overwritten by the next call."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.outputs


def record(
    function: Callable[..., Out],
    inputs: Sequence[Tensor],
    *,
    changed: Sequence[Tensor],
    optimisers: Sequence[Optimizer] = (),
) -> Recorded[Out] | None:
    """Return a function as a graph that does the same, if it can be one.

    `None` stands for one that is to be called as it is: what cannot be recorded, such as a kernel
    that waits for the CPU or memory that does not suffice, is not an error. Arguments are those of
    `Recorded`.
    """
    try:
        with torch.cuda.device(inputs[0].device):
            return Recorded(function, inputs, changed=changed, optimisers=optimisers)
    except RuntimeError:
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        return None


def allow_recording(optimiser: Optimizer) -> None:
    """Make an optimiser keep everything on the GPU, its count of steps included."""
    for group in optimiser.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    for parameter, entries in optimiser.state.items():
        if isinstance(entries.get("step"), Tensor):
            entries["step"] = entries["step"].to(parameter.device, torch.float32)
    # Steps of such an optimiser outside of a graph are what PyTorch warns of. Here they are meant:
    # before recording, and where it failed.
    optimiser._warned_capturable_if_run_uncaptured = True


def put_back(
    changed: Sequence[Tensor],
    before: Sequence[Tensor],
    optimisers: Mapping[Optimizer, Remembered],
) -> None:
    """Give tensors and optimisers their former values, in the memory where they are.

    Args:
        changed: tensors.
        before: what they were.
        optimisers: with what each remembered of every parameter.
    """
    with torch.no_grad():
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        for optimiser, remembered in optimisers.items():
            forget(optimiser)
            for parameter, known in remembered.items():
                for key, value in known.items():
                    optimiser.state[parameter][key].copy_(value)


def forget(optimiser: Optimizer) -> None:
    """Make an optimiser as good as new, in the memory where its state is.

    All it remembers becomes zero, with which every optimiser of `OPTIMISERS` starts: momentum as
    well, since its first step adds the gradient to nothing.
    """
    for entries in optimiser.state.values():
        for value in entries.values():
            if isinstance(value, Tensor):
                value.zero_()


def _copied(optimiser: Optimizer) -> dict[Any, dict[str, Tensor]]:
    return {
        parameter: {k: v.detach().clone() for k, v in entries.items() if isinstance(v, Tensor)}
        for parameter, entries in optimiser.state.items()
    }
