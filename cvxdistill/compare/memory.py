"""Peak memory of a stretch of work: of the process, and of the GPU."""

import dataclasses
import sys
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True)
class Peak:
    """The most memory held at any one time.

    Attributes:
        process: resident memory of the whole process in bytes, interpreter and libraries
            included; `None` where the system cannot say it for this stretch alone.
        gpu: bytes that tensors took on the GPU; `None` without one.
    """

    process: int | None
    gpu: int | None


class PeakMemory:
    """Measures from now until `read`.

    Linux tells the peak of a process since it was last set back, by `VmHWM` and `clear_refs`.
    Elsewhere there is only the peak of the whole life of a process, `ru_maxrss`, which is right in
    a process that does nothing else. (On Linux `ru_maxrss` will not do: a child starts with the
    peak of the parent that it was forked from.)

    Args:
        device: where the work happens.
        alone: whether this process does nothing else.
    """

    def __init__(self, device: torch.device | str, *, alone: bool) -> None:
        self.device, self.alone = torch.device(device), alone
        try:
            CLEAR.write_text("5")
            self.cleared = _high_water() is not None
        except OSError:
            self.cleared = False
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> Peak:
        """Return the peak since this object was made."""
        process = None
        if self.cleared:
            process = _high_water()
        elif self.alone:
            high = _high_water()
            process = _lifetime_peak() if high is None else high
        on_gpu = self.device.type == "cuda"
        return Peak(process, torch.cuda.max_memory_allocated(self.device) if on_gpu else None)


def _high_water() -> int | None:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None


def _lifetime_peak() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, other systems kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024
