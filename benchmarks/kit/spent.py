"""CPU of everything that works for a unit of work: what is left of a comparison on a machine that is busy with other things."""

from __future__ import annotations

from collections.abc import Callable

import psutil


def spent(work: Callable[[], object], units: int) -> float:
    """us of CPU (user and system) that this process and all that it started take for `work`, by unit."""
    before = _all()
    work()
    return (_all() - before) / units * 1e6


def _all() -> float:
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
