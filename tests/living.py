"""The children of a test's own process."""

from __future__ import annotations

import psutil


def children(*, recursive: bool = False) -> list[psutil.Process]:
    """Those that live: what a killed process of another test has left may be there as well, dead, and has no command line."""
    return [child for child in psutil.Process().children(recursive=recursive) if _lives(child)]


def _lives(child: psutil.Process) -> bool:
    try:
        return bool(child.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
