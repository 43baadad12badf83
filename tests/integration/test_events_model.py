"""Random histories of a cell against its event logs: numbers without a gap, one event a transition, also when a script is sent twice.

The model keeps what each job's log must say; it knows the contract of the transitions and nothing of how the log is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline_jobs.events import log as events
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, all_jobs, make_cell
from tests.integration.drawn import run_machine

#: How often a script is sent: redis-py sends it again when the reply was lost.
sent = st.integers(1, 2)
picks = st.integers(0, 2**20)


def chosen(ids: Iterable[str], pick: int) -> str:
    """One of the ids."""
    known = sorted(ids)
    return known[pick % len(known)]


class History(RuleBasedStateMachine):
    """What clients and workers may do, in any order, each call once or twice."""

    base: Settings

    def __init__(self) -> None:
        super().__init__()
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell: Cell = make_cell(self.base)
        self.cell.slots(100)
        #: What each log must say, and all of them in their order.
        self.logs: dict[str, list[str]] = {}
        self.feed: list[tuple[str, int]] = []
        self.waiting: set[str] = set()
        self.running: dict[str, Job] = {}
        self.asked_to_end: set[str] = set()
        #: How often a job's own process died. What its workers died of is not counted (docs/decisions/0017-which-job-killed-its-worker.md).
        self.crashes: dict[str, int] = {}
        self.said: dict[str, tuple[float, str]] = {}

    def expect(self, job_id: str, *words: str) -> None:
        for word in words:
            self.logs.setdefault(job_id, []).append(word)
            self.feed.append((job_id, len(self.logs[job_id])))

    # -- what happens

    @rule(times=sent, later=st.booleans())
    def submit(self, times: int, later: bool) -> None:
        job = self.cell.client.prepare(NewJob(pipeline="sleep", run_at=4_102_444_800_000 if later else None))
        for _ in range(times):
            self.cell.store.submit(job, nonce="n")
        if not later:
            self.waiting.add(job.job_id)
        self.expect(job.job_id, "created")

    @rule(n=st.integers(1, 4))
    def submit_batch(self, n: int) -> None:
        made = self.cell.cell.batches.create(NewBatch([NewJob(pipeline="sleep")] * n))
        for job_id in map(str, made.job_ids):
            self.waiting.add(job_id)
            self.expect(job_id, "created")

    @rule(pick=picks, times=sent)
    def claim(self, pick: int, times: int) -> None:
        hinted = [job_id for job_id in self.waiting if self.cell.client.get(job_id).reason == "dispatched"]
        if not hinted:
            return
        job_id = chosen(hinted, pick)
        fence = self.cell.client.get(job_id).fence
        for _ in range(times):
            claimed: Any = self.cell.store.claim(job_id, fence, worker="w1", run=f"run{fence}")
        self.waiting.remove(job_id)
        self.running[job_id] = claimed
        self.said[job_id] = (claimed.progress, "")
        self.expect(job_id, "started")

    @rule(pick=picks, percent=st.integers(0, 99), stage=st.sampled_from("ab"), times=sent)
    def progress(self, pick: int, percent: int, stage: str, times: int) -> None:
        if not self.running:
            return
        job_id = chosen(self.running, pick)
        for _ in range(times):
            self.cell.store.progress(job_id, self.running[job_id].fence, percent, stage)
        before = self.said[job_id]
        self.said[job_id] = (max(percent, before[0]), stage)
        if stage != before[1]:
            self.expect(job_id, "stage")
        elif self.said[job_id] != before:
            self.expect(job_id, "progress")

    @rule(pick=picks, how=st.sampled_from(["completed", "failed"]), times=sent)
    def finish(self, pick: int, how: str, times: int) -> None:
        if not self.running:
            return
        job_id = chosen(self.running, pick)
        run = self.running.pop(job_id)
        for _ in range(times):
            self.cell.store.finish(job_id, run.fence, JobStatus(how), result={}, error="x")
        self.expect(job_id, "cancelled" if job_id in self.asked_to_end else how)

    @rule(pick=picks, why=st.sampled_from(["crash", "handback", "retry", "fault"]), times=sent)
    def requeue(self, pick: int, why: str, times: int) -> None:
        if not self.running:
            return
        job_id = chosen(self.running, pick)
        run = self.running.pop(job_id)
        for _ in range(times):
            self.cell.store.requeue(job_id, run.fence, why)
        if job_id in self.asked_to_end:
            self.expect(job_id, "cancelled")
            return
        self.crashes[job_id] = self.crashes.get(job_id, 0) + (why == "crash")
        if why == "crash" and self.crashes[job_id] >= 3:
            self.expect(job_id, "failed")
        else:
            self.waiting.add(job_id)
            self.expect(job_id, "requeued")
            if why == "fault":
                # Its time has come.
                self.cell.store.client.zadd(self.cell.store.keys("delayed"), {job_id: 1})
                self.cell.store.rescue()

    @rule(pick=picks, times=sent)
    def cancel(self, pick: int, times: int) -> None:
        if not self.logs:
            return
        job_id = chosen(self.logs, pick)
        for _ in range(times):
            self.cell.store.cancel(job_id)
        if job_id in self.running and job_id not in self.asked_to_end:
            self.expect(job_id, "cancel_requested")
            self.asked_to_end.add(job_id)
        elif job_id not in self.running and self.logs[job_id][-1] not in ("completed", "failed", "cancelled"):
            self.waiting.discard(job_id)
            self.expect(job_id, "cancelled")

    @rule(pick=picks, priority=st.integers(-2, 2), times=sent)
    def change(self, pick: int, priority: int, times: int) -> None:
        delayed = sorted(set(self.logs) - self.waiting - set(self.running))
        if not delayed:
            return
        job_id = chosen(delayed, pick)
        job = self.cell.client.get(job_id)
        for _ in range(times):
            self.cell.store.change(job_id, priority=priority)
        if job.status is JobStatus.QUEUED and job.priority != priority:
            self.expect(job_id, "updated")

    @rule()
    def leases_end(self) -> None:
        """However often: their worker is announced, so nobody is shown to have killed it."""
        self.cell.let_leases_end()
        for _ in range(2):
            self.cell.store.rescue()
        # In the order in which the server's index has them: by id, since all end at once.
        for job_id in sorted(self.running):
            if job_id in self.asked_to_end:
                self.expect(job_id, "cancelled")
            else:
                self.waiting.add(job_id)
                self.expect(job_id, "requeued")
        self.running.clear()

    # -- what must hold after each

    @invariant()
    def each_log_says_what_happened_and_its_last_event_where_the_job_is(self) -> None:
        if not self.logs:
            return
        jobs = all_jobs(self.cell)
        pages = events.read_many(self.cell.store, [(job_id, 0) for job_id in self.logs], limit=1000)
        ends = events.read_many(self.cell.store, [(job_id, len(words) - 1) for job_id, words in self.logs.items()])
        for (job_id, words), page, end in zip(self.logs.items(), pages, ends, strict=True):
            job = jobs[job_id]
            assert page is not None
            assert end is not None
            assert [event.type.value.removeprefix("job.") for event in page.events] == words, job_id
            assert [event.seq for event in page.events] == list(range(1, len(words) + 1))
            assert page.complete == job.ended
            assert end.events == page.events[-1:]
            last = page.events[-1].data
            assert (last["status"], last["attempt"], last["progress"]) == (job.status, job.attempt, job.progress)

    @invariant()
    def the_feed_has_them_all_in_their_order(self) -> None:
        page = events.feed(self.cell.store, "default", limit=1000)
        told = [event for event in page.events if event.type is not EventType.BATCH_COMPLETED]
        assert [(event.job_id, event.seq) for event in told] == self.feed

    def teardown(self) -> None:
        self.cell.store.close()


def test_logs_under_random_histories(cell: Settings) -> None:
    class Machine(History):
        base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0})

    run_machine(Machine, max_examples=40, stateful_step_count=40, derandomize=True)
