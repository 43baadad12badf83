"""A job that an operator cancels by Celery's own commands is in the audit log."""

from __future__ import annotations

import pytest

from pipeline_jobs import audit
from pipeline_jobs.job import NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.app import create_celery


@pytest.mark.parametrize("command", ["revoke", "terminate"])
def test_a_cancel_by_an_operator_is_written_down_once(cell: Settings, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/opt/bin/celery", "-A", "celery_app", "flower"])
    app = create_celery(cell)
    client = app.jobs.client
    job = client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    for _ in range(2):
        if command == "revoke":
            app.control.revoke([job.job_id, "job_1_00000000", "a-task-of-celery"])
        else:
            app.control.terminate([job.job_id])
    assert client.get(job.job_id).status is JobStatus.CANCELLED
    (row,) = audit.page(client.store)[0]
    assert (row.action, row.target, row.actor.partition(":")[0]) == ("job.cancelled", job.job_id, "flower")
    app.close()
