"""Processes that a test's own process, or another one, has started.

A child that has ended stands in the list of processes until its parent has asked for it, which may be the next test, and it may end between
the look at the list and the question: then psutil has no command line for it and raises. So nobody else asks (`test_living.py`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil


def children(of: int | None = None, *, recursive: bool = False) -> list[psutil.Process]:
    """Those that live. :param of: a process; without it this one."""
    with suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(of).children(recursive=recursive) if lives(child)]
    return []


def running(part: str, of: int | None = None, *, recursive: bool = False) -> list[psutil.Process]:
    """The living children with that text in their command line, whose words are parted by a space."""
    return [child for child in children(of, recursive=recursive) if part in command(child)]


def command(process: psutil.Process) -> str:
    """Its command line; that of a process that has ended is empty."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def command_of(pid: int) -> str:
    """Likewise, of the process with this number."""
    with suppress(psutil.NoSuchProcess):
        return command(psutil.Process(pid))
    return ""


def lives(process: psutil.Process) -> bool:
    """False also for one that has ended and that nobody has asked for. One of which only the first thread has ended still has its files:
    what another process sends would reach it."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    return False


def stands_still(pid: int) -> bool:
    """Whether a SIGSTOP has reached all of its threads: sent to a busy machine, it takes a while."""
    return all(_state(task) == "T" for task in Path(f"/proc/{pid}/task").iterdir())


def _state(task: Path) -> str:
    return task.joinpath("stat").read_text().rpartition(")")[2].split()[0]


def group_lives(number: int) -> bool:
    """Whether a process of this group does: its leader's children may live for a moment after they were killed with it."""
    with suppress(ProcessLookupError):
        os.killpg(number, 0)
        # Each stack that ends asks this for each of its processes: of all others of the machine only the number of their group is read.
        return any(_lives(pid) for pid in psutil.pids() if _group_of(pid) == number)
    return False


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return lives(psutil.Process(pid))
    return False


def _group_of(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None
