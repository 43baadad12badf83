"""Bar 4: cancels at random moments, many of them in the race with the finish, beside jobs that nobody cancels.

The client's own journal is the oracle: what each cancel was answered, and when.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from tests.heavy.figures import all_ended, now_ms, quantiles, terminal_writes
from tests.integration.recount import differences
from tests.stack import Stack

#: Jobs that wait at a time: so that cancels meet queued ones too, but most meet running ones.
WAITING = 2
#: Most that a racing cancel waits after its job said that it is about to end, in seconds: both can win.
RACE_SECONDS = 0.004
#: For how long to wait for the ends where no bound is set.
PATIENCE = (15.0, 45.0)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """One cancel, as its client saw it."""

    job_id: str
    kind: str
    sent_ms: float
    answer: Job


@dataclass(slots=True)
class CancelFigures:
    """What a run of cancels gave."""

    seed: int
    cancels: int = 0
    #: Answered `cancelled` at once, accepted for a running job, come too late.
    at_once: int = 0
    accepted: int = 0
    too_late: int = 0
    #: Of those in the race: how many the cancel won.
    races: int = 0
    races_won: int = 0
    bystanders: int = 0
    cooperative: dict[str, float] = field(default_factory=dict)
    forced: dict[str, float] = field(default_factory=dict)
    #: What must be empty.
    wrong: list[str] = field(default_factory=list)


def run_cancels(
    stack: Stack, *, slots: int, plain: int, racing: int, forced: int, bystanders: int, seed: int, bounds: tuple[float, float] | None
) -> CancelFigures:
    """Submit, cancel, wait for all, and look.

    :param slots: of the workers that run.
    :param plain: cancels at a random moment of a job's life; `racing`: as the job is about to end; `forced`: of jobs that hear nothing.
    :param bystanders: jobs that are not cancelled: each must complete, without a crash.
    :param bounds: longest time from a cancel to the end, in seconds, for stages that cooperate and for those that must be killed;
        None: any (a busy machine's are no news).
    """
    chance = random.Random(seed)
    kinds = ["plain"] * plain + ["racing"] * racing + ["deaf"] * forced + ["bystander"] * bystanders
    chance.shuffle(kinds)
    run = _Run(stack, chance, slots)
    with run.listener, ThreadPoolExecutor(32) as pool:
        ears = threading.Thread(target=run.listen, args=(pool,))
        ears.start()
        ids = [run.submit(kind, pool) for kind in kinds]
        jobs = all_ended(stack, ids, "all jobs", seconds=(bounds or PATIENCE)[1] * (2 + forced / slots) + 60 + 0.5 * len(kinds))
        run.listener.sendto(b"", run.listener.getsockname())
        ears.join()
    return _judge(stack, run, dict(zip(ids, kinds, strict=True)), jobs, seed, bounds)


class _Run:
    """The clients of one run."""

    def __init__(self, stack: Stack, chance: random.Random, slots: int) -> None:
        self.stack, self.chance, self.slots = stack, chance, slots
        self.journal: list[Cancelled] = []
        self.pending: list[Future[None]] = []
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.listener.bind(("127.0.0.1", 0))
        self._timer = threading.Event()

    def submit(self, kind: str, pool: ThreadPoolExecutor) -> str:
        """Submit a job of a kind, when there is room, and arrange its cancel."""
        while self._live() >= self.slots + WAITING:
            self._timer.wait(0.01)
        params: dict[str, Any] = {"seconds": round(self.chance.uniform(0.02, 0.8), 3)}
        if kind == "deaf":
            params = {"seconds": 3600, "deaf": True}
        elif kind == "racing":
            params["tell"] = self.listener.getsockname()[1]
        job = self.stack.submit(pipeline="bar", params=params, tenant_id=f"t{self.chance.randrange(3)}")
        if kind == "plain":
            # The pool's threads wait for their moments; nearly in order, because submits are.
            moment = time.monotonic() + self.chance.uniform(0, params["seconds"] * 1.3)
            self.pending.append(pool.submit(self._cancel_at, job.job_id, kind, moment))
        elif kind == "deaf":
            self.pending.append(pool.submit(self._cancel_running, job.job_id, self.chance.uniform(0, 1.0)))
        return job.job_id

    def _cancel_running(self, job_id: str, later: float) -> None:
        self.stack.until_status(job_id, JobStatus.RUNNING)
        self._cancel_at(job_id, "deaf", time.monotonic() + later)

    def listen(self, pool: ThreadPoolExecutor) -> None:
        """Cancel each racing job a moment after it said that its work is done."""
        chance = random.Random(self.chance.random())
        while said := self.listener.recv(256):
            moment = time.monotonic() + chance.uniform(0, RACE_SECONDS)
            # Here, not in the pool: its queue would be longer than the race.
            self._cancel_at(said.decode(), "racing", moment)

    def _cancel_at(self, job_id: str, kind: str, moment: float) -> None:
        if (left := moment - time.monotonic()) > 0:
            self._timer.wait(left)
        sent = now_ms()
        self.journal.append(Cancelled(job_id, kind, sent, self.stack.client.cancel(job_id)))

    def _live(self) -> int:
        keys, client = self.stack.client.store.keys, self.stack.client.store.client
        return sum(int(client.zcard(keys("status", status))) for status in (JobStatus.QUEUED, JobStatus.RUNNING))


def _judge(
    stack: Stack, run: _Run, kinds: dict[str, str], jobs: dict[str, Job], seed: int, bounds: tuple[float, float] | None
) -> CancelFigures:
    figures = CancelFigures(seed, cancels=len(run.journal), bystanders=sum(kind == "bystander" for kind in kinds.values()))
    for future in run.pending:
        future.result()
    took: dict[bool, list[float]] = {True: [], False: []}
    for one in run.journal:
        job, answer = jobs[one.job_id], one.answer
        won = answer.status is JobStatus.CANCELLED or answer.cancel_requested
        figures.at_once += answer.status is JobStatus.CANCELLED
        figures.accepted += answer.status is JobStatus.RUNNING
        figures.too_late += not won
        figures.races += one.kind == "racing"
        figures.races_won += one.kind == "racing" and won
        if won and job.status is not JobStatus.CANCELLED:
            figures.wrong.append(f"{job.job_id} ({one.kind}): its cancel was accepted and it is {job.status}")
        if not won and (job.status, job.result) != (answer.status, answer.result):
            figures.wrong.append(f"{job.job_id} ({one.kind}): {answer.status} when it was cancelled, {job.status} afterwards")
        if answer.status is JobStatus.RUNNING and job.completed_at is not None:
            seconds, deaf = (job.completed_at - one.sent_ms) / 1000, one.kind == "deaf"
            took[deaf].append(seconds)
            if bounds and seconds > bounds[deaf]:
                figures.wrong.append(f"{job.job_id} ({one.kind}): ended {seconds:.1f} s after its cancel, the bound is {bounds[deaf]} s")
    cancelled = {one.job_id for one in run.journal}
    for job_id, kind in kinds.items():
        job = jobs[job_id]
        if (kind == "bystander") == (job_id in cancelled):
            figures.wrong.append(f"{job_id} ({kind}): {'cancelled' if job_id in cancelled else 'not cancelled'} by its client")
        if kind == "bystander" and job.status is not JobStatus.COMPLETED:
            figures.wrong.append(f"{job_id} ({kind}): {job.status}, nobody cancelled it")
        if job.crashes:
            figures.wrong.append(f"{job_id} ({kind}): {job.crashes} crashes: a process was killed that should not have been")
        if (writes := terminal_writes(stack.client.store, job_id)) != 1:
            figures.wrong.append(f"{job_id} ({kind}): {writes} terminal writes")
    figures.wrong += differences(stack.client.store)
    figures.cooperative, figures.forced = quantiles(took[False]), quantiles(took[True])
    return figures
