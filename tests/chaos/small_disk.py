"""The disk of one machine's working folders, small enough to be filled: a tmpfs where we may mount one, else only said to be full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.full import FLAG

SIZE_BYTES = 8 << 20
#: What must stay free on it (`PIPELINE_DISK_RESERVE_BYTES`).
RESERVE_BYTES = 1 << 20


class SmallDisk:
    """`path`: where it is. As root a real one: who writes when it is full meets ENOSPC. Otherwise a file says that it is full, and the
    processes that were given `environment` are told so by the system call that asks for room (`full.py`)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "small-disk"
        self.path.mkdir()
        self._flag = folder / "small-disk-is-full"
        self.real = sys.platform == "linux" and os.geteuid() == 0 and self._mount()

    def _mount(self) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PIPELINE_WORK_DIR": str(self.path), **({} if self.real else {FLAG: str(self._flag)})}

    @property
    def filler(self) -> Path:
        """What is too much on it; there while it is full."""
        return self.path / "filler" if self.real else self._flag

    def fill(self) -> None:
        if not self.real:
            self._flag.touch()
            return
        with self.filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 16)):
                    pass
            except OSError:
                pass  # that is what it was for

    def empty(self) -> None:
        self.filler.unlink(missing_ok=True)

    def left(self) -> list[str]:
        """Working folders on it."""
        return [path.name for path in self.path.glob("*.*")]

    def remove(self) -> None:
        """Unmount it, whoever still has a file open on it."""
        if self.real:
            subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)
        shutil.rmtree(self.path, ignore_errors=True)
