"""Who may start a job by the rules of `docs/fairness.md`: the oracle of `fair_histories.py`, which knows no store."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline_jobs.job import Job

HOUR = 3600
#: When a tenant had a job is known to a minute; and a history takes some real time.
ABOUT = 120
#: Of a tenant that has one: a start, and the next one after 1000 s.
START_RATE = 0.001
#: Why a job waits that might start if no other tenant had had one.
LAST_SLOT = "the last slot is for others"


class Place(NamedTuple):
    """Whose slot a job takes."""

    tenant: str
    pipeline: str


class Shares:
    """Where each live job is, and what is known of slots, limits and times."""

    def __init__(self, most: int) -> None:
        #: Slots of the workers that live.
        self.slots: dict[str, int] = {}
        self.most = most
        self.limits: dict[str, dict[str, Any]] = {}
        self.caps: dict[str, int | None] = {}
        self.queued: dict[str, Place] = {}
        #: Those that wait for a time: their worker's machine was at fault.
        self.delayed: dict[str, Place] = {}
        self.hinted: dict[str, Place] = {}
        self.running: dict[str, Job] = {}
        #: How far the clock was set in all, in seconds; of tenants with a start rate when they last started a job, and what was left then.
        self.clock = 0
        self.tokens: dict[str, tuple[int, float]] = {}
        #: When, by the clock, each tenant last had a job dispatched, and when it last may have counted as one that has a job.
        self.began: dict[str, int] = {}
        self.seen: dict[str, int] = {}

    def who_waits(self) -> tuple[set[str], set[str]]:
        """Tenants with a job that surely might start, and those that are perhaps asked for one: who has a limit of its own is not."""
        could = {place.tenant for place in self.queued.values() if self.could_start(place)}
        return could, {place.tenant for place in self.queued.values() if self.limit_of(place.tenant) is None}

    def held_back(self, place: Place) -> str | None:
        """Why a job may not start, whoever's turn it is."""
        if why := self.limit_of(place.tenant):
            return why
        if self.is_full(place.pipeline):
            return "its pipeline has all its slots"
        if self.is_at_the_reserve(place.tenant) and self.others_had_a_job(place.tenant, surely=True):
            return LAST_SLOT
        return None

    def limit_of(self, tenant: str) -> str | None:
        """Which limit of its own it is at."""
        limits = self.limits.get(tenant, {})
        if limits.get("paused"):
            return "its tenant is paused"
        if (most := limits.get("max_concurrent")) is not None and self.busy("tenant", tenant) >= most:
            return "its tenant has all its slots"
        if limits.get("start_rate") and self.tokens_of(tenant) < 1:
            return "its tenant has started one"
        return None

    def is_full(self, pipeline: str) -> bool:
        cap = self.caps.get(pipeline)
        return cap is not None and self.busy("pipeline", pipeline) >= cap

    def could_start(self, place: Place) -> bool:
        """Surely: it is held back neither by a limit nor by another tenant's job of which nobody can say whether it was within the hour."""
        reserved = self.is_at_the_reserve(place.tenant) and self.others_had_a_job(place.tenant, surely=False)
        # After the clock was set back it may have the rest of its wait before it, though its bucket is full.
        parked = self.limits.get(place.tenant, {}).get("start_rate") and self.clock < self.tokens.get(place.tenant, (self.clock, 0))[0]
        return self.held_back(place) is None and not reserved and not parked

    def free(self) -> int:
        alive = sum(run.worker in self.slots for run in self.running.values())
        return min(sum(self.slots.values()), self.most) - alive - len(self.hinted)

    def is_at_the_reserve(self, tenant: str) -> bool:
        slots = min(sum(self.slots.values()), self.most)
        return slots >= 4 and self.free() <= 1 and self.slots_of("tenant", tenant) >= slots - 1

    def others_had_a_job(self, tenant: str, *, surely: bool) -> bool:
        """In the last hour. Before the clock was set back is not surely, and not surely not."""
        if surely:
            return any(0 <= self.clock - at <= HOUR - ABOUT for other, at in self.began.items() if other != tenant)
        return any(self.clock - at <= HOUR + ABOUT for other, at in self.seen.items() if other != tenant)

    def busy(self, what: str, name: str) -> int:
        """Slots that count against a limit: those of all pools."""
        return self.slots_of(what, name)

    def slots_of(self, what: str, name: str) -> int:
        busy = [*self.hinted.values(), *(Place(run.tenant_id, run.pipeline) for run in self.running.values())]
        return [getattr(place, what) for place in busy].count(name)

    def tokens_of(self, tenant: str) -> float:
        """Of a bucket that holds one. A clock that was set back behind its last start has it filled."""
        at, left = self.tokens.get(tenant, (0, 1.0))
        return 1.0 if self.clock < at else min(1.0, left + (self.clock - at) * START_RATE)

    def was_dispatched(self, job_id: str, place: Place) -> None:
        self.began[place.tenant] = self.seen[place.tenant] = self.clock
        self.hinted[job_id] = place
        if self.limits.get(place.tenant, {}).get("start_rate"):
            self.tokens[place.tenant] = (self.clock, self.tokens_of(place.tenant) - 1)

    def hint_was_lost(self, place: Place) -> None:
        """Its start did not happen: the token for it is there again."""
        if self.limits.get(place.tenant, {}).get("start_rate") and place.tenant in self.tokens:
            at, left = self.tokens[place.tenant]
            self.tokens[place.tenant] = (at, left + 1)
