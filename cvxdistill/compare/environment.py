"""Where numbers were made: versions, machine and threads."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from cvxdistill.manifest import versions

CPUINFO = Path("/proc/cpuinfo")


def environment(device: torch.device | str) -> dict[str, Any]:
    """Return what seconds and memory depend on, as JSON-able values.

    Example:
        >>> environment("cpu")["device"]
        'cpu'
    """
    place = torch.device(device)
    return {
        **versions(),
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": place.type,
        "device_name": (
            torch.cuda.get_device_name(place) if place.type == "cuda" else _processor()
        ),
    }


def _processor() -> str:
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
