"""Large files reach the disk in steps, each synced before the next: the store's log is often on the same disk.

A file system commits one file's sync together with what others have begun to write (ext4: `data=ordered`). Beside uploads that were all
synced as a whole, each answer of the store waited for up to 64 MB of them.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from time import monotonic, sleep
from typing import BinaryIO

#: Most bytes that are written before a sync; a file with no more than the second takes no turn.
STEP_BYTES, SMALL_BYTES = 1 << 20, 1 << 16
#: How long a step waits for its turn, in seconds. Longer than any disk takes for those before it: then one of them hangs.
TURN_SECONDS = 20.0
#: The longest rest of the disk between two steps, in seconds.
MAX_REST_SECONDS = 0.1
#: How long a step of a job's file waits at most for those of other processes, and how often it looks, in seconds.
COURTESY_SECONDS, LOOK_SECONDS = 0.25, 0.002

Pieces = Sequence[bytes | bytearray]
#: Entered around each step of a large file.
Turn = Callable[[], AbstractContextManager[None]]


class Turns:
    """One step at a time; those that wait are served tenant by tenant, so that nobody waits for many steps of another tenant's.

    Where others wait, the disk rests after a step for as long as the step took: the store's syncs, which are small, come between.

    One that hangs in the disk keeps its turn, for another sync of that disk would hang too; but who waits for it gives up.

    For threads that no signal interrupts (those of the API): one that ended while it waits would be given its turn all the same.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        #: Called before each step asks for its turn, in its thread, which may wait there.
        self.before_step: Callable[[], None] = lambda: None
        self._is_busy = False
        #: By tenant, the next one first: locks that are released when it is their turn.
        self._waiting: dict[str, deque[Lock]] = {}

    @contextmanager
    def turn(self, tenant_id: str) -> Iterator[None]:
        """The block is a step of this tenant. :raises TimeoutError: its turn has not come, for one before it hangs."""
        self.before_step()
        self._wait(tenant_id)
        begun = monotonic()
        try:
            yield
        finally:
            if self.waiting:
                sleep(min(monotonic() - begun, MAX_REST_SECONDS))
            self._hand_on()

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def _wait(self, tenant_id: str) -> None:
        with self._lock:
            if not self._is_busy:
                self._is_busy = True
                return
            mine = Lock()
            mine.acquire()
            self._waiting.setdefault(tenant_id, deque()).append(mine)
        if mine.acquire(timeout=TURN_SECONDS):
            return
        with self._lock:
            if mine.acquire(blocking=False):
                return  # it came at that moment
            self._waiting[tenant_id].remove(mine)
            if not self._waiting[tenant_id]:
                del self._waiting[tenant_id]
        raise TimeoutError("the disk does not answer")

    def _hand_on(self) -> None:
        with self._lock:
            if not self._waiting:
                self._is_busy = False
                return
            tenant_id = next(iter(self._waiting))
            queue = self._waiting.pop(tenant_id)
            queue.popleft().release()
            if queue:
                # Behind the others.
                self._waiting[tenant_id] = queue


def write(file: BinaryIO, pieces: Pieces, turn: Turn = nullcontext) -> None:
    """Write them in steps; all are on the disk when this returns. :raises OSError:"""
    is_large = sum(map(len, pieces)) > SMALL_BYTES
    for step in _steps(pieces):
        file.writelines(step)
        file.flush()
        with turn() if is_large else nullcontext():
            os.fsync(file.fileno())


def copy(source: BinaryIO, file: BinaryIO, folder: str) -> None:
    """Copy a file in steps, with turns of the disk that this folder is on.

    Unsynced, what a job publishes piles up in memory until the kernel writes all of it at once, and makes everybody wait who writes.
    """
    piece = source.read(STEP_BYTES)
    while True:
        with disk_turn(folder if len(piece) > SMALL_BYTES else None):
            write(file, [piece])
        if not (piece := source.read(STEP_BYTES)):
            return


@contextmanager
def disk_turn(folder: str | None) -> Iterator[None]:
    """The block is the only step of a job's file that a process of this machine writes into this folder. The disk rests after it for as
    long as it took: the store's syncs come between.

    It is a courtesy to the store: behind one that hangs it goes ahead all the same, and where the folder cannot be locked (a disk of
    another machine), or is None, there is only the rest.
    """
    lock = None if folder is None else _locked(folder)
    try:
        begun = monotonic()
        yield
        sleep(min(monotonic() - begun, MAX_REST_SECONDS))
    finally:
        if lock is not None:
            os.close(lock)


def _locked(folder: str) -> int | None:
    """A descriptor that has, or has waited long enough for, the lock of the folder. Whoever dies gives it back."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    until = monotonic() + COURTESY_SECONDS
    while not _takes(number) and monotonic() < until:
        sleep(LOOK_SECONDS)
    return number


def _takes(number: int) -> bool:
    """There is nothing to wait for."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _steps(pieces: Pieces) -> Iterator[list[memoryview]]:
    """The pieces, cut where one is larger than a step; one step at least."""
    step: list[memoryview] = []
    size = 0
    for piece in pieces:
        for at in range(0, len(piece), STEP_BYTES):
            part = memoryview(piece)[at : at + STEP_BYTES]
            if step and size + len(part) > STEP_BYTES:
                yield step
                step, size = [], 0
            step.append(part)
            size += len(part)
    yield step
