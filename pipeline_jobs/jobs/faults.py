"""After a failed run: was the job or this machine at fault?

An error decides nothing. Of damaged media FFmpeg says PermissionError and MemoryError, and on a full disk sound media look damaged. So the
machine is asked, at that moment and before the run's files go: can it write to its disk, open files and start threads?
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pipeline_jobs import disk
from pipeline_jobs.context import StageTimeout
from pipeline_jobs.exceptions import (
    BadParameters,
    MachineFault,
    PublishError,
    RequestError,
    SourceEmpty,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
    StopRun,
    StoreUnavailable,
    WorkTooLarge,
)
from pipeline_jobs.files.artifacts import ArtifactStore

#: What the probe writes, in bytes, and how many files it opens.
PROBE_BYTES, PROBE_FILES = 1 << 20, 16
#: A run that has started so many threads and processes may have used up itself what there are.
MOST_STARTED = 256
#: Between two looks at how large a working folder is, in seconds; longer where a look takes long.
LOOK_SECONDS = 2.0
#: A look takes this part of the time at most.
LOOK_SHARE = 0.05
#: Whatever becomes of this machine, it does not bring these about: they are about the request, or about what another machine answered.
OF_THE_JOB = (RequestError, BadParameters, SourceForbidden, SourceNotFound, SourceTooLarge, SourceEmpty)

#: What a disk says that is full or broken, and a process that has too many files open. It may be over by the time somebody looks.
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)

_CHUNK = bytes(1 << 16)


class Judge:
    """Of one run. `look` is called while it goes on, `judge` when it failed."""

    def __init__(self, workdir: Path, most_bytes: int, artifacts: ArtifactStore, reserve: Callable[[Path], int] = disk.reserve) -> None:
        """
        :param most_bytes: that the working folder may hold; 0: any number.
        :param reserve: bytes that must stay free on the disk of a folder.
        """
        self._workdir, self._most, self._artifacts, self._reserve = workdir, most_bytes, artifacts, reserve
        self._next, self._bytes = 0.0, 0
        self._opened = _open_files()

    def judge(self, error: Exception) -> None:
        """Return if the error is the job's own.

        :raises MachineFault: it is this machine's, or that of the store or the artifact store.
        :raises WorkTooLarge: the run filled the disk itself.
        """
        if isinstance(error, StoreUnavailable):
            raise MachineFault(error.message) from error
        if isinstance(error, OF_THE_JOB):
            return
        if self._most and size(self._workdir) > self._most:
            raise WorkTooLarge from error
        reason = self._machine()
        # A stage that is late may have waited for the artifact store.
        if reason is None and isinstance(error, PublishError | StageTimeout):
            reason = self.artifacts_fault()
        if reason is not None:
            raise MachineFault(reason) from error

    def judge_reading(self, error: Exception) -> None:
        """The same of an error that met who brought a kept output back. Return if the output is lost: its stage runs again.

        :raises MachineFault: it is there, and this machine cannot have it now.
        """
        self.judge(error)
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise MachineFault(f"a kept output cannot be brought back: {error.strerror}") from error
        # A file that is not there and one that is damaged are lost. Of others the artifact store is asked.
        if not isinstance(error, FileNotFoundError | ValueError) and (reason := self.artifacts_fault()):
            raise MachineFault(reason) from error

    def artifacts_fault(self) -> str | None:
        """Why nothing can be put into the artifact store now, or None."""
        return self._artifacts.fault()

    def look(self) -> type[StopRun] | None:
        """Why the run must stop now, if it must. One whose folder grows while little is free must: the store may be on the same disk."""
        began = time.monotonic()
        if began < self._next:
            return None
        used, before = size(self._workdir), self._bytes
        self._bytes = used
        self._next = time.monotonic() + max(LOOK_SECONDS, (time.monotonic() - began) / LOOK_SHARE)
        if self._most and used > self._most:
            return WorkTooLarge
        return MachineFault if used > before and disk.too_full(self._workdir, self._reserve) else None

    def _machine(self) -> str | None:
        """What this machine cannot do now, or None. The run's own folder: a disk may be full for one path only (quota)."""
        return fault_of(self._workdir, self._reserve, may_open=lambda: not self._opened_too_many())

    def _opened_too_many(self) -> bool:
        """The run itself has opened more than half of the files that this process may have."""
        limit = os.sysconf("SC_OPEN_MAX")
        return limit > 0 and _open_files() - self._opened > limit / 2


def fault_of(folder: Path, reserve: Callable[[Path], int], may_open: Callable[[], bool] = lambda: True) -> str | None:
    """Why this machine cannot run jobs that work in `folder`, or None. It is tried: a file is written to
    the disk, files are opened, a thread is started.

    :param reserve: bytes that must stay free on the disk of a folder.
    :param may_open: False: this process itself has opened so many files that nothing is asked of them.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if reason := disk.too_full(folder, reserve):
            return f"the working folder: {reason}"
        if not may_open():
            return None
        _write(folder / ".probe")
    except OSError as error:
        return f"the working folder cannot be written: {error.strerror or error}"
    return _cannot_open(folder / ".probe") or _cannot_start()


def _cannot_start() -> str | None:
    """A machine, or a container, has so many threads and processes. None, too, where this process has taken many of them itself."""
    probe = threading.Thread(target=bool, name="probe", daemon=True)
    try:
        probe.start()
    except RuntimeError as error:
        return None if _started() > MOST_STARTED else f"no thread can be started: {error}"
    probe.join()
    return None


def _started() -> int:
    """How many threads and processes this process and its descendants are, on Linux; elsewhere 0."""
    children: dict[int, list[int]] = {}
    for pid in _numbers("/proc"):
        try:
            # Behind its name, which may hold anything: its state and its parent.
            parent = int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(pid)
    ours = [os.getpid()]
    for pid in ours:
        ours += children.get(pid, ())
    return sum(len(_numbers(f"/proc/{pid}/task")) for pid in ours)


def _numbers(folder: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isdigit()]
    except OSError:
        return []


def size(folder: Path) -> int:
    """What a folder takes on its disk, in bytes; 0 if it is not there. What goes away meanwhile does not count."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _write(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(PROBE_BYTES // len(_CHUNK)):
                file.write(_CHUNK)
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def _cannot_open(path: Path) -> str | None:
    try:
        with ExitStack() as files:
            for _ in range(PROBE_FILES):
                files.enter_context(path.open("ab"))
    except OSError as error:
        return f"files cannot be opened: {error.strerror or error}"
    finally:
        path.unlink(missing_ok=True)
    return None


def _open_files() -> int:
    """How many files this process has open, on Linux; elsewhere 0."""
    try:
        # Since version 6.2 Linux tells their number as the folder's size, for a third of what it takes to list them.
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except OSError:
        # None can be opened any more, not even this: as many as there may be.
        return os.sysconf("SC_OPEN_MAX") if os.path.exists("/proc/self/fd") else 0
