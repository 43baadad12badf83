"""How many threads a job may use: its slot's part of the machine's cores.

A worker's slots share its machine, so a job that uses more cores than its part slows down those of other tenants, and all of them are
slower than with one thread each (two films of two threads each on two cores: 1.13 times as long).
"""

from __future__ import annotations

import os
from pathlib import Path

#: What libraries read that compute with several threads: OpenMP, numpy, ONNX, torch, and the stages of media.
VARIABLE = "OMP_NUM_THREADS"
#: The limit of a container: microseconds of processor time, or `max`, in so many microseconds.
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def share(slots: int, quota: Path = QUOTA) -> int:
    """How many threads each of so many slots may use: at least one."""
    return max(1, int(cores(quota) / max(1, slots)))


def cores(quota: Path = QUOTA) -> float:
    """How many this process may use: of those that it may run on, what the container leaves."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, _, period = quota.read_text("ascii").strip().partition(" ")
        return min(allowed, int(time) / int(period))
    except (OSError, ValueError):
        # There is none: `max`, another system, the first version of cgroups.
        return float(allowed)


def share_out(slots: int) -> None:
    """Tell the libraries of this worker's children. What an operator has set stays."""
    os.environ.setdefault(VARIABLE, str(share(slots)))
