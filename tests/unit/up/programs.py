"""Small programs for the supervisor to run."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline_jobs.up.supervisor import Command


def alive(pid: int) -> bool:
    """True if the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def program(name: str, code: str, *, last: bool = False, optional: bool = False) -> Command:
    return Command(name, (sys.executable, "-c", code), last=last, optional=optional)
