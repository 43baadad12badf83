"""What somebody who sees everything knows of a cell: the oracle of `test_everything_model.py`. It knows no store and no shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import WorkerClass
from tests.integration.newcomers import Newcomers
from tests.integration.splits import Split

PIPELINES = ("sleep", "nap", "doze")
#: Each worker always knows the same; three of them know all that another one does.
KNOWS = {"w1": {"sleep"}, "w2": {"sleep"}, "w3": {"nap"}, "w4": {"sleep", "nap"}, "w5": {"sleep", "nap"}, "w6": {"sleep", "nap", "doze"}}
KINDS = {worker: WorkerClass.of(known) for worker, known in KNOWS.items()}
KNOWN = {KINDS[worker].name: known for worker, known in KNOWS.items()}


#: What jobs may wait for.
SIGNALS = ("go", "sign")


class Place(NamedTuple):
    """Whose slot a job takes."""

    tenant: str
    pipeline: str


class Parked(NamedTuple):
    """What a parked job waits for, whether only for some time, and what the end of that time does."""

    name: str
    timed: bool
    otherwise: str


class Model:
    """Where each live job is, who could serve it, how each ended one must have ended."""

    #: Scripts stop early: what they leave is done by the duties and by beats, which come before the promises are looked at.
    tired = False

    def __init__(self) -> None:
        super().__init__()
        #: Slots of the live workers; paused ones have none.
        self.slots: dict[str, int] = {}
        self.most = 0
        self.limits: dict[str, dict[str, Any]] = {}
        self.caps: dict[str, int | None] = {}
        #: Live jobs, in the order of their submits; where each of them is.
        self.places: dict[str, Place] = {}
        self.queued: set[str] = set()
        self.delayed: set[str] = set()
        self.hinted: dict[str, str] = {}
        self.running: dict[str, Job] = {}
        self.parked: dict[str, Parked] = {}
        #: Of each job the first word on each signal; None: none came in time.
        self.words: dict[str, dict[str, Any]] = {}
        #: Of each workflow its jobs by their names, and of each retry what it is a retry of.
        self.workflows: dict[str, dict[str, str]] = {}
        self.retry_of: dict[str, str] = {}
        #: The last split of each live job, and that of each part that is open.
        self.splits: dict[str, Split] = {}
        self.parts: dict[str, Split] = {}
        self.lost: set[str] = set()
        self.stopping: set[str] = set()
        self.needs: dict[str, list[str]] = {}
        self.policy: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.removed: set[str] = set()
        #: Of those the ids that were used again, too.
        self.once_removed: set[str] = set()
        self.newcomers = Newcomers()
        #: Jobs of which the duties were seen to know that all they need has ended.
        self.released: set[str] = set()
        self.passed: Counter[str] = Counter()

    def came(self, job_id: str, place: Place, needs: list[str], policy: str) -> None:
        self.places[job_id], self.needs[job_id], self.policy[job_id] = place, needs, policy
        self.numbers[job_id] = len(self.numbers)
        self.queued.add(job_id)

    def end(self, job_id: str, how: str) -> None:
        self.end_together([job_id], how)

    def end_together(self, ids: Iterable[str], how: str) -> None:
        """What the end of one would do to another does not happen to it."""
        for job_id in ids:
            self.ended[job_id] = how
            for those in (self.queued, self.delayed, self.lost, self.stopping):
                those.discard(job_id)
            self.hinted.pop(job_id, None)
            self.parked.pop(job_id, None)
        self.follow()

    def follow(self) -> None:
        """Ends bring ends about, until nothing changes."""
        bad = {i for i, how in self.ended.items() if how in ("failed", "cancelled")}
        for job_id in sorted(self.queued, key=self.numbers.__getitem__):
            if job_id in self.queued and self.policy[job_id] != "run" and bad.intersection(self.needs[job_id]):
                self.end(job_id, "failed" if self.policy[job_id] == "fail" else "cancelled")

    def unblocked(self) -> dict[str, Place]:
        """Queued jobs that wait for no other."""
        return {i: self.places[i] for i in self.queued if all(need in self.ended for need in self.needs[i])}

    def ready(self) -> dict[str, Place]:
        """Queued jobs that wait for no other, and whose tenant and pipeline are at no limit."""
        return {i: place for i, place in self.unblocked().items() if not self.held_back(place)}

    def surely_ready(self) -> dict[str, Place]:
        """Where scripts stop early, without those whose last dependency has just ended: the duties may not have come to them."""
        ready = self.ready()
        return {i: place for i, place in ready.items() if not self.needs[i] or i in self.released} if self.tired else ready

    def notes_who_came(self) -> None:
        """Called after each script, before what it started is counted."""
        self.newcomers.look(*self.who_waits(), sum(self.slots.values()), in_one_ring=self.counts_together())

    def notes_who_is_gone(self) -> None:
        """Called after each script, after what it started was counted."""
        self.newcomers.have_gone(*self.who_waits())

    def who_waits(self) -> tuple[set[str], set[str]]:
        """Tenants with a job that might start, and those with one that might but for its pipeline."""
        unblocked = set(self.unblocked().values())
        could = {place.tenant for place in unblocked if not self.held_back(place)}
        return could, {place.tenant for place in unblocked if not self.at_its_limit(place.tenant)}

    def held_back(self, place: Place) -> bool:
        cap = self.caps.get(place.pipeline)
        return self.at_its_limit(place.tenant) or (cap is not None and self.busy("pipeline", place.pipeline) >= cap)

    def at_its_limit(self, tenant: str) -> bool:
        limits = self.limits.get(tenant, {})
        most = limits.get("max_concurrent")
        return bool(limits.get("paused") or (most is not None and self.busy("tenant", tenant) >= most))

    def busy(self, what: str, name: str) -> int:
        """Slots that a tenant or a pipeline has."""
        return [getattr(self.places[i], what) for i in (*self.hinted, *self.running)].count(name)

    def counts_together(self) -> bool:
        return len({KINDS[worker] for worker in self.slots}) == 1 and all(self.slots.values())

    def free(self) -> Counter[str]:
        """Slots of each class that neither a run nor a hint has; none are counted of which a hint in the common queue may have one."""
        free: Counter[str] = Counter()
        runs = Counter(run.worker for run in self.running.values())
        for worker, slots in self.slots.items():
            free[KINDS[worker].name] += max(0, slots - runs[worker])
        if self.counts_together():
            (name,) = free
            free[name] = sum(self.slots.values()) - self.alive() - len(self.hinted)
            return free
        for job_id, queue in self.hinted.items():
            for name in list(free):
                if queue == f"jobs.{name}" or (queue == "jobs" and self.places[job_id].pipeline in KNOWN[name]):
                    free[name] -= 1
        return free

    def alive(self) -> int:
        return sum(run.worker in self.slots for run in self.running.values())

    def chosen(self, ids: Iterable[str], pick: int) -> str | None:
        """One of these jobs: the same whenever the history is repeated (the ids are others)."""
        known = sorted(ids, key=self.numbers.__getitem__)
        return known[pick % len(known)] if known else None
