"""A SIGTERM that comes when Celery does not listen: before it has begun to, or after a worker has ended its work."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from celery.apps.worker import Worker as CommandWorker
from celery.signals import worker_shutdown

#: Options of `celery` before its command that have no value; each other one has.
_FLAGS = ("-C", "--no-color", "-q", "--quiet", "--skip-checks")


def is_worker(arguments: Sequence[str]) -> bool:
    """The command line of `celery` starts a worker. :param arguments: without the program."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return word == "worker"
        if "=" not in word and word not in _FLAGS:
            next(words, None)
    return False


def may_end_before_it_begins() -> None:
    """A worker that is told to stop before Celery takes SIGTERM over, which is after the self-tests of pipelines, has accepted nothing and
    ends with 0. By default it would be killed, and as the first process of a container, which that does not reach, it would go on."""
    if is_worker(sys.argv[1:]):
        signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    # An import may be at work, and SystemExit be caught there.
    os._exit(0)


def ignore_more(sender: Any, **_: Any) -> None:
    """`worker_shutdown`: its work has ended. Python's own end takes the handler away, and a second SIGTERM would kill what is left: the
    exit code would be that of a worker that was lost."""
    if isinstance(sender, CommandWorker):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def install() -> None:
    """Connect; connecting twice is one connection."""
    worker_shutdown.connect(ignore_more, dispatch_uid="pipeline-jobs-worker-shutdown")
