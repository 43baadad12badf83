"""What cancels a job over HTTP cancels nothing that is no job."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.control import Control

from pipeline_jobs.job import NewJob
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import create_celery

TASK = "6f1d2c1e-0a3b-4c5d-8e9f-0123456789ab"
ROUTES = (
    ("POST", "/pipeline/ui/jobs/{}/cancel"), ("POST", "/pipeline/ui/jobs/{}/retry"), ("POST", "/pipeline/ui/jobs/{}/delete"),
    ("POST", "/pipeline/jobs/{}/cancel"), ("DELETE", "/pipeline/jobs/{}"), ("POST", "/pipeline/jobs/{}/retry"),
)  # fmt: skip


@pytest.fixture
def broadcast(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands that go to all workers."""
    sent: list[str] = []
    monkeypatch.setattr(Control, "broadcast", lambda control, command, *_, **options: sent.append(f"{command} {options}"))
    return sent


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_celery_task_that_is_no_job_is_an_unknown_job(cell: Settings, method: str, path: str, broadcast: list[str]) -> None:
    api = create_api(cell).test_client()
    reply: Any = api.open(path.format(TASK), method=method, headers={"Origin": "http://localhost"})
    assert (reply.status_code, broadcast) == (404, [])


def test_the_page_cancels_a_job(cell: Settings) -> None:
    app = create_celery(cell)
    job = app.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    api = create_api(cell).test_client()
    assert api.post(f"/pipeline/ui/jobs/{job.job_id}/cancel", headers={"Origin": "http://localhost"}).status_code == 303
    assert app.cell.client.get(job.job_id).status == "cancelled"
    app.close()
