"""In a process of the run: a disk that is said to be full, where none can be mounted that is (`small_disk.py`).

The system is imitated, not our code: `shutil.disk_usage` is what any program asks.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

#: Environment variable: a file that is there while the disk of the working folders is full.
FLAG = "CHAOS_FULL_DISK"

_asked = shutil.disk_usage


def is_full() -> bool:
    return FLAG in os.environ and Path(os.environ[FLAG]).exists()


def write(path: Path, text: str) -> None:
    """Write a working file, as the disk allows."""
    if is_full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    path.write_text(text)


def _usage(path: Any) -> Any:
    usage = _asked(path)
    return usage._replace(used=usage.total, free=0) if is_full() else usage


if FLAG in os.environ:
    shutil.disk_usage = _usage
