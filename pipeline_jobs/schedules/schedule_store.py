"""The schedules in the store: one method for each script. What is fired, and when, is the business of `scheduler` and `fire`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_jobs.exceptions import AlreadyScheduled, KeyReused
from pipeline_jobs.job import Job
from pipeline_jobs.rates import Sender
from pipeline_jobs.schedules.schedule import Outcome, Schedule
from pipeline_jobs.store.store import Store, store_errors


@dataclass(frozen=True, slots=True)
class Skip:
    """Slots in a row that are not fired, and why."""

    reason: str
    slots: Sequence[int]


@dataclass(frozen=True, slots=True)
class Fired:
    """What a firing came to: `fired`, `skipped`, `waits`, `stale`, `gone`, `taken` or `refused` (see `lua/schedules/schedule_fire.lua`)."""

    became: str
    reason: str = ""
    job: Job | None = field(default=None)
    #: By hand only: what `store.refusal` makes an error of.
    refusal: Sequence[str] = ()


@dataclass(slots=True)
class ScheduleStore:
    """The schedules of a cell. Every method raises `StoreUnavailable` when the store cannot be asked."""

    store: Store

    def now(self) -> int:
        """The server's clock, in ms."""
        with store_errors():
            seconds, micros = self.store.client.time()  # type: ignore[misc]
        return int(seconds) * 1000 + int(micros) // 1000

    def put(
        self, schedule: Schedule, *, before: str = "", most: int = 0, keep_next: bool = False, idempotency: tuple[str, str] | None = None
    ) -> str:
        """Make a schedule, or (`before`: its revision) change one.

        :param idempotency: of a new one: the tenant's key for this request, and a fingerprint of the request.
        :return: `ok`, or why not, as `lua/schedules/schedule_put.lua` says.
        :raises AlreadyScheduled: the key made this schedule before; `KeyReused`: it made another.
        """
        flat = schedule.to_mapping()
        following = "=" if keep_next else "" if schedule.next_run_at is None else schedule.next_run_at
        pairs = [part for pair in flat.items() for part in pair]
        paused = "1" if schedule.paused else ""
        became, *made = self.store.run(
            "schedule_put", schedule.schedule_id, schedule.revision, before, most, paused, following, *(idempotency or ("", "")),
            len(flat), *pairs,
        )  # fmt: skip
        if became == "same":
            raise AlreadyScheduled(made[0])
        if became == "differs":
            raise KeyReused
        return str(became)

    def get(self, schedule_id: str) -> Schedule | None:
        with store_errors():
            flat: Any = self.store.client.hgetall(self.store.keys("schedule", schedule_id))
        return Schedule.from_mapping(flat) if flat else None

    def log(self, schedule_id: str, limit: int) -> list[Outcome]:
        """What became of the last slots, newest first."""
        with store_errors():
            lines: Any = self.store.client.lrange(self.store.keys("schedule_log", schedule_id), 0, limit - 1)
        return [Outcome.from_line(line) for line in lines]

    def waiting(self, schedule_id: str) -> list[int]:
        """Slots that are to be fired, oldest first."""
        with store_errors():
            slots: Any = self.store.client.zrange(self.store.keys("schedule_slots", schedule_id), 0, -1)
        return [int(slot) for slot in slots]

    def page(self, tenant_id: str | None, workspace_id: str | None, below: int | None, limit: int) -> list[Schedule]:
        """Schedules, newest first, with an `order` below this one."""
        if tenant_id is None:
            index = self.store.keys("schedules")
        elif workspace_id is None:
            index = self.store.keys("tenant_schedules", tenant_id)
        else:
            index = self.store.keys("workspace_schedules", tenant_id, workspace_id)
        highest = "+inf" if below is None else f"({below}"
        with store_errors():
            ids: Any = self.store.client.zrevrangebyscore(index, highest, "-inf", 0, limit)
            with self.store.client.pipeline(transaction=False) as pipe:
                for schedule_id in ids:
                    pipe.hgetall(self.store.keys("schedule", schedule_id))
                found: Sequence[Mapping[str, str]] = pipe.execute()
        return [Schedule.from_mapping(flat) for flat in found if flat]

    def remove(self, schedule_id: str) -> bool:
        """:return: False: there is none."""
        return bool(self.store.run("schedule_remove", schedule_id))

    def erase(self, tenant_id: str) -> int:
        """Remove every schedule of a tenant. :return: how many there were."""
        with store_errors():
            ids: Any = self.store.client.zrange(self.store.keys("tenant_schedules", tenant_id), 0, -1)
        return sum(self.remove(schedule_id) for schedule_id in ids)

    def due(self, limit: int) -> list[str]:
        """Schedules that have to be looked at now, the latest first."""
        with store_errors():
            ids: Any = self.store.client.zrangebyscore(self.store.keys("schedules_due"), "-inf", self.now(), 0, limit)
        return list(ids)

    def plan(self, schedule: Schedule, fire: Sequence[int], skip: Skip, following: int | None, most_waiting: int) -> bool:
        """Say what becomes of the slots from `next_run_at` until before `following`. :return: False: somebody else has."""
        ends = (skip.slots[0], skip.slots[-1]) if skip.slots else ("", "")
        reply = self.store.run(
            "schedule_plan", schedule.schedule_id, schedule.revision, schedule.next_run_at, "" if following is None else following,
            most_waiting, len(fire), *fire, len(skip.slots), skip.reason, *ends,
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
        idempotency: tuple[str, str] | None = None,
        sender: Sender | None = None,
    ) -> Fired:
        """Make the job of a slot (None: by hand), or skip the slot for this reason.

        :param idempotency: by hand: the tenant's key for this request, and a fingerprint of the request.
        :param sender: by hand: whose rate counts besides the tenant's; its `rates` are filled in.
        """
        flat = {} if job is None else job.to_mapping()
        for name in ("job_id", "status", "created_at", "order", "reason", "fence", "progress", "deadline_at"):
            flat.pop(name, None)
        new = schedule.template
        became, one, two, hints, *rates = self.store.run(
            "schedule_fire", schedule.schedule_id, schedule.revision, "" if slot is None else slot, skip, job.job_id if job else "", nonce,
            self.store.ttl_ms, int(poll_seconds * 1000), *self.store.queue_caps, _ms(new.deadline_seconds), _ms(new.ttl_seconds),
            *(idempotency or ("", "")), *self.store.sent_by(sender), len(flat),
            *(part for pair in flat.items() for part in pair), durably=durably,
        )  # fmt: skip
        self.store.sent(sender, rates[0] if rates else (), hints)
        if became == "fired" and job is not None:
            return Fired(became, job=job.evolve(created_at=int(one), order=int(two)))
        return Fired(became, refusal=one) if became == "refused" else Fired(became, reason=one)


def _ms(seconds: float | None) -> int | str:
    return "" if seconds is None else int(seconds * 1000)
