"""Groups, chords, chains and retries on our backend as on Celery's stock one, of plain tasks and with jobs among them.

A worker of `celery.contrib.testing` in a thread of this process, on a real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError

from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantContext, current_tenant, with_tenant
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.result import JobFailed
from tests.celery_apps import REAL_WORKERS, celery_app
from tests.integration.recount import differences
from tests.waiting import until


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    with celery_app(cell.model_copy(update=REAL_WORKERS)) as app:
        add_tasks(app)
        yield app


@pytest.fixture
def worker(app: JobsCelery) -> Iterator[Any]:
    with start_worker(
        app, pool="threads", concurrency=4, queues=["jobs", "stages"], perform_ping_check=False, shutdown_timeout=60
    ) as started:
        yield started


def add_tasks(app: JobsCelery) -> None:
    @app.task(name="t.add", shared=False)
    def add(x: int, y: int = 1) -> int:
        return x + y

    @app.task(name="t.total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="t.fail", shared=False)
    def fail(*_: Any) -> None:
        raise ValueError("on purpose")

    @app.task(name="t.retry", bind=True, shared=False, max_retries=3)
    def retry(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    @app.task(name="t.custom_state", bind=True, shared=False)
    def custom_state(self: Any) -> str:
        self.update_state(state="PROGRESS", meta={"done": 3})
        return str(self.AsyncResult(self.request.id).state)

    @app.task(name="t.echo", shared=False)
    def echo(result: Any) -> Any:
        return result["data"]["echo"]

    @app.task(name="t.failed", shared=False)
    def failed(job_id: str) -> str:
        return job_id

    @app.task(name="t.echoes", shared=False)
    def echoes(results: list[Any]) -> list[Any]:
        return sorted(result["data"]["echo"] for result in results)

    @app.task(name="t.whose", shared=False)
    def whose() -> list[str]:
        tenant = current_tenant()
        return [tenant.tenant_id, tenant.workspace_id] if tenant else []


@pytest.mark.usefixtures("worker")
class TestPlainTasks:
    def test_a_result_and_its_forgetting(self, app: JobsCelery) -> None:
        result = app.tasks["t.add"].delay(1, 2)
        assert (result.get(timeout=60), result.state) == (3, "SUCCESS")
        result.forget()
        assert app.AsyncResult(result.id).state == "PENDING"

    def test_a_chain(self, app: JobsCelery) -> None:
        add = app.tasks["t.add"]
        assert chain(add.s(1, 1), add.s(10), add.s(100)).apply_async().get(timeout=60) == 112

    def test_a_group(self, app: JobsCelery) -> None:
        add = app.tasks["t.add"]
        result = group(add.s(i, i) for i in range(10)).apply_async()
        assert result.get(timeout=60) == [2 * i for i in range(10)]
        result.save()
        assert app.GroupResult.restore(result.id).get(timeout=60) == [2 * i for i in range(10)]

    def test_a_chord_and_one_whose_header_fails(self, app: JobsCelery) -> None:
        add, total, fail = app.tasks["t.add"], app.tasks["t.total"], app.tasks["t.fail"]
        assert chord((add.s(i, i) for i in range(10)), total.s())().get(timeout=60) == 90
        # Celery raises the member's own error or the ChordError, whichever it sees first.
        with pytest.raises((ChordError, ValueError), match="on purpose"):
            chord([add.s(1, 1), fail.s()], total.s())().get(timeout=60)

    def test_a_retry_and_a_failure(self, app: JobsCelery) -> None:
        assert app.tasks["t.retry"].delay().get(timeout=60) == 2
        result = app.tasks["t.fail"].delay()
        with pytest.raises(ValueError, match="on purpose"):
            result.get(timeout=60)
        assert result.state == "FAILURE"
        assert "ValueError" in result.traceback

    def test_a_state_of_its_own(self, app: JobsCelery) -> None:
        assert app.tasks["t.custom_state"].delay().get(timeout=60) == "PROGRESS"

    def test_plain_tasks_leave_no_job_behind(self, app: JobsCelery) -> None:
        app.tasks["t.add"].delay(1, 2).get(timeout=60)
        assert app.cell.client.list(JobQuery()).items == ()

    def test_the_tenant_travels_in_the_headers_and_ends_with_the_task(self, app: JobsCelery) -> None:
        whose = app.tasks["t.whose"]
        with with_tenant(TenantContext("acme", "blog")):
            assert whose.delay().get(timeout=60) == ["acme", "blog"]
        assert whose.delay().get(timeout=60) == []


@pytest.mark.usefixtures("worker")
class TestJobsInACanvas:
    def job(self, app: JobsCelery, **fields: Any) -> Any:
        return app.tasks["pipeline_jobs.run_job"].si(pipeline="sleep", **fields)

    def test_a_job_then_a_task(self, app: JobsCelery) -> None:
        result = chain(self.job(app, params={"echo": "hi"}), app.tasks["t.echo"].s()).apply_async()
        assert result.get(timeout=60) == "hi"
        assert result.parent.record().status is JobStatus.COMPLETED

    def test_a_task_then_a_job(self, app: JobsCelery) -> None:
        result = chain(app.tasks["t.add"].si(1, 1), self.job(app, params={"echo": 5})).apply_async()
        assert result.get(timeout=60)["data"]["echo"] == 5

    def test_a_group_of_jobs(self, app: JobsCelery) -> None:
        result = group(self.job(app, params={"echo": n}) for n in range(3)).apply_async()
        assert [one["data"]["echo"] for one in result.get(timeout=60)] == [0, 1, 2]

    def test_a_chord_of_jobs(self, app: JobsCelery) -> None:
        result = chord([self.job(app, params={"echo": n}) for n in range(3)], app.tasks["t.echoes"].s())()
        assert result.get(timeout=60) == [0, 1, 2]

    def test_a_chord_whose_job_fails(self, app: JobsCelery) -> None:
        result = chord([self.job(app), self.job(app, params={"fail": "no luck"})], app.tasks["t.echoes"].s())()
        with pytest.raises((ChordError, JobFailed), match="no luck"):
            result.get(timeout=60)

    def test_a_link_and_an_errback(self, app: JobsCelery) -> None:
        linked = app.tasks["t.echo"].s().set(task_id="linked")
        self.job(app, params={"echo": "x"}).apply_async(link=linked)
        assert app.AsyncResult("linked").get(timeout=60) == "x"
        failed = self.job(app, params={"fail": "no luck"}).apply_async(link_error=app.tasks["t.failed"].s().set(task_id="errback"))
        with pytest.raises(JobFailed, match="no luck"):
            failed.get(timeout=60)
        assert app.AsyncResult("errback").get(timeout=60) == failed.id

    def test_update_state_writes_the_jobs_progress(self, app: JobsCelery) -> None:
        job = self.job(app, params={"seconds": 600}).apply_async()
        until(lambda: job.record().status is JobStatus.RUNNING, "running")
        request = type("Request", (), {"task": "pipeline_jobs.run_job", "fence": job.record().fence})()
        app.backend.store_result(job.id, {"current": 97, "total": 100, "message": "nearly"}, "PROGRESS", request=request)
        assert (job.state, job.info["progress"], job.info["message"]) == ("PROGRESS", 97.0, "nearly")
        app.backend.store_result(job.id, {"progress": 99}, "PROGRESS", request=None)
        assert job.record().progress == 97.0
        job.revoke()
        assert job.until_ended(60).status is JobStatus.CANCELLED

    def test_what_celery_says_of_an_ended_job_changes_nothing(self, app: JobsCelery) -> None:
        job = self.job(app, params={"echo": 1}).apply_async()
        job.get(timeout=60)
        before = job.record()
        request = type("Request", (), {"task": "pipeline_jobs.run_job", "fence": before.fence, "chord": None, "errbacks": None})()
        app.backend.mark_as_failure(job.id, ValueError("late"), request=request)
        app.backend.mark_as_revoked(job.id, "late", request=request)
        app.backend.store_result(job.id, {"progress": 1}, "PROGRESS", request=request)
        assert job.record() == before
        assert differences(app.cell.store) == []

    def test_a_revoke_of_an_unknown_job_makes_no_ghost(self, app: JobsCelery) -> None:
        app.backend.mark_as_revoked("job_1_00000000", "revoked")
        assert app.AsyncResult("job_1_00000000").state == "PENDING"
        assert not app.cell.store.client.keys("*job_1_00000000*")
