"""Ports for the servers of tests."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from functools import cache
from pathlib import Path

#: Below those that kernels give to connections that leave (Linux: from 32768 on, others: from 49152). One of those that is free now may
#: be some client's end before the server binds it, or while a test has the server killed: then it does not come up.
FIRST, MANY = 20_000, 12_000
#: Where the locks are: not in TMPDIR first, which may be another for each run.
FOLDERS = (Path("/dev/shm"), Path("/tmp"), Path(tempfile.gettempdir()))
#: What was given to this process: a lock does not hold against the process that has it.
_given: set[int] = set()


def free_port() -> int:
    """A port of loopback that nobody listens on, and that no other process of tests is given before this one ends.

    Else another one may listen there before this one's server does, or while a test has it killed. Drawn from the system: hypothesis seeds
    `random`, alike in several processes.
    """
    while True:
        port = FIRST + secrets.randbelow(MANY)
        if port not in _given and _ours_alone(port) and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _ours_alone(port: int) -> bool:
    """Take the lock of a port's byte: the kernel drops it when this process ends, however that is. No child of it inherits it."""
    try:
        fcntl.lockf(_locks(os.getpid()), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True


@cache
def _locks(_pid: int) -> int:
    """One file for all: its locks belong to processes, and to close it would drop them. :param _pid: a forked process opens its own."""
    # Not in TMPDIR, which may be another for each run.
    folder = next(path for path in (Path("/dev/shm"), Path("/tmp"), Path(tempfile.gettempdir())) if os.access(path, os.W_OK))
    return os.open(folder / f"pipeline-jobs-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
