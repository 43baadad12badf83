"""A job that an operator cancels by Celery's own commands is in the audit log."""

from __future__ import annotations

import pytest

from pipeline_jobs.access import audit
from pipeline_jobs.job import NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.task_events import TaskEvents


@pytest.mark.parametrize("command", ["revoke", "terminate"])
def test_a_cancel_by_an_operator_is_written_down_once(cell: Settings, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/opt/bin/celery", "-A", "celery_app", "flower"])
    app = create_celery(cell)
    client = app.cell.client
    job = client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    for _ in range(2):
        if command == "revoke":
            app.control.revoke([job.job_id, "job_1_00000000", "a-task-of-celery"])
        else:
            app.control.terminate([job.job_id])
    assert client.get(job.job_id).status is JobStatus.CANCELLED
    (row,) = audit.page(client.store).items
    assert (row.action, row.target, row.actor.partition(":")[0]) == ("job.cancelled", job.job_id, "flower")
    assert client.store.client.xlen(client.store.keys("tenant_audit", "work", "acme")) == 1
    app.close()


def test_only_a_job_that_is_cancelled_is_told_as_revoked(cell: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_celery(cell)
    client = app.cell.client
    said: list[str] = []
    monkeypatch.setattr(TaskEvents, "__call__", lambda events, moved: said.append(moved.job_id))
    client.store.announce("w", 1, [])
    done = client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    client.store.claim(done.job_id, done.fence, worker="w", run="r")
    assert client.store.finish(done.job_id, done.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
    client.store.announce("w", 1, [], leaving=True)
    waiting = client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    assert app.AsyncResult(done.job_id).revoke().status is JobStatus.COMPLETED
    assert app.AsyncResult(waiting.job_id).revoke().status is JobStatus.CANCELLED
    assert said == [waiting.job_id]
    app.close()
