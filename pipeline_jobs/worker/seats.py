"""What each child of a worker runs, in memory that the worker's main process shares with them: it outlives a child that dies.

A child notes the nonce of what it asks the store for *before* it asks, and the job when it has been told. So at its death its main process
knows every lease that it can have (docs/decisions/0012-a-child-takes-its-next-job.md has the order of writes and the table of deaths).
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.seat import Seat

#: Children that have a seat: a child has a number, which the next one takes over when it ends. And the bytes of each.
SEATS, SIZE = 256, 1024
#: In a seat: which half holds (its lowest bit), whether the child is to ask for no next job, how many were handed over, the two halves.
_TURN, _STOP, _COUNT, _HALVES, _HALF = 0, 1, 8, 16, 504
#: Of a half: pid, fence, since when, nonce of the run, nonce of what is asked for, length of the text behind it.
_FIELDS = struct.Struct("=iqd16s16sH")
_NUMBER = struct.Struct("=Q")
_PID = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Held:
    """What a child has. Without a job: nothing, or nothing that it knows of."""

    pid: int
    job_id: str = ""
    fence: int = 0
    tenant_id: str = ""
    workspace_id: str = ""
    pipeline: str = ""
    #: `time.monotonic()`, which is one for all processes of a machine.
    since: float = 0.0
    run: str = ""
    #: The nonce of a call that has no answer yet.
    asking: str = ""

    @property
    def runs(self) -> tuple[str, ...]:
        """The nonces of all leases that it can have."""
        return tuple(filter(None, (self.run, self.asking)))

    def with_asking(self, run: str) -> Held:
        return Held(self.pid, self.job_id, self.fence, self.tenant_id, self.workspace_id, self.pipeline, self.since, self.run, run)

    def pack(self) -> bytes:
        text = " ".join((self.job_id, self.tenant_id, self.workspace_id, self.pipeline)).encode()
        return _FIELDS.pack(self.pid, self.fence, self.since, self.run.encode(), self.asking.encode(), len(text)) + text

    @classmethod
    def unpack(cls, half: bytes) -> Held:
        pid, fence, since, run, asking, length = _FIELDS.unpack_from(half)
        names = half[_FIELDS.size : _FIELDS.size + length].decode().split(" ")
        job_id, tenant, workspace, pipeline = names if len(names) == 4 else ("", "", "", "")
        return cls(pid, job_id, fence, tenant, workspace, pipeline, since, *(one.rstrip(b"\0").decode() for one in (run, asking)))


class Seats:
    """What each child of a worker has, in memory that they share. Made before the children are forked."""

    def __init__(self) -> None:
        # The first place is no child's: it says whether all are to ask for no next job, and the clock of their events.
        self.memory = mmap.mmap(-1, SIZE * (SEATS + 1))

    def read(self, number: int) -> Held:
        """A child may die or write in the middle of this: one half is always whole."""
        at = SIZE * (number + 1)
        while True:
            turn = self.memory[at + _TURN]
            start = at + _HALVES + _HALF * (turn & 1)
            half = self.memory[start : start + _HALF]
            if self.memory[at + _TURN] == turn:
                return Held.unpack(half)

    def of(self, pid: int | None) -> Held | None:
        """What this child has, or had when it died: `AsynPool` deals with that before another child has its number.

        :return: None: it has no seat.
        """
        number = self._number(pid)
        return None if number is None else self.read(number)

    def _number(self, pid: int | None) -> int | None:
        return next((number for number in range(SEATS) if pid and self._pid(number) == pid), None)

    def _pid(self, number: int) -> int:
        at = SIZE * (number + 1)
        pid: int = _PID.unpack_from(self.memory, at + _HALVES + _HALF * (self.memory[at + _TURN] & 1))[0]
        return pid

    def clear(self, pid: int) -> None:
        """No child of this pid sits anywhere: one that ended long ago may have had the same."""
        while (number := self._number(pid)) is not None:
            start = SIZE * (number + 1) + _HALVES
            self.memory[start : start + 2 * _HALF] = bytes(2 * _HALF)

    def stop(self, pid: int | None) -> Held | None:
        """This child is to ask for no next job. :return: what it has; if it asks for nothing, it keeps that until it has ended it."""
        number = self._number(pid)
        if number is not None:
            self.memory[SIZE * (number + 1) + _STOP] = 1
            _fence()
        return self.of(pid)

    def stop_all(self, stop: bool) -> None:
        """No child is to ask for a next job (any more)."""
        self.memory[_STOP] = stop

    def clock(self, mine: int) -> int:
        """The logical clock of this worker's events, for all of its processes: the highest that one of them has said, or this one says."""
        now: int = max(mine, _NUMBER.unpack_from(self.memory, _COUNT)[0])
        _NUMBER.pack_into(self.memory, _COUNT, now)
        return now

    def handed_over(self) -> int:
        """How many jobs the children had that no message brought."""
        return sum(_NUMBER.unpack_from(self.memory, SIZE * (number + 1) + _COUNT)[0] for number in range(SEATS))


