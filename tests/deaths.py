"""How the bodies of tests kill their own process, and how they go deaf."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from pathlib import Path

from pipeline_jobs.jobs.run import INTERRUPT

#: What a job that runs out of memory may take beyond what its process has, in bytes.
SPARE_BYTES = 64 * 1024 * 1024


def deaf(seconds: float) -> None:
    """Work that no word and no signal but SIGKILL ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {INTERRUPT})
    try:
        time.sleep(seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {INTERRUPT})


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault() -> None:
    ctypes.string_at(0)


def _memory() -> None:
    """Take memory until there is no more, then end as a C++ library does that cannot have what it needs."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_BYTES, hard))
    taken = []
    try:
        while True:
            taken.append(bytearray(1024 * 1024))
    except MemoryError:
        os.abort()


#: By their names in parameters.
DEATHS = {"kill": _kill, "segfault": _segfault, "memory": _memory}
