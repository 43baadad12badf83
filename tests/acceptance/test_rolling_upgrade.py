"""Two versions side by side, as in the middle of a deploy: the old one leaves alone what is newer, both run what both know."""

from __future__ import annotations

from collections.abc import Callable

from pipeline_jobs.job import SCHEMA, Job, NewJob
from pipeline_jobs.states import JobStatus
from tests.integration.recount import differences
from tests.stack import Stack
from tests.waiting import until

#: The module that makes a process the next version; named, not imported: this process is of this version.
NEWER = "tests.acceptance.newer"


def submit_newer(stack: Stack) -> Job:
    """A job as an API of the next version writes it."""
    job = stack.client.prepare(NewJob(pipeline="sleep"))
    return stack.client.store.submit(job.evolve(schema=SCHEMA + 1)).job


def test_only_the_new_version_runs_a_newer_record_and_both_run_the_others(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(max_concurrent_jobs=8, hint_seconds=1.0)
    stack.maintenance()
    stack.worker("old", "--autoscale=4,4")
    newer = [submit_newer(stack) for _ in range(3)]
    assert stack.client.get(newer[0].job_id).schema == SCHEMA + 1
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)
    until(lambda: all(stack.client.get(job.job_id).fence > 1 for job in newer), "the old version to refuse each of them")
    for job in newer:
        waiting = stack.client.get(job.job_id)
        assert (waiting.status, waiting.attempt, waiting.crashes, waiting.worker) == (JobStatus.QUEUED, 0, 0, None)

    stack.worker("new", "--autoscale=4,4", PIPELINE_MODULES=f"{stack.settings.modules},{NEWER}")
    for job in newer:
        ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
        assert (ended.worker or "").split("/")[0] == "new@test"
        assert (ended.attempt, ended.crashes) == (1, 0)
    # As many as both have slots together.
    common = [stack.hold().job_id for _ in range(8)]
    until(lambda: stack.running() == 8, "all slots of both to be busy")
    stack.tell(*common)
    ran_on = {(stack.until_status(job_id, JobStatus.COMPLETED).worker or "").split("/")[0] for job_id in common}
    assert ran_on == {"old@test", "new@test"}
    assert differences(stack.client.store) == []