#: A lock's operations are a barrier of the processor's: what was written before is seen by others before what is read after.
_barrier = threading.Lock()


def _fence() -> None:
    with _barrier:
        pass


@dataclass
class ChildSeat(Seat):
    """The seat of the child that runs this code."""

    seats: Seats
    #: None: there are more children than seats. It runs jobs, and is handed none.
    number: int | None
    #: Asked after the body of a job: whether the child may go on with another one.
    may_go_on: Callable[[], bool] = lambda: False
    #: What the last finish has handed over, until its run begins; and what has begun so.
    following: Job | None = None
    _begun: Job | None = None
    held: Held = field(init=False)

    def __post_init__(self) -> None:
        self.seats.clear(os.getpid())
        self._write(Held(os.getpid()))

    def handed(self, job_id: str) -> Job | None:
        return self._begun if self._begun is not None and self._begun.job_id == job_id else None

    def begin(self) -> Job | None:
        """The next run, if there is one, is of the job that was handed over."""
        self._begun, self.following = self.following, None
        return self._begun

    def asks(self) -> str:
        return self._ask(self.held)

    def asks_for_next(self) -> str:
        if self.number is None or not self.may_go_on():
            return ""
        run = self._ask(self.held)
        # Noted first, then looked at: whoever stops this child writes first, and then looks at what is noted.
        if self._stopped(self.number):
            self._write(self.held.with_asking(""))
            return ""
        return run

    def has(self, job: Job) -> None:
        held = self.held
        own = job.job_id, job.fence, job.tenant_id, job.workspace_id, job.pipeline
        self._write(Held(held.pid, *own, time.monotonic(), held.asking))
        if held.run:
            self.following = job
            self._count()

    def has_none(self) -> None:
        self._write(Held(self.held.pid))

    def sit_down(self) -> None:
        """A message has come: what it was told of the one before is over."""
        self.following = self._begun = None
        if self.number is not None:
            self.seats.memory[SIZE * (self.number + 1) + _STOP] = 0
        self.has_none()

    def _ask(self, held: Held) -> str:
        run = secrets.token_hex(8)
        self._write(held.with_asking(run))
        _fence()
        return run

    def _stopped(self, number: int) -> bool:
        memory = self.seats.memory
        return bool(memory[_STOP] or memory[SIZE * (number + 1) + _STOP])

    def _write(self, held: Held) -> None:
        self.held = held
        if self.number is None:
            return
        memory, at = self.seats.memory, SIZE * (self.number + 1)
        turn = (memory[at + _TURN] + 1) & 255
        start, half = at + _HALVES + _HALF * (turn & 1), held.pack()
        memory[start : start + len(half)] = half
        _fence()
        # From here on it holds.
        memory[at + _TURN] = turn

    def _count(self) -> None:
        at = SIZE * ((self.number or 0) + 1) + _COUNT
        _NUMBER.pack_into(self.seats.memory, at, _NUMBER.unpack_from(self.seats.memory, at)[0] + 1)
