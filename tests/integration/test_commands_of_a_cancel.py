"""What the end of a queued job costs, in the server's commands, and that it leaves every place in which such a job can wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline_jobs.access import audit
from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import Whose
from tests.commands import commands_of
from tests.integration.conftest import Cell
from tests.integration.recount import differences

FAR = 2_900_000_000_000
#: Where a job waits, besides its lane.
PLACES = ("ready_since", "delayed", "hints", "waits", "lost", "deadlines")


def cancel(cell: Cell, job_id: str) -> None:
    """As DELETE does."""
    assert cell.store.cancel(job_id, Whose("acme"), actor="key:1", whole=False).status is JobStatus.CANCELLED


def test_a_cancel_of_a_job_that_waits_in_its_lane(jobs: Cell) -> None:
    *before, second, _ = (jobs.submit(tenant_id="acme") for _ in range(18))
    for job in before:
        cancel(jobs, job.job_id)
    of = commands_of(jobs.store.client, lambda: cancel(jobs, second.job_id))
    assert (of.pop("fcall", 0), of.pop("evalsha", 0)) in ((1, 0), (0, 1))
    # Its record is read once and not sent, no answer is kept, the row of the audit log is four commands and a look at its length, and
    # nobody asks for a slot that is not free.
    assert (of["hgetall"], of["get"], of["set"], of["mget"], of["mset"], of["xlen"], of["zcard"]) == (1, 0, 0, 1, 1, 1, 0), of
    assert (of["hmget"], of["expire"]) == (2, 0), of
    assert of.total() <= 29, of


def test_the_feed_of_a_tenant_is_there_for_a_week_after_its_last_end(jobs: Cell) -> None:
    waiting = [jobs.submit(tenant_id="acme") for _ in range(32)]
    for ended, job in enumerate(waiting, 1):
        jobs.store.client.persist(jobs.store.keys("feed", "acme"))
        cancel(jobs, job.job_id)
        # Of a day's later ends the last one that renews it is less than a day before.
        days = jobs.store.client.ttl(jobs.store.keys("feed", "acme")) / 86_400
        assert 7.9 < days <= 8 if ended <= 16 or ended == 32 else days < 0, ended


def test_a_cancel_that_asks_for_the_record_reads_it_once_more(jobs: Cell) -> None:
    first, second = (jobs.submit(tenant_id="acme") for _ in range(2))
    cancel(jobs, first.job_id)
    of = commands_of(jobs.store.client, lambda: jobs.store.cancel(second.job_id, actor="key:1"))
    assert of["hgetall"] == 2, of


def in_lane(cell: Cell) -> Job:
    return cell.submit(tenant_id="acme", start_within_seconds=60.0, deadline_seconds=60.0)


def scheduled(cell: Cell) -> Job:
    return cell.submit(tenant_id="acme", run_at=FAR, start_within_seconds=60.0)


def dispatched(cell: Cell) -> Job:
    cell.slots(1)
    return cell.submit(tenant_id="acme")


def crashed(cell: Cell) -> Job:
    cell.slots(1)
    run = cell.start(cell.submit(tenant_id="acme").job_id)
    cell.let_worker_die()
    cell.store.rescue()
    return cell.client.get(run.job_id)


def dependent(cell: Cell) -> Job:
    return cell.submit(tenant_id="acme", depends_on=(cell.submit(tenant_id="acme", run_at=FAR).job_id,))


@pytest.mark.parametrize("made", [in_lane, scheduled, dispatched, crashed, dependent])
def test_a_job_that_is_cancelled_is_nowhere_any_more(jobs: Cell, made: Callable[[Cell], Job]) -> None:
    job = made(jobs)
    assert job.status is JobStatus.QUEUED
    cancel(jobs, job.job_id)
    for place in PLACES:
        assert not any(job.job_id in member for member in jobs.store.members(place)), place
    found = jobs.store.record("job", job.job_id)
    assert found.keys().isdisjoint({"reason", "celery", "charged", "class", "apart_ms"}), found
    assert differences(jobs.store) == []


def test_the_slot_of_a_dispatched_job_that_is_cancelled_is_the_next_ones(jobs: Cell) -> None:
    jobs.slots(1)
    first, second = (jobs.submit(tenant_id="acme") for _ in range(2))
    assert [jobs.client.get(one.job_id).reason for one in (first, second)] == ["dispatched", "fair_share"]
    cancel(jobs, first.job_id)
    assert jobs.client.get(second.job_id).reason == "dispatched"


def test_a_job_that_waited_for_one_that_is_cancelled_has_the_free_slot(jobs: Cell) -> None:
    first = jobs.submit(tenant_id="acme", run_at=FAR)
    waits = jobs.submit(tenant_id="acme", depends_on=(first.job_id,), on_dependency_failure="run")
    jobs.slots(1)
    cancel(jobs, first.job_id)
    assert jobs.client.get(waits.job_id).reason == "dispatched"


def test_the_index_of_the_audit_log_has_the_time_of_each_streams_oldest_row(jobs: Cell) -> None:
    row: dict[str, Any] = {"kind": "work", "tenant": "acme", "actor": "key:1", "action": "job.cancelled", "detail": "{}"}
    first = jobs.store.run("audit", **row, target="0")
    assert jobs.store.members_from(0, "audit_streams") == {"work:acme": int(first.partition("-")[0])}
    jobs.store.run_each("audit", [{**row, "target": f"{number}"} for number in range(1, 2150)])
    oldest = jobs.store.client.xrange(jobs.store.keys("tenant_audit", "work", "acme"), count=1)[0][0]
    assert oldest != first
    assert jobs.store.members_from(0, "audit_streams") == {"work:acme": int(oldest.partition("-")[0])}
    assert [one.target for one in audit.page_of(jobs.store, "acme", limit=1).items] == ["2149"]
