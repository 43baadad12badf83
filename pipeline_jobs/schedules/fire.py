"""The maintenance task that fires schedules: `run_once() -> counts`, safe with any number of concurrent runners.

First one script says what becomes of the slots that are due (it compares `next_run_at`, so a slot is planned once), then one script for
each slot makes its job (it takes the slot out of those that wait, so it is made once). Whoever dies between the two leaves slots that
wait, and the schedule is due still.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import InvalidInput, StoreUnavailable, TryLater
from pipeline_jobs.jobs.pool_gate import CellUpgrading
from pipeline_jobs.schedules.schedule import CatchUp, Schedule
from pipeline_jobs.schedules.schedule_store import Fired, Skip
from pipeline_jobs.schedules.scheduler import CHUNK, Scheduler, due_slots
from pipeline_jobs.tracing import spans

logger = structlog.get_logger(__name__)

#: Schedules that are looked up at once.
PAGE = 500
#: A run that takes longer leaves the rest to the next one: rescue has to come through.
BUDGET_SECONDS = 2.0
#: Until a slot that waits for the end of a running job is looked at again.
POLL_SECONDS = 1.0
INVALID = "invalid"
MISSED = "missed"


@dataclass(slots=True)
class Fire:
    """Makes the jobs of the slots that are due.

    Admits: a slot is fired with the delay of beat's interval, and while the store takes no jobs (full, away) not at all: the slots stay
    due, and what is too late then is caught up or not as the schedule says.
    """

    scheduler: Scheduler

    def run_once(self) -> dict[str, int]:
        """:return: slots by what became of them: `{"fired": 2, "skipped": 1, "waits": 0}`"""
        counts = {"fired": 0, "skipped": 0, "waits": 0}
        kept, seen = self.scheduler.kept, set[str]()
        until = time.monotonic() + BUDGET_SECONDS
        try:
            while fresh := [schedule_id for schedule_id in kept.due(PAGE) if schedule_id not in seen]:
                self.scheduler.client.guard.check()
                for schedule_id in fresh:
                    seen.add(schedule_id)
                    self._look_at(schedule_id, counts)
                    if time.monotonic() > until:
                        return counts
            self.scheduler.client.store.beat("fire")
        except (TryLater, StoreUnavailable) as error:
            logger.warning("schedules cannot be fired now", seldom=True, error=error.message)
        return counts

    def _look_at(self, schedule_id: str, counts: dict[str, int]) -> None:
        """Fire what is due of a schedule. Its slots wait while its pipeline needs pools of which not all processes know."""
        try:
            self._fire_due(schedule_id, counts)
        except CellUpgrading as error:
            logger.warning("a schedule waits for an upgrade", seldom=True, schedule_id=schedule_id, error=error.message)
        except (TryLater, StoreUnavailable):
            raise
        except Exception as error:
            # It is damaged, or of a later version: those behind it are others'.
            said = f"{type(error).__name__}: {error}"
            logger.error("a schedule cannot be fired, its slots wait", seldom=True, schedule_id=schedule_id, error=said)

    def _fire_due(self, schedule_id: str, counts: dict[str, int]) -> None:
        kept = self.scheduler.kept
        while (schedule := kept.get(schedule_id)) is not None:
            now = kept.now()
            if schedule.next_run_at is not None and schedule.next_run_at <= now:
                counts["skipped"] += self._plan(schedule, now)
                failpoints.reach("fire.midway")
                continue
            for slot in kept.waiting(schedule_id):
                fired = self._fire(schedule, slot)
                if fired.became in counts:
                    counts[fired.became] += 1
                if fired.became in ("waits", "stale"):
                    break
            else:
                return
            if fired.became == "waits":
                return

    def _plan(self, schedule: Schedule, now: int) -> int:
        """:return: how many slots were skipped."""
        settings = self.scheduler.client.settings
        most = settings.schedule_catch_up
        fire: list[int] = []
        try:
            due = due_slots(schedule, now, CHUNK + most + 1)
            if len(due) > CHUNK + most:
                # Those after them are more than are ever caught up.
                skip = due[:CHUNK]
            else:
                fire, skip = choose(due, now, schedule.catch_up, most, int(settings.schedule_grace_seconds * 1000))
            following = schedule.cron.next((skip + fire)[-1])
        except InvalidInput as error:
            logger.error("a schedule can no longer be read", schedule_id=schedule.schedule_id, error=error.message)
            fire, skip, following = [], [schedule.next_run_at or now], None
        reason = MISSED if following is not None else INVALID
        return len(skip) if self.scheduler.kept.plan(schedule, fire, Skip(reason, skip), following, most) else 0

    def _fire(self, schedule: Schedule, slot: int) -> Fired:
        kept, nonce = self.scheduler.kept, f"{schedule.schedule_id}|{slot}"
        draw = 0
        while True:
            try:
                with spans.root("fire"):
                    cell = self.scheduler.client.settings.cell
                    job = self.scheduler.job_of(schedule, job_id_of(schedule.schedule_id, slot, draw, cell))
                self.scheduler.client.check_pools(job.pipeline)
            except InvalidInput as error:
                logger.warning("the job of a schedule is no longer accepted", schedule_id=schedule.schedule_id, error=error.message)
                return kept.fire(schedule, slot, None, nonce, skip=INVALID)
            fired = kept.fire(schedule, slot, job, nonce, poll_seconds=POLL_SECONDS)
            if fired.became != "taken":
                return fired
            # Another job of that second has the same 28 bits.
            draw += 1


def choose(slots: Sequence[int], now: int, catch_up: CatchUp, most: int, grace_ms: int) -> tuple[list[int], list[int]]:
    """Of the slots that are due, in order: those to fire, and those that are missed.

    What is not later than the grace is on time. Of the others `all` fires the newest so that it is `most` in all, `last` the newest one
    unless one is on time, `none` none.
    """
    on_time = sum(now - slot <= grace_ms for slot in slots)
    n = {CatchUp.NONE: on_time, CatchUp.LAST: max(on_time, 1), CatchUp.ALL: max(on_time, most)}[catch_up]
    cut = max(0, len(slots) - n)
    return list(slots[cut:]), list(slots[:cut])


def job_id_of(schedule_id: str, slot: int, draw: int = 0, cell: int = 0) -> str:
    """The id of the job of a slot: whoever fires it comes to the same. :param cell: as of `job.new_job_id`."""
    return f"job_{slot // 1000}_{cell:x}{hashlib.sha256(f'{schedule_id}|{slot}|{draw}'.encode()).hexdigest()[:7]}"
