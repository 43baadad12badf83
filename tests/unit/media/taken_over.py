"""A stage's child that a hostile file has taken over: `taken_over.py WHAT`, in the place of `stage_child`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

SAYINGS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "no json": lambda: say(b"{{{"),
    "no object": lambda: say(b"[]"),
    "no text": lambda: say(b"\xff\xfe"),
    "deep": lambda: say(b"[" * 100_000),
    "an answer of another shape": lambda: say(b'{"data": 1}'),
    "an error of another shape": lambda: say(b'{"error": {}, "message": []}'),
    "a progress that is no number": lambda: say(b'{"progress": NaN}'),
    "a progress without an end": lambda: say(b'{"progress": 1e999}'),
    "a progress of a kind": lambda: say(b'{"progress": {}}'),
    "a log of another shape": lambda: say(b'{"log": 5}'),
    "a log of another method": lambda: say(b'{"log": ["bind", "x", {}]}'),
    "a progress in words": lambda: say(b'{"progress": "nan"}'),
    "a line that is too long": lambda: say(b'{"data": {"x": "' + b"x" * 20_000_000 + b'"}}'),
    "an error that is not its own": lambda: say(b'{"error": "publish_failed", "message": "x"}'),
    "a segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "an abort": lambda: os.abort(),
    "want of memory in C++": lambda: no_memory(),
    "a kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "a long error": lambda: say(b'{"error": "media_damaged", "message": "' + b"x" * 1_000_000 + b'"}'),
}


def say(line: bytes) -> None:
    left = memoryview(line + b"\n")
    while left:
        left = left[os.write(0, left) :]


def no_memory() -> None:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


if __name__ == "__main__":
    with open(0, "rb", closefd=False) as orders:
        orders.readline()
        say(b'{"lacks": ""}')
        orders.readline()
        SAYINGS[sys.argv[1]]()
