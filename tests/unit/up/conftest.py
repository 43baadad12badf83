"""Supervised processes for tests: small Python programs, and help to wait for what they do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline_jobs.up.processes import Command, Supervisor


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Poll a condition; fail if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        os.sched_yield()


def alive(pid: int) -> bool:
    """True if the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def program(name: str, code: str, *, last: bool = False, optional: bool = False) -> Command:
    return Command(name, (sys.executable, "-c", code), last=last, optional=optional)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "logs", tmp_path, {**os.environ, "PYTHONUNBUFFERED": "1"})
    yield made
    made.stop(grace_seconds=0.0)
