"""Large files reach the disk in steps, each synced before the next: the store's log is often on the same disk.

A file system commits one file's sync together with what others have begun to write (ext4: `data=ordered`). Beside uploads that were all
synced as a whole, each answer of the store waited for up to 64 MB of them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from time import monotonic, sleep
from typing import BinaryIO

#: Most bytes that are written before a sync. A file with no more takes no turn.
STEP_BYTES = 1 << 20
#: How long a step waits for its turn, in seconds. Longer than any disk takes for those before it: then one of them hangs.
TURN_SECONDS = 20.0
#: The longest rest of the disk between two steps, in seconds.
MAX_REST_SECONDS = 0.1

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
        self._is_busy = False
        #: By tenant, the next one first: locks that are released when it is their turn.
        self._waiting: dict[str, deque[Lock]] = {}

    @contextmanager
    def turn(self, tenant_id: str) -> Iterator[None]:
        """The block is a step of this tenant. :raises TimeoutError: its turn has not come, for one before it hangs."""
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
    is_large = sum(map(len, pieces)) > STEP_BYTES
    for step in _steps(pieces):
        file.writelines(step)
        file.flush()
        with turn() if is_large else nullcontext():
            os.fsync(file.fileno())


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
