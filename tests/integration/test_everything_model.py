"""Random histories in which everything meets: classes of workers, pauses, lost jobs, limits, caps, dependents, batches, workflows, signals,
ids used again, gaps of the clock, recounts; once as it is, and once with scripts that stop early.

The model (`everything.py`) knows who could be served by whom and how each job must end; what may be seen from outside is checked after
every script.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from examples.demo_pipelines import SLEEP
from pipeline_jobs import cell as cells
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.pipelines import Registry, Wait
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runner import drawn_call
from pipeline_jobs.store.runs import Rescued, Taker
from pipeline_jobs.store.store import ClaimRefused
from tests.integration.clock import set_clock
from tests.integration.conftest import TEMPLATE, Cell, all_jobs, make_cell, tired_scripts
from tests.integration.drawn import run_machine
from tests.integration.everything import KINDS, KNOWN, KNOWS, PIPELINES, SIGNALS, Place
from tests.integration.everything_flows import TENANTS, picks, pipelines, tenants
from tests.integration.everything_parts import InParts, is_part
from tests.integration.recount import differences

QUEUES = {"jobs", *(f"jobs.{name}" for name in KNOWN)}
#: Which workers there are at all: of one class, of two, of one that knows more than another, of all.
CREWS = (("w1", "w2"), ("w4", "w5"), ("w1", "w3"), ("w1", "w2", "w4"), ("w4", "w6"), tuple(sorted(KNOWS)))
#: Of the crew.
workers = st.integers(0, 59)
#: By how much the server's clock is set, or how long the server stands still, in seconds; leases are of 10,000 s, announcements of 3,000.
gaps = st.sampled_from([-13 * 3600, -3600, -90, 90, 3600, 7200, 13 * 3600])
#: A moment in the year 2061, in ms.
FAR = 2_900_000_000_000
#: After how many commands scripts stop early: few, or in small cells they seldom do.
TIRED = 30


def make_waiting_cell(base: Settings) -> Cell:
    """A cell whose pipelines wait for signals."""
    registry, waits = Registry(), tuple(Wait(name) for name in SIGNALS)
    for name in PIPELINES:
        registry.register(replace(SLEEP, name=name, stages=(*SLEEP.stages, *waits)))
    return Cell(cells.Cell.of(base, template=TEMPLATE, pipelines=registry))


class History(InParts):
    """What clients, operators, workers and clocks may do, in any order."""

    base: Settings
    pages = 0
    #: Jobs that were handed over by a finish.
    handed = 0

    def __init__(self) -> None:
        super().__init__()
        #: The nonce of each run, and how many there were.
        self.nonces: dict[str, str] = {}
        self.drawn = 0
        #: Finishes, as they were sent, and what they are answered.
        self.sent: list[tuple[Job, JobStatus, Taker, JobStatus | None]] = []
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell = make_waiting_cell(self.base)
        self.batches = Batches(self.cell.client)
        self.most = self.base.max_concurrent_jobs

    # -- workers

    @initialize(
        crew=st.sampled_from(CREWS), slots=st.integers(1, 3), few=st.integers(1, 4), wanted=st.lists(pipelines, min_size=1, max_size=4)
    )  # fmt: skip
    def begins(self, crew: tuple[str, ...], slots: int, few: int, wanted: list[str]) -> None:
        """With something to do for whatever comes: many a history draws few rules, and of those without jobs or workers nothing is told."""
        self.cell.store.rescue()
        self.crew = crew
        for worker in range(len(crew)):
            self.worker_beats(worker, slots)
        for tenant in TENANTS[:few]:
            self.submit(tenant, "x", wanted, 0, [], "fail", False)
        self.worker_takes_hints(0, 0, few)

    @rule(worker=workers, slots=st.integers(0, 4))
    def worker_beats(self, worker: int, slots: int) -> None:
        """A new one, one that is paused, or one that goes on."""
        self.slots[self.who(worker)] = slots
        self.beat(self.who(worker))

    def who(self, worker: int) -> str:
        return self.crew[worker % len(self.crew)]

    def beat(self, worker: str) -> None:
        mine = [run for run in self.running.values() if run.worker == worker]
        slots = self.slots[worker]
        keys = [(run.job_id, run.fence) for run in mine]
        replies = self.cell.store.announce(worker, slots, keys, paused="" if slots else "disk", kind=KINDS[worker])
        assert replies == ["cancel" if run.job_id in self.stopping else "ok" for run in mine]
        self.look()

    @rule(worker=workers, silently=st.booleans())
    def worker_goes(self, worker: int, silently: bool) -> None:
        """It leaves, and its runs go on; or its announcement lapses."""
        name = self.who(worker)
        if self.slots.pop(name, None) is None:
            return
        if silently:
            self.cell.store.client.zadd(self.cell.store.keys("workers"), {name: 1})
            self.cell.store.rescue()
        else:
            self.cell.store.announce(name, 0, [], kind=KINDS[name], leaving=True)
        self.look()

    @rule()
    def leases_of_dead_workers_end(self) -> None:
        dead = [run for run in self.running.values() if run.worker not in self.slots]
        for run in dead:
            self.cell.store.client.zadd(self.cell.store.keys("leases"), {run.job_id: 1})
            del self.running[run.job_id]
            if run.job_id in self.stopping:
                self.end(run.job_id, "cancelled")
            else:
                self.queued.add(run.job_id)
                self.lost.add(run.job_id)
            self.newcomers.refunded.add(run.tenant_id)
        self.rescue()

    @rule(worker=workers, tenant=tenants, wanted=pipelines)
    def worker_dies_and_comes_back(self, worker: int, tenant: str, wanted: str) -> None:
        """Meanwhile others' slots are free, and others' jobs wait for what it knows."""
        self.worker_takes_hints(0, worker, 4)
        self.submit(tenant, "y", [wanted] * 3, 50, [], "fail", False)
        self.worker_goes(worker, True)
        self.leases_of_dead_workers_end()
        for live in sorted(self.slots):
            self.beat(live)
        self.worker_beats(worker, 1)

    def rescue(self) -> None:
        while self.cell.store.rescue():
            self.follow()
        self.look()

    @rule(seconds=gaps, first=st.sampled_from(["a beat", "a rescue", "a restart"]))
    def gap_of_the_clock(self, seconds: int, first: str) -> None:
        """Then everybody who lives beats, in whatever order: nothing of theirs was lost."""
        set_clock(self.cell.store, 1000 * seconds)
        if first == "a restart":
            server = str(self.cell.store.client.get(self.cell.store.keys("server"))).split()
            self.cell.store.client.set(self.cell.store.keys("server"), f"before {server[1]}")
        if first != "a beat":
            self.duties_find_nothing_to_rescue()
        for worker in sorted(self.slots):
            self.beat(worker)
        self.duties_find_nothing_to_rescue()

    def duties_find_nothing_to_rescue(self) -> None:
        dead = {run.job_id for run in self.running.values() if run.worker not in self.slots}
        assert not {done.job_id for done in self.cell.store.rescue()} - dead
        self.look()

    # -- clients

    @rule(
        tenant=tenants, workspace=st.sampled_from("xy"), wanted=st.lists(pipelines, min_size=1, max_size=4), priority=st.integers(-50, 50),
        needed=st.lists(picks, max_size=2), policy=st.sampled_from(["fail", "cancel", "run"]), batch=st.booleans(),
    )  # fmt: skip
    def submit(
        self, tenant: str, workspace: str, wanted: list[str], priority: int, needed: list[int], policy: str, batch: bool
    ) -> None:  # fmt: skip
        there = [i for i in self.numbers if i not in self.removed and self.places[i].tenant == tenant]
        needs = list(dict.fromkeys(there[pick % len(there)] for pick in needed)) if there else []
        news = [
            NewJob(pipeline=pipeline, tenant_id=tenant, workspace_id=workspace, priority=priority, depends_on=tuple(needs),
                   on_dependency_failure=policy, tags=("x", pipeline))
            for pipeline in wanted
        ]  # fmt: skip
        groups = [news] if batch else [[new] for new in news]
        for group in groups:
            if batch:
                ids = [str(job_id) for job_id in self.batches.create(NewBatch(group, tenant_id=tenant, workspace_id=workspace)).job_ids]
            else:
                ids = [self.cell.client.submit(group[0]).job_id]
            for new, job_id in zip(group, ids, strict=True):
                self.came(job_id, Place(tenant, str(new.pipeline)), needs, policy)
            self.follow()
            self.look()

    @rule(wanted=st.lists(pipelines, min_size=1, max_size=3))
    def newcomer(self, wanted: list[str]) -> None:
        known = {place.tenant for place in self.places.values()}
        self.submit(next(f"new{i}" for i in range(1000) if f"new{i}" not in known), "x", wanted, 0, [], "fail", False)

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        job_id = self.chosen({*self.queued, *self.delayed, *self.hinted, *self.running, *self.parked}, pick)
        if job_id is None:
            return
        whose = self.whose(job_id)
        if whose == job_id and is_part(job_id):
            # Of a job that is over, and its id perhaps another's.
            with pytest.raises(UnknownJob):
                self.cell.client.cancel(job_id)
            return
        self.cell.client.cancel(job_id)
        if whose in self.running:
            self.stopping.add(whose)
        else:
            self.end(whose, "cancelled")
        self.look()

    @rule(pick=picks, priority=st.integers(-50, 50), when=st.sampled_from(["", "later", "now"]))
    def place_changes(self, pick: int, priority: int, when: str) -> None:
        """Of a job that waits, once or by a call that is sent twice: it may have started in between."""
        job_id = self.chosen((i for i in self.queued | self.delayed if not is_part(i)), pick)
        if job_id is None:
            return
        if not all(need in self.ended for need in self.needs[job_id]):
            when = ""
        start = {"": None, "later": FAR, "now": 0}[when]
        call: dict[str, Any] = {"id": job_id, "call": drawn_call(), "tenant": None, "workspace": None, "priority": priority, "start": start}
        assert [self.cell.store.run("change", **call).became for _ in range(1 + pick % 2)] == ["ok"] * (1 + pick % 2)
        assert self.cell.client.get(job_id).priority == priority
        if when:
            self.queued.discard(job_id)
            self.delayed.discard(job_id)
            (self.delayed if when == "later" else self.queued).add(job_id)
        self.look()

    @rule(pick=picks, again=st.booleans(), tenant=tenants, pipeline=pipelines)
    def remove(self, pick: int, again: bool, tenant: str, pipeline: str) -> None:
        """An ended job's record; its id may be used again, by another tenant."""
        job_id = self.chosen(set(self.ended) - self.removed, pick)
        if job_id is None or self.cell.store.client.exists(self.cell.store.keys("dependents", job_id)):
            return
        self.cell.client.delete(job_id)
        self.removed.add(job_id)
        self.once_removed.add(job_id)
        self.words.pop(job_id, None)
        self.sent = [(run, how, taker, None if run.job_id == job_id else became) for run, how, taker, became in self.sent]
        if again and not any(job_id in needs for needs in self.needs.values()):
            del self.ended[job_id]
            self.removed.discard(job_id)
            self.cell.store.submit(self.cell.client.prepare(NewJob(pipeline=pipeline, tenant_id=tenant), job_id))
            self.came(job_id, Place(tenant, pipeline), [], "fail")
        self.look()

    # -- operators

    @rule(
        tenant=tenants, most=st.sampled_from([None, None, 0, 1, 3]), paused=st.sampled_from([False, False, True]),
        weight=st.sampled_from([0.5, 1, 4]), parked=st.sampled_from([None, None, 0, 1]),
    )  # fmt: skip
    def limits_change(self, tenant: str, most: int | None, paused: bool, weight: float, parked: int | None) -> None:
        self.limits[tenant] = {"max_concurrent": most, "paused": paused, "weight": weight, "max_parked": parked}
        self.cell.store.set_limits(tenant, self.limits[tenant])
        self.look()

    @rule(pipeline=pipelines, cap=st.sampled_from([None, None, None, 0, 1, 2]))
    def cap_changes(self, pipeline: str, cap: int | None) -> None:
        self.caps[pipeline] = cap
        self.cell.store.set_pipeline_cap(pipeline, cap)
        self.look()

    @rule(most=st.sampled_from([2, 4, 100]))
    def installations_cap_changes(self, most: int) -> None:
        self.most = most
        self.cell.store.set_max_concurrent_jobs(most)
        self.look()

    @rule()
    def a_recount_finds_nothing(self) -> None:
        assert self.cell.store.recount() == 0
        self.look()
        more = True
        while more:
            page = self.cell.store.reconcile(limit=5)
            assert (page.jobs, page.counters) == (0, 0)
            more = page.more
            self.look()

    # -- runs

    @rule(pick=picks, worker=workers, few=st.integers(1, 4))
    def worker_takes_hints(self, pick: int, worker: int, few: int) -> None:
        """Of the queues that it consumes; also one that is gone for the store, or has no slot free."""
        name = self.who(worker)
        for _ in range(few):
            mine = {job_id for job_id, queue in self.hinted.items() if queue in ("jobs", f"jobs.{KINDS[name].name}")}
            job_id = self.chosen(mine, pick)
            if job_id is None:
                return
            fence = self.cell.client.get(job_id).fence
            del self.hinted[job_id]
            run = self.draws(job_id)
            claimed = self.cell.store.claim(job_id, fence, worker=name, run=run, pipelines=dict.fromkeys(KNOWS[name]))
            if self.places[job_id].pipeline in KNOWS[name]:
                assert isinstance(claimed, Job), claimed
                self.running[job_id] = claimed
                self.is_given_what_it_needs(claimed)
            else:
                assert claimed == ClaimRefused("pipeline")
                self.hint_is_lost(job_id)
        # Who took it may be gone, or of another class than whose slot was meant: a slot that is free by that is used at the next beat.
        for live in sorted(self.slots)[:1]:
            self.beat(live)

    def draws(self, job_id: str) -> str:
        """A nonce for a run of it."""
        self.drawn += 1
        self.nonces[job_id] = f"run {self.drawn}"
        return self.nonces[job_id]

    @rule(
        pick=picks, how=st.sampled_from(["completed", "completed", "failed", "crash", "handback", "retry", "fault"]), goes_on=st.booleans(),
        ms=st.sampled_from([0, 0, 5, 1_000, 60_000]),
    )  # fmt: skip
    def run_ends(self, pick: int, how: str, goes_on: bool, ms: int = 0) -> None:
        """:param goes_on: its process would have the next job; or it dies, and its worker gives back what it had.
        :param ms: how long it took, besides what the test itself took, which counts for little by that.
        """
        job_id = self.chosen(self.running, pick)
        if job_id is None:
            return
        run = self.running.pop(job_id)
        self.cell.store.client.hincrby(self.cell.store.keys("job", job_id), "started_at", -ms)
        self.newcomers.refunded.discard(run.tenant_id)
        taker = Taker(run.worker or "", self.draws(""), dict.fromkeys(KNOWS[run.worker or ""])) if goes_on else None
        if how in ("completed", "failed") and job_id in self.parts:
            # Sent again when its split is over, it would be answered that it was cancelled.
            became = self.part_says(run, how, taker)
        elif how in ("completed", "failed"):
            became = self.cell.store.finish(job_id, run.fence, JobStatus(how), result={}, error="x", taker=taker)
            if taker:
                self.sent.append((run, JobStatus(how), taker, became))
        elif how in ("crash", "handback") and goes_on:
            [moved] = self.cell.store.process_lost(run.worker or "", job_id, run.fence, [self.nonces[job_id], "another"], how)
            became = JobStatus(moved.became)
        else:
            became = self.cell.store.requeue(job_id, run.fence, how)
        expected = "cancelled" if job_id in self.stopping else how if how in ("completed", "failed") else "queued"
        assert became == JobStatus(expected)
        if expected == "queued":
            (self.delayed if how == "fault" else self.queued).add(job_id)
        elif job_id in self.parts:
            self.part_has_ended(job_id, expected)
        else:
            self.end(job_id, expected)
        if taker and taker.job:
            self.went_on(taker, taker.job)
        else:
            self.look()

    @rule(worker=workers, tenant=tenants, few=st.integers(1, 4))
    def a_child_goes_on(self, worker: int, tenant: str, few: int) -> None:
        """More jobs than slots: each run that ends may be followed by another one."""
        self.worker_beats(worker, 1)
        self.submit(tenant, "x", sorted(KNOWS[self.who(worker)])[:1] * 4, 0, [], "fail", False)
        self.worker_takes_hints(0, worker, 4)
        for _ in range(few):
            self.run_ends(0, "completed", True)

    @rule(pick=picks)
    def run_splits(self, pick: int) -> None:
        job_id = self.chosen((one for one, run in self.running.items() if not run.part_of), pick)
        if job_id is not None and not self.tired:
            self.is_split(job_id, pick)

    @rule(worker=workers, tenant=tenants, pick=picks, how=st.sampled_from(["completed", "completed", "failed", "crash", "fault"]))
    def a_job_runs_in_parts(self, worker: int, tenant: str, pick: int, how: str) -> None:
        """As far as this worker has slots; one of its parts ends in another way."""
        self.worker_beats(worker, 3)
        self.submit(tenant, "x", sorted(KNOWS[self.who(worker)])[:1], 50, [], "fail", False)
        self.worker_takes_hints(0, worker, 4)
        self.run_splits(pick)
        for n in range(0 if self.tired else 6):
            self.worker_takes_hints(pick, worker, 4)
            parts = [number for number, one in enumerate(sorted(self.running, key=self.numbers.__getitem__)) if one in self.parts]
            for number in parts[:1]:
                self.run_ends(number, how if n == pick % 9 else "completed", bool(pick % 2))

    def went_on(self, taker: Taker, job: Job) -> None:
        """A process was handed a job: one that might have had a hint for its worker, which has a slot for it; or has one, if it crashed."""
        place, own = self.places[job.job_id], KNOWS[taker.worker]
        was_hinted = self.hinted.pop(job.job_id, None) is not None
        was_lost = was_hinted or job.job_id in self.lost
        type(self).handed += 1
        assert job.crashes if was_hinted else job.job_id in self.queued | self.delayed
        assert not self.held_back(place)
        assert place.pipeline in own
        for those in (self.queued, self.delayed, self.lost):
            those.discard(job.job_id)
        self.running[job.job_id], self.nonces[job.job_id] = job, taker.run
        self.is_given_what_it_needs(job)
        assert sum(run.worker == taker.worker for run in self.running.values()) <= self.slots.get(taker.worker, 0)
        # The same script may have sent hints besides.
        self.look()
        if not was_lost:
            self.count_who_was_passed(place.tenant, own)
        self.newcomers.was_served(place.tenant)
        self.notes_who_is_gone()

    @rule(pick=picks)
    def a_finish_comes_again(self, pick: int) -> None:
        """However late, it is answered as before; and the job that it handed over is handed over again, if it has not ended since."""
        if not self.sent:
            return
        run, how, taker, became = self.sent[pick % len(self.sent)]
        again = replace(taker, job=None)
        assert self.cell.store.finish(run.job_id, run.fence, how, result={}, error="x", taker=again) == became
        handed = taker.job if taker.job and self.running.get(taker.job.job_id) == taker.job else None
        assert (again.job and (again.job.job_id, again.job.fence)) == (handed and (handed.job_id, handed.fence))
        self.look()

    @rule(pick=picks, worker=workers, asked=st.booleans())
    def a_child_dies_before_its_claim(self, pick: int, worker: int, asked: bool) -> None:
        """Its worker gives the hint back; what the child had sent comes after that, and is refused."""
        job_id = self.chosen(self.hinted, pick)
        if job_id is None:
            return
        fence, name, nonces = self.cell.client.get(job_id).fence, self.who(worker), [self.draws("")] if asked else []
        moved = self.cell.store.process_lost(name, job_id, fence, nonces, "crash")
        assert moved == [Rescued(job_id, "hint")]
        del self.hinted[job_id]
        self.hint_is_lost(job_id)
        self.look()
        late = self.cell.store.claim(job_id, fence, worker=name, run="late", pipelines=dict.fromkeys(KNOWS[name]))
        assert late == ClaimRefused("stale")

    @rule()
    def time_passes(self) -> None:
        client, keys = self.cell.store.client, self.cell.store.keys
        for job_id in self.delayed:
            client.zadd(keys("delayed"), {job_id: 1}, xx=True)
            if client.hexists(keys("job", job_id), "run_at"):
                client.hset(keys("job", job_id), "run_at", 1)
        self.queued |= self.delayed
        self.delayed.clear()
        self.rescue()

    @rule()
    def hints_are_lost(self) -> None:
        for job_id in self.hinted:
            self.cell.store.client.zadd(self.cell.store.keys("hints"), {job_id: 1})
            self.hint_is_lost(job_id)
        self.hinted.clear()
        self.rescue()

    def hint_is_lost(self, job_id: str) -> None:
        """One that had crashed before goes before all others."""
        self.queued.add(job_id)
        self.newcomers.refunded.add(self.places[job_id].tenant)
        if self.cell.store.client.hexists(self.cell.store.keys("job", job_id), "hint_soon"):
            self.lost.add(job_id)

    # -- what must hold after each script

    def look(self) -> None:
        """Read what was dispatched; it went to who can run it, and nobody was passed over."""
        self.notes_who_came()
        live = {KINDS[worker].name for worker in self.slots}
        for queue, job_id in self.one_after_another(self.read_queues()):
            place = self.places[job_id]
            assert job_id in self.queued | self.delayed, f"{job_id} was started"
            assert not self.held_back(place), f"{place} was started"
            self.queued.discard(job_id)
            self.delayed.discard(job_id)
            name = queue.removeprefix("jobs").removeprefix(".") or next(iter(live))
            assert queue == "jobs" if self.counts_together() else queue != "jobs"
            assert name in live
            assert place.pipeline in KNOWN[name], f"{place} went to {sorted(KNOWN[name])}"
            if job_id not in self.lost:
                self.count_who_was_passed(place.tenant, KNOWN[name])
            self.lost.discard(job_id)
            self.newcomers.was_served(place.tenant)
            self.hinted[job_id] = queue
        # The hint of a job that has just lost its run is valid for a second: on a busy machine that is over before the next rule. Here it
        # is as any other.
        until = time.time() * 1000 + self.cell.settings.hint_seconds * 1000
        for job_id in self.hinted:
            self.cell.store.client.zadd(self.cell.store.keys("hints"), {job_id: until}, xx=True)
        # Who may not start now has no other claim than its place.
        self.lost = {i for i in self.lost if not self.held_back(self.places[i])}
        self.notes_who_is_gone()

    def one_after_another(self, queues: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
        """The queue and job of each hint. Which of two queues one script sent to first nobody sees: the one that should be."""
        waiting = {queue: deque(ids) for queue, ids in queues.items() if ids}
        while waiting:
            queue = min(waiting, key=lambda name: self.turn_of(waiting[name][0]))
            yield queue, waiting[queue].popleft()
            waiting = {name: ids for name, ids in waiting.items() if ids}

    def turn_of(self, job_id: str) -> tuple[bool, bool, int]:
        """Lost jobs are first, and then newcomers, in the order in which they came."""
        tenant, ahead = self.places[job_id].tenant, self.newcomers.ahead
        return job_id not in self.lost, tenant in self.newcomers.served, list(ahead).index(tenant) if tenant in ahead else len(ahead)

    def read_queues(self) -> dict[str, list[str]]:
        """The jobs that have a hint in each queue, oldest first; none is there any more."""
        pipe = self.cell.store.client.pipeline(transaction=False)
        names = sorted(QUEUES)
        for queue in names:
            pipe.lrange(queue, 0, -1)
        pipe.delete(*names)
        return {
            queue: [json.loads(hint)["id"] for hint in reversed(hints)] for queue, hints in zip(names, pipe.execute()[:-1], strict=True)
        }

    def count_who_was_passed(self, by: str, known: set[str]) -> None:
        ready = {i: place for i, place in self.surely_ready().items() if place.pipeline in known}
        assert not self.lost & set(ready), f"{by} went before lost jobs"
        could = {place.tenant for place in ready.values()} - {by}
        # A dispatch that is lost costs nothing: who loses all of them is the next again each time, and nobody is passed by a job that runs.
        costs = by not in self.newcomers.refunded
        self.passed = Counter({tenant: self.passed[tenant] + costs for tenant in could})
        self.newcomers.were_passed(by, could)

    @invariant()
    def promises_hold(self) -> None:
        for _ in range(200):
            before = len(self.hinted)
            unsettled = any(self.cell.store.settle())
            self.look()
            if not self.tired:
                assert not unsettled
                break
            for worker in sorted(self.slots):
                self.beat(worker)
            if not unsettled and len(self.hinted) == before:
                break
            type(self).pages += 1
        else:
            raise AssertionError("the duties come to no end")
        self.no_slot_idles()
        self.newcomers.were_next()
        self.released = {i for i in self.queued if self.needs[i] and all(need in self.ended for need in self.needs[i])}
        assert max(self.passed.values(), default=0) <= 64, self.passed
        assert differences(self.cell.store) == []
        jobs = all_jobs(self.cell)
        for job_id, how in self.ended.items():
            if job_id not in self.removed:
                assert jobs[job_id].status == JobStatus(how), job_id
        for job_id in (*self.parked, *self.queued):
            # No list has parts.
            self.job_is_as_it_should(self.cell.client.get(job_id) if is_part(job_id) else jobs[job_id])

    def no_slot_idles(self) -> None:
        free = self.free() if self.alive() + len(self.hinted) < self.most else Counter()
        for place in self.ready().values():
            idle = [sorted(KNOWN[name]) for name, n in free.items() if n > 0 and place.pipeline in KNOWN[name]]
            assert not idle, f"slots of {idle} idle beside {place}"

    def teardown(self) -> None:
        self.cell.store.close()


@pytest.mark.parametrize("tired", [False, True], ids=["", "with scripts that stop early"])
def test_random_histories_of_everything_keep_the_promises(cell: Settings, tired: bool) -> None:
    with tired_scripts(TIRED) if tired else nullcontext():
        check_everything(cell, tired, 9)


def check_everything(cell: Settings, tired_: bool, histories: int, *, derandomize: bool = True) -> None:
    """So many of up to 50 steps each. The long form is `tests/heavy/bar_everything_histories.py`."""

    class Bound(History):
        base = cell.model_copy(
            update={
                "max_concurrent_jobs": 12, "announce_seconds": 1000.0, "lease_seconds": 10_000.0, "max_crashes": 1000,
                "max_run_seconds": 1e7, "hint_seconds": 5000.0,
                # The last slot is for others in test_fairness_model.py and test_classes_model.py; this model does not know that rule.
                "reserved_slots": 0,
            }
        )  # fmt: skip
        tired = tired_

    run_machine(Bound, phases=(Phase.generate,), max_examples=histories, stateful_step_count=50, derandomize=derandomize)
    assert (Bound.pages > 0) is tired_
    assert min(Bound.handed, Bound.parks, Bound.wakes) > 0
    # Nine histories may have no retry of a workflow.
    assert Bound.retries > 0 or histories < 20
    assert tired_ or Bound.joins > 0
