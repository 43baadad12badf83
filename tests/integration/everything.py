"""What somebody who sees everything knows of a cell: the oracle of `test_everything_model.py`. It knows no store and no shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import WorkerClass

PIPELINES = ("sleep", "nap", "doze")
#: Each worker always knows the same; three of them know all that another one does.
KNOWS = {"w1": {"sleep"}, "w2": {"sleep"}, "w3": {"nap"}, "w4": {"sleep", "nap"}, "w5": {"sleep", "nap"}, "w6": {"sleep", "nap", "doze"}}
KINDS = {worker: WorkerClass.of(known) for worker, known in KNOWS.items()}
KNOWN = {KINDS[worker].name: known for worker, known in KNOWS.items()}


class Place(NamedTuple):
    """Whose slot a job takes."""

    tenant: str
    pipeline: str


class Model:
    """Where each live job is, who could serve it, how each ended one must have ended."""

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
        self.lost: set[str] = set()
        self.stopping: set[str] = set()
        self.needs: dict[str, list[str]] = {}
        self.policy: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.removed: set[str] = set()
        self.served: set[str] = set()
        self.refunded: set[str] = set()
        self.behind: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()

    def end(self, job_id: str, how: str) -> None:
        self.ended[job_id] = how
        for those in (self.queued, self.delayed, self.lost, self.stopping):
            those.discard(job_id)
        self.hinted.pop(job_id, None)
        self.follow()

    def follow(self) -> None:
        """Ends bring ends about, until nothing changes."""
        bad = {i for i, how in self.ended.items() if how in ("failed", "cancelled")}
        for job_id in sorted(self.queued, key=self.numbers.__getitem__):
            if job_id in self.queued and self.policy[job_id] != "run" and bad.intersection(self.needs[job_id]):
                self.end(job_id, "failed" if self.policy[job_id] == "fail" else "cancelled")

    def ready(self) -> dict[str, Place]:
        """Queued jobs that wait for no other, and whose tenant and pipeline are at no limit."""
        free = {i: self.places[i] for i in self.queued if all(need in self.ended for need in self.needs[i])}
        return {i: place for i, place in free.items() if not self.held_back(place)}

    def held_back(self, place: Place) -> bool:
        limits, busy = self.limits.get(place.tenant, {}), [self.places[i] for i in (*self.hinted, *self.running)]
        most, cap = limits.get("max_concurrent"), self.caps.get(place.pipeline)
        return bool(
            limits.get("paused")
            or (most is not None and sum(one.tenant == place.tenant for one in busy) >= most)
            or (cap is not None and sum(one.pipeline == place.pipeline for one in busy) >= cap)
        )

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
