"""Crashes that the records count, one by one against what the run did to the processes.

A crash is a run that a job lost because its worker was believed to be dead. Somebody must have killed that, or kept it from renewing.
"""

from __future__ import annotations

import json
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from pipeline_jobs.store.store import Store
from tests.chaos.faults import Done
from tests.chaos.journal import HOP, KILLS, Body
from tests.chaos.processes import Incarnation

#: Two clocks are read on either side of a line: of what is told as later than it was, in seconds.
TOLERANCE = 0.3
#: A process that was kept from renewing for this part of a lease may lose it: it renews now and then, and has to be awake to do so.
LONG_ENOUGH = 0.6
#: What is told of a job that goes back to the queue and is kept from its next start on purpose: it was lost with its worker too often.
APART = "starts apart"
#: A worker that was killed by a job of its own, among the causes; and how long after it the run may kill it as well, in seconds: it has
#: not seen its end yet.
BY_ITS_JOB, SEEN_SECONDS = "killed by its job", 10.0
#: How long a client of the server waits for an answer that is lost, in seconds (`store/connection.py`), before it asks again.
ANSWER_SECONDS = 10.0
#: Between the end of a pause and the moment at which it is known whether it was too long, in seconds: a rescue, a renewal.
FOUND_SECONDS = 2.0
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Crash:
    """A run that counts as crashed."""

    job_id: str
    #: When the run was claimed, and when its crash was counted, in Unix seconds.
    claimed: float
    at: float
    #: It went back to the queue; else it was the last one that the job might have.
    requeued: bool = True
    #: What the run's body wrote; None: it had not begun.
    body: Body | None = None
    #: It is kept from its next start on purpose.
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that was done to a process."""

    what: str
    #: Of the process, and of the one child of it that was meant; None: of whichever.
    mark: str | None
    pid: int | None
    #: A run crashes of it that was at work at a moment of this time; and is found at any time after its begin, or until so long.
    begin: float
    end: float
    found_until: float = float("inf")
    #: Until when a run may have been claimed that had not begun: what a process asked before its end is heard when the server is back.
    claimed_until: float = 0.0
    #: The processes were killed: it can have met any run that had not begun. One that was stopped, only a run whose claim came at that very
    #: moment: its first line is written when the process goes on, and then too late.
    kill: bool = True

    def explains(self, crash: Crash) -> bool:
        body = crash.body
        claimed_until = max(self.end, self.claimed_until) if body is None else self.end
        if not (self.begin <= crash.at + TOLERANCE and crash.at <= self.found_until and crash.claimed <= claimed_until + TOLERANCE):
            return False
        if body is None:
            return self.kill or abs(crash.claimed - self.begin) <= TOLERANCE
        return self.mark == body.mark and self.pid in (None, body.pid) and body.started <= self.end + TOLERANCE


def read_histories(store: Store, job_ids: Sequence[str]) -> dict[str, list[list[object]]]:
    """The event log of each job: lists as `lua/lib/events.lua` writes them."""
    found = {}
    for first in range(0, len(job_ids), PAGE):
        page = job_ids[first : first + PAGE]
        with store.client.pipeline(transaction=False) as pipe:
            for job_id in page:
                pipe.lrange(store.keys("events", job_id), 0, -1)
            found.update({job_id: [json.loads(line) for line in lines] for job_id, lines in zip(page, pipe.execute(), strict=True)})
    return found


def crashes(histories: Mapping[str, Sequence[Sequence[object]]], real: Callable[[float], float], bodies: Iterable[Body]) -> list[Crash]:
    """
    :param real: the moment, in Unix seconds, at which the server's clock showed so many ms.
    """
    by_job: dict[str, list[Body]] = defaultdict(list)
    for body in bodies:
        by_job[body.job_id].append(body)
    return sorted(chain.from_iterable(_of_job(*item, real, by_job[item[0]]) for item in histories.items()), key=lambda crash: crash.at)


def _of_job(job_id: str, log: Sequence[Sequence[object]], real: Callable[[float], float], bodies: Sequence[Body]) -> Iterator[Crash]:
    claims = [real(float(str(line[1]))) for line in log if line[0] == "started"]
    claimed, left = 0.0, list(bodies)
    for line in log:
        kind, at, why = line[0], real(float(str(line[1]))), line[6] if len(line) > 6 else ""
        if kind == "requeued" and why in (HOP, "parts"):
            # A run that went on in another pool, or in parts, as its log says, is not the one that crashed, however short it was.
            hopped = next((body for body in left if body.over == HOP), None)
            left = [body for body in left if body is not hopped]
        if kind == "started":
            claimed = at
        last = kind == "failed" and why == "worker_lost"
        if last or (kind == "requeued" and why == "crash"):
            # A run that had not begun has no body: that of the next run may be as near to the crash, and is nearer to its own claim.
            following = min((one for one in claims if one > at - TOLERANCE and one > claimed), default=float("inf"))
            of_run = [
                body
                for body in left
                if claimed - TOLERANCE <= body.started <= at + TOLERANCE and abs(body.started - claimed) <= abs(following - body.started)
            ]
            body = min(of_run, key=lambda one: abs(one.started - claimed), default=None)
            yield Crash(job_id, claimed, at, requeued=not last, body=body, apart=apart_seconds(line) > 0)


def apart_seconds(line: Sequence[object]) -> float:
    """For how long a job was sent back to start apart, by a line of its log: 0 if it was not."""
    text = str(line[5]) if line[0] == "requeued" and len(line) > 5 else ""
    told = re.search(r"in (\d+) s$", text) if text.startswith(APART) else None
    return float(told.group(1)) if told else 0.0


def hops(histories: Mapping[str, Sequence[Sequence[object]]]) -> dict[str, int]:
    """How often each job went on in another pool."""
    return {job_id: sum(line[0] == "requeued" and line[6:7] == ["hop"] for line in log) for job_id, log in histories.items()}


def slain(bodies: Iterable[Body], history: Iterable[Incarnation]) -> dict[str, float]:
    """When each worker died that a job of its own killed, by its mark: the job said so right before, and the worker was seen to go so."""
    ended = {one.mark: one for one in history if one.ended is not None and one.popen.returncode == -signal.SIGKILL}
    # Of two that did so at once the first.
    told = dict(sorted(((body.mark, body.over_at) for body in bodies if body.over == KILLS and body.over_at is not None), reverse=True))
    return {mark: at for mark, at in told.items() if mark in ended and _died_then(ended[mark], at)}


def _died_then(worker: Incarnation, at: float) -> bool:
    """Who looks after it may be late. One that the run killed long after was alive till then: something killed the job before it could."""
    return (worker.ended or 0.0) >= at - TOLERANCE and (worker.killed is None or abs(worker.killed - at) <= SEEN_SECONDS)


def causes(
    done: Iterable[Done],
    history: Iterable[Incarnation],
    lease: float,
    away: Sequence[tuple[float, float]] = (),
    slain: Mapping[str, float] | None = None,
) -> list[Cause]:
    """What may end a run.

    :param lease: in seconds.
    :param slain: when a worker was killed by a job of its own, by its mark.
    :param away: when the server was down or paused: what had ended before is found when it is back.
    """
    found = []

    def found_until(moment: float) -> float:
        for gone, back in sorted(away):
            if gone <= moment < back + FOUND_SECONDS:
                moment = back + FOUND_SECONDS
        return moment

    for one in done:
        end = one.at + one.seconds
        if one.kind in ("kill_worker", "kill_child"):
            pid = one.pid if one.kind == "kill_child" else None
            found.append(Cause(one.kind, one.mark, pid, one.at, one.at, claimed_until=found_until(one.at)))
        elif one.kind in ("stop_worker", "stop_tree") and one.seconds >= LONG_ENOUGH * lease:
            found.append(Cause(one.kind, one.mark, None, one.at, end, found_until(end + FOUND_SECONDS), kill=False))
        elif one.kind.startswith("net_") and one.seconds + ANSWER_SECONDS >= LONG_ENOUGH * lease:
            until = end + ANSWER_SECONDS
            found.append(Cause(one.kind, one.mark, None, one.at, until, found_until(until + lease), kill=False))
    for mark, at in (slain or {}).items():
        found.append(Cause(BY_ITS_JOB, mark, None, at, at, claimed_until=found_until(at)))
    for incarnation in history:
        if incarnation.mark in (slain or {}) and incarnation.killed is None:
            continue
        # By the run when it was stuck, or by itself: that is told apart. One that ended as it was asked to has handed its jobs back.
        if incarnation.ended is not None and incarnation.killed is None and incarnation.popen.returncode != 0:
            found.append(Cause("its own end", incarnation.mark, None, incarnation.ended, incarnation.ended))
        if incarnation.killed is not None:
            found.append(Cause("killed", incarnation.mark, None, incarnation.killed, incarnation.killed))
    return found


def unexplained(
    seen: Iterable[Crash], causes: Sequence[Cause], poison: Callable[[str], bool], armed: Callable[[Crash], bool]
) -> Iterator[str]:
    """Crashes without a cause. A child runs one job: its death explains one.

    :param poison: whether a job kills its own process.
    :param armed: whether a process that was told to die at a named place may have run it.
    """
    ordered = sorted(seen, key=lambda crash: crash.body is None)
    used: set[int] = set()
    for crash in ordered:
        if poison(crash.job_id) or armed(crash):
            continue
        cause = next((n for n, cause in enumerate(causes) if n not in used and cause.explains(crash)), None)
        if cause is None:
            run = f"run {crash.body.fence} in {crash.body.mark} pid {crash.body.pid}" if crash.body else "a run that had not begun"
            yield f"{crash.job_id}: {run}, claimed at {crash.claimed:.3f}, counted as crashed at {crash.at:.3f}"
        elif causes[cause].pid is not None:
            used.add(cause)
