"""What calls were answered is kept for minutes, for those that are sent again. A tenant that changes its jobs without an end fills its own
places, and nobody else's; a call that does nothing leaves nothing.
"""

from __future__ import annotations

from typing import Any

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.bulk import cancel_matching
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import ANYBODYS
from tests.integration.conftest import Cell

#: Calls that fall on one place, and one of another tenant's that would, too.
MANY, ANOTHERS = [number * 10_000 + 7 for number in range(1, 51)], 990_007


def kept(jobs: Cell) -> list[str]:
    return sorted(jobs.store.client.scan_iter(jobs.store.keys("said", "*")))


def change(jobs: Cell, job: Job, call: int, priority: int = 5) -> Any:
    whose = ANYBODYS
    return jobs.store.run(
        "change", id=job.job_id, call=call, tenant=whose.tenant_id, workspace=whose.workspace_id, priority=priority, start=None
    ).became


def cancel(jobs: Cell, job: Job, call: int) -> Any:
    whose = ANYBODYS
    return jobs.store.run(
        "cancel_job", id=job.job_id, call=call, tenant=whose.tenant_id, workspace=whose.workspace_id, actor=None, whole=False
    ).was


def test_a_greedy_neighbour_fills_its_own_places_and_takes_nobody_elses(jobs: Cell) -> None:
    greedy, modest = (jobs.submit(tenant_id=tenant) for tenant in ("greedy", "modest"))
    changed = change(jobs, modest, ANOTHERS, 9)
    for call in MANY:
        assert change(jobs, greedy, call, call % 7) == "ok"
    places = kept(jobs)
    jobs.slots(2)
    for job in (greedy, modest):
        jobs.start(job.job_id)
    for call in MANY:
        assert cancel(jobs, greedy, call) == "running"
    assert kept(jobs) == places
    assert len(places) == 2
    # Its reply was lost, and the job has started since.
    assert (changed, change(jobs, modest, ANOTHERS, 9)) == ("ok", "ok")
    # The same of the greedy one's last call; the others' places were taken, by itself.
    jobs.store.finish(greedy.job_id, jobs.store.get(greedy.job_id).fence, JobStatus.CANCELLED)
    assert [cancel(jobs, greedy, call) for call in MANY[-2:]] == ["cancelled", "running"]


def test_a_call_that_does_nothing_leaves_nothing(jobs: Cell) -> None:
    waiting = jobs.submit(tenant_id="greedy")
    for number in range(50):
        assert jobs.store.run("delete", id=f"none{number}", order=None) == "unknown"
        assert jobs.store.run("delete", id=waiting.job_id, order=None) == "live"
        assert cancel_matching(jobs.store, JobQuery(tenant_id="greedy"), dry_run=True).matched == 1
        assert cancel_matching(jobs.store, JobQuery(tenant_id="greedy", tag="none"), dry_run=False).matched == 0
    assert kept(jobs) == []
