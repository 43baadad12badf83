"""The schedules in the store: one method for each script. What is fired, and when, is the business of `scheduler` and `fire`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.exceptions import KeyReused
from pipeline_jobs.job import Job
from pipeline_jobs.schedules.schedule import Outcome, Schedule
from pipeline_jobs.store.idempotency import Idempotency
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.store.store import Store


@dataclass(frozen=True, slots=True)
class Skip:
    """Slots that follow one another and are not fired, and why."""

    reason: str
    slots: Sequence[int]


@dataclass(frozen=True, slots=True)
class Fired:
    """What a firing came to: `fired`, `skipped`, `waits`, `stale`, `gone`, `taken` or `refused` (see `lua/schedules/schedule_fire.lua`)."""

    became: str
    reason: str = ""
    job: Job | None = None
    #: By hand only: submit rates that it was held against, as the script tells them.
    told_rates: str = ""
    #: By hand only: what `store.refusal` makes an error of.
    refusal: Any = None


@dataclass(slots=True)
class ScheduleStore:
    """The schedules of a cell. Every method raises `StoreUnavailable` when the store cannot be asked."""

    store: Store

    def now(self) -> int:
        """The server's clock, in ms."""
        return self.store.now()

    def put(
        self, schedule: Schedule, *, before: str = "", most: int = 0, keep_next: bool = False, idempotency: Idempotency | None = None
    ) -> tuple[str, str]:
        """Make a schedule, or (`before`: its revision) change one.

        :param idempotency: of a new one: the tenant's key for this request.
        :return: `ok`, or why not, as `lua/schedules/schedule_put.lua` says; and the id of the schedule that the key made before (`same`).
        :raises KeyReused: the key made the schedule of another request.
        """
        following = "=" if keep_next else "" if schedule.next_run_at is None else str(schedule.next_run_at)
        key, fingerprint = idempotency or (None, None)
        reply = self.store.run(
            "schedule_put", id=schedule.schedule_id, revision=schedule.revision, before=before, most=most, paused=schedule.paused,
            following=following, idempotency=key, fingerprint=fingerprint, fields=schedule.to_mapping(),
        )  # fmt: skip
        if reply.became == "differs":
            raise KeyReused
        return str(reply.became), str(reply.id) if reply.became == "same" else schedule.schedule_id

    def get(self, schedule_id: str) -> Schedule | None:
        flat = self.store.record("schedule", schedule_id)
        return Schedule.from_mapping(flat) if flat else None

    def log(self, schedule_id: str, limit: int) -> list[Outcome]:
        """What became of the last slots, newest first."""
        return [Outcome.from_line(line) for line in self.store.lines("schedule_log", schedule_id, most=limit)] if limit else []

    def waiting(self, schedule_id: str) -> list[int]:
        """Slots that are to be fired, oldest first."""
        return [int(slot) for slot in self.store.members("schedule_slots", schedule_id)]

    def page(self, tenant_id: str | None, workspace_id: str | None, cursor: str | None, limit: int) -> Page[Schedule]:
        """Schedules, newest first."""
        if tenant_id is None:
            index = self.store.keys("schedules")
        elif workspace_id is None:
            index = self.store.keys("tenant_schedules", tenant_id)
        else:
            index = self.store.keys("workspace_schedules", tenant_id, workspace_id)
        return page(self.store, "schedule", index, cursor, limit, Schedule.from_mapping)

    def remove(self, schedule_id: str) -> bool:
        """:return: False: there is none."""
        return bool(self.store.run("schedule_remove", id=schedule_id))

    def erase(self, tenant_id: str) -> int:
        """Remove every schedule of a tenant. :return: how many there were."""
        return sum(self.remove(schedule_id) for schedule_id in self.store.members("tenant_schedules", tenant_id))

    def due(self, limit: int) -> list[str]:
        """Schedules that have to be looked at now, the latest first."""
        return self.store.due(self.now(), limit, "schedules_due")

    def plan(self, schedule: Schedule, fire: Sequence[int], skip: Skip, following: int | None, most_waiting: int) -> bool:
        """Say what becomes of the slots from `next_run_at` until before `following`. :return: False: somebody else has."""
        first, last = (skip.slots[0], skip.slots[-1]) if skip.slots else (None, None)
        reply = self.store.run(
            "schedule_plan", id=schedule.schedule_id, revision=schedule.revision, now=schedule.next_run_at, following=following,
            most=most_waiting, skipped=len(skip.slots), reason=skip.reason, first=first, last=last, slots=fire,
        )  # fmt: skip
        return bool(reply == "ok")

    def fire(
        self,
        schedule: Schedule,
        slot: int | None,
        job: Job | None,
        nonce: str,
        *,
        skip: str = "",
        poll_seconds: float = 0,
        durably: bool = False,
        idempotency: Idempotency | None = None,
        sender: Sender | None = None,
    ) -> Fired:
        """Make the job of a slot (None: by hand), or skip the slot for this reason.

        :param idempotency: by hand: the tenant's key for this request.
        :param sender: by hand: whose rate counts besides the tenant's.
        """
        new = schedule.template
        reply = self.store.run(
            "schedule_fire", id=schedule.schedule_id, revision=schedule.revision, slot=slot, why=skip, job_id=job.job_id if job else None,
            nonce=nonce, poll=poll_seconds, deadline=new.deadline_seconds, wait=new.start_within_seconds,
            **self.store.acceptance(idempotency, sender), fields=job.accepted_mapping() if job else {}, durably=durably,
        )  # fmt: skip
        match reply.became:
            case "fired" if job is not None:
                made = job.evolve(created_at=int(reply.created_at), order=int(reply.order))
                return Fired("fired", job=made, told_rates=reply.rates)
            case "skipped":
                return Fired("skipped", reason=reply.reason)
            case "waits" | "stale" | "gone" | "taken" as became:
                return Fired(became)
        return Fired("refused", refusal=reply)
