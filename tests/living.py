"""Processes that a test's own process, or another one, has started.

A child that has ended stands in the list of processes until its parent has asked for it, which may be the next test, and it may end between
the look at the list and the question: then psutil has no command line for it and raises. So nobody else asks (`test_living.py`).
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from tests.waiting import until


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


def alive(pid: int) -> bool:
    """`lives`, of the process with this number."""
    with suppress(psutil.NoSuchProcess):
        return lives(psutil.Process(pid))
    return False


def stop(pid: int) -> None:
    """Let a process of ours stand still from now on.

    A process stops as soon as it has a processor. Whatever signal it is sent before that is given to its handler first, by the kernel in
    the order of their numbers, and waits there unseen: SIGTERM is 15, SIGSTOP 19.
    """
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"{pid} to stand still")


def is_sent(pid: int, number: int) -> bool:
    """Whether a signal waits for a process that stands still."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines())
    return bool(int(status["ShdPnd"], 16) >> (number - 1) & 1)


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
