"""Schedules under chaos: slots that come due while everything is killed, and what became of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Set

import redis

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.schedules.fire import job_id_of
from pipeline_jobs.schedules.schedule import CatchUp
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from tests.chaos.pipeline import CHAOS

SCHEDULES = 12
#: Its own slots are a year apart: the one that counts is set by hand.
YEARLY = "0 0 1 1 *"


class Slots:
    """One slot for each of some schedules, spread over the run."""

    def __init__(self, client: Client) -> None:
        self._scheduler = Scheduler(client)
        #: Schedule -> its slot, in ms.
        self.laid: dict[str, int] = {}

    def lay(self, seconds: float) -> None:
        """Let the first be due now and the last after so many seconds."""
        store = self._scheduler.kept.store
        now = self._scheduler.kept.now()
        for n in range(SCHEDULES):
            job = NewJob(pipeline=CHAOS.name, params={"token": f"slot{n}"}, tenant_id="by-the-clock")
            made = self._scheduler.create(NewSchedule(YEARLY, job, catch_up=CatchUp.ALL)).schedule
            slot = now + int(seconds * 1000 * n / SCHEDULES)
            store.client.hset(store.keys("schedule", made.schedule_id), "next_run_at", slot)
            store.client.zadd(store.keys("schedules_due"), {made.schedule_id: slot})
            self.laid[made.schedule_id] = slot

    def settled(self) -> bool:
        """Of each slot it is known what became of it."""
        try:
            found = [self._scheduler.get(schedule_id) for schedule_id in self.laid]
        except (StoreUnavailable, redis.RedisError):
            return False
        return all(one.fired + one.skipped for one in found)

    def wrong(self, records: Mapping[str, Mapping[str, str]], purged: Set[str]) -> list[str]:
        """Slots that were lost, or made more than one job, or another than theirs."""
        found = []
        made: Counter[str] = Counter()
        for flat in records.values():
            made.update(json.loads(flat.get("tags", "[]")))
        for schedule_id, slot in self.laid.items():
            outcomes = self._scheduler.log(schedule_id, 50)
            if sum(one.count for one in outcomes) != 1:
                found.append(f"{schedule_id}: {[one.outcome for one in outcomes]} for one slot")
            jobs = {one.job_id for one in outcomes if one.job_id}
            if jobs - {job_id_of(schedule_id, slot)}:
                found.append(f"{schedule_id}: made {jobs}")
            if made[f"schedule:{schedule_id}"] != len(jobs - purged):
                found.append(f"{schedule_id}: {made[f'schedule:{schedule_id}']} jobs there for {jobs}")
        return found
