"""How full a disk is, and how much of it is kept free: a full disk stops the store, whoever filled it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

GIB = 1024**3
#: Part of a file system that is kept free, and the least and the most that this may be, in bytes.
SHARE, LEAST, MOST = 0.05, 2 * GIB, 50 * GIB


def reserve(path: Path) -> int:
    """Bytes that must stay free on the file system that holds `path`: 5 % of it, at least 2 GiB, at most 50 GiB.

    :raises OSError: it cannot be asked.
    """
    return max(LEAST, min(int(shutil.disk_usage(_there(path)).total * SHARE), MOST))


def free(path: Path) -> int:
    """Bytes that are free on the file system that holds `path`, for us.

    :raises OSError: it cannot be asked.
    """
    return shutil.disk_usage(_there(path)).free


def device(path: Path) -> int:
    """The file system that holds `path`. :raises OSError: it cannot be asked."""
    return _there(path).stat().st_dev


def too_full(path: Path, keep: Callable[[Path], int] = reserve) -> str | None:
    """Why nothing more should be written to the disk of `path`, or None.

    :param keep: bytes that must stay free on it.
    :raises OSError: it cannot be asked.
    """
    left, needed = free(path), keep(path)
    return f"the disk has {left} bytes free, {needed} must stay free" if left < needed else None


class Room:
    """Whether a disk has room, with hysteresis: below the reserve nothing is written until there is an eighth more than it is."""

    def __init__(self, keep: Callable[[Path], int] = reserve) -> None:
        """:param keep: bytes that must stay free on the disk of a folder."""
        self._keep, self._short = keep, False

    def lacks(self, path: Path, size: int = 0) -> str | None:
        """Why so many bytes more should not be written there, or None.

        :raises OSError: the disk cannot be asked.
        """
        left, needed = free(path), self._keep(path)
        # Not by the size that is asked for: one upload that is too large is no reason to refuse all.
        self._short = left < needed + (needed // 8 if self._short else 0)
        if self._short or left - size < needed:
            return f"the disk has {left} bytes free, {needed} must stay free"
        return None

    def bytes(self, path: Path) -> tuple[int, int]:
        """How many are free, and how many must stay free. :raises OSError: the disk cannot be asked."""
        return free(path), self._keep(path)


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that there is."""
    return next((folder for folder in (path, *path.parents) if folder.exists()), path)
