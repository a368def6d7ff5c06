"""Training steps recorded as a CUDA graph: one launch a step in the place of hundreds.

A step of a small network is over before the next kernel is launched. A graph launches all kernels
of a step at once; they are the same kernels on the same memory, so the weights are the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Steps to take before recording, so that whatever is set up on first use has been.
WARM_UP = 3
# Recording costs some tens of milliseconds; fewer steps than these do not earn them back.
WORTH_RECORDING = 50

Step = Callable[[Tensor, Tensor], None]


class RecordedStep:
    """A recorded training step; calling it takes the step.

    Args:
        step: `(examples, labels)`, which changes parameters and optimiser in place and returns
            nothing; always the same kernels in the same order.
        examples: of the shape and type of every later call.
        labels: likewise.
        parameters: that the step changes.
        optimiser: that the step uses; is changed to one whose steps can be recorded.

    Raises:
        RuntimeError: the step cannot be recorded. Parameters and optimiser are as they were, and
            steps can be taken without recording.
    """

    def __init__(
        self,
        step: Step,
        examples: Tensor,
        labels: Tensor,
        parameters: Sequence[Tensor],
        optimiser: torch.optim.Optimizer,
    ) -> None:
        # Graphs read and write fixed memory, so each call copies what it is given to here.
        self.examples, self.labels = examples.clone(), labels.clone()
        self.graph = torch.cuda.CUDAGraph()
        allow_recording(optimiser)
        before = [parameter.detach().clone() for parameter in parameters]
        remembered = _copied(optimiser)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    step(self.examples, self.labels)
        finally:
            torch.cuda.current_stream().wait_stream(stream)
            put_back(parameters, before, optimiser, remembered)
        # Gradients are to live in the graph's own memory.
        optimiser.zero_grad(set_to_none=True)
        # Nothing runs in here, so that nothing has to be put back afterwards.
        with torch.cuda.graph(self.graph):
            step(self.examples, self.labels)

    def __call__(self, examples: Tensor, labels: Tensor) -> None:
        """Take the step on these examples and labels."""
        self.examples.copy_(examples)
        self.labels.copy_(labels)
        self.graph.replay()


def record(
    step: Step,
    examples: Tensor,
    labels: Tensor,
    parameters: Sequence[Tensor],
    optimiser: torch.optim.Optimizer,
) -> RecordedStep | None:
    """Return a training step as a graph that takes it, if it can be one.

    `None` stands for a step that is to be taken as it is: what cannot be recorded, such as a
    kernel that waits for the CPU or memory that does not suffice, is not an error.
    """
    try:
        with torch.cuda.device(examples.device):
            return RecordedStep(step, examples, labels, parameters, optimiser)
    except RuntimeError:
        optimiser.zero_grad(set_to_none=True)
        return None


def allow_recording(optimiser: torch.optim.Optimizer) -> None:
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
    parameters: Sequence[Tensor],
    before: Sequence[Tensor],
    optimiser: torch.optim.Optimizer,
    remembered: Mapping[Any, Mapping[str, Tensor]],
) -> None:
    """Give parameters and optimiser their former values, in the memory where they are.

    What the optimiser did not remember before becomes zero, with which every optimiser of
    `OPTIMISERS` starts: momentum as well, since its first step adds the gradient to nothing.
    """
    with torch.no_grad():
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
        for parameter, entries in optimiser.state.items():
            known = remembered.get(parameter, {})
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    value.copy_(known[key]) if key in known else value.zero_()


def _copied(optimiser: torch.optim.Optimizer) -> dict[Any, dict[str, Tensor]]:
    return {
        parameter: {k: v.detach().clone() for k, v in entries.items() if isinstance(v, Tensor)}
        for parameter, entries in optimiser.state.items()
    }
