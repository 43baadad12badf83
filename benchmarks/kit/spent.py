"""CPU of everything that works for a unit of work: what is left of a comparison on a machine that is busy with other things."""

from __future__ import annotations

from collections.abc import Callable, Collection

import psutil


def spent(work: Callable[[], object], units: int, apart: Collection[int] = ()) -> float:
    """us of CPU (user and system) that this process and all that it started take for `work`, by unit.

    :param apart: processes that it started which have nothing to do with it, with all of theirs.
    """
    before = _all(apart)
    work()
    return (_all(apart) - before) / units * 1e6


def started() -> set[int]:
    """The processes that this one has started, without theirs."""
    return {process.pid for process in psutil.Process().children()}


def _all(apart: Collection[int]) -> float:
    here = psutil.Process()
    mine = [child for child in here.children() if child.pid not in apart]
    total = 0.0
    for process in (here, *mine, *(other for child in mine for other in _of(child))):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)  # type: ignore[no-any-return]
    except psutil.NoSuchProcess:
        return []
