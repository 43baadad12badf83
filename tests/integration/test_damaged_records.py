"""A job's record that lacks a field, each in turn, in each state: every route has an answer, and nothing else stands still for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.serve import create_api
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell

FAR = 2_900_000_000_000
#: Without it there is no job.
STATUS = "status"
#: By these its lane is found: one that nobody finds is not moved.
HOME = ("tenant_id", "workspace_id", "pipeline")


def in_lane(cell: Cell) -> Job:
    return cell.submit(tenant_id="acme", tags=("t",), deadline_seconds=600.0)


def scheduled(cell: Cell) -> Job:
    return cell.submit(tenant_id="acme", run_at=FAR)


def dispatched(cell: Cell) -> Job:
    cell.slots(1)
    return cell.submit(tenant_id="acme")


def running(cell: Cell) -> Job:
    return cell.running(tenant_id="acme")


def cancelled(cell: Cell) -> Job:
    return cell.client.cancel(in_lane(cell).job_id)


def completed(cell: Cell) -> Job:
    run = running(cell)
    assert cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={"success": True, "data": {}})
    return cell.client.get(run.job_id)


STATES = [in_lane, scheduled, dispatched, running, cancelled, completed]
#: What is asked of one job before it is ended: method, what follows its address, body.
QUESTIONS = [
    ("GET", "", None), ("GET", "/events", None), ("GET", "/logs", None), ("GET", "/artifacts", None), ("POST", "/retry", {}),
    ("POST", "/signals/go", {}), ("PATCH", "", {"priority": 3}),
]  # fmt: skip
Make = Callable[[Cell], Job]
#: Gives the status of an answer, and the code of a problem.
Send = Callable[..., tuple[int, str]]


@pytest.fixture
def send(jobs: Cell) -> Send:
    """Sends a request with a key for all tenants, or for one."""
    http = create_api(jobs.settings).test_client()
    keys = {tenant: KeyStore(jobs.store).create(tenant, Role.ADMIN, actor="test")[1] for tenant in (ALL, "acme")}

    def sent(method: str, path: str, body: object = None, *, tenant: str = ALL) -> tuple[int, str]:
        answer = http.open(path, method=method, json=body, headers={"Authorization": f"Bearer {keys[tenant]}"})
        return answer.status_code, (answer.get_json(silent=True) or {}).get("code", "")

    return sent


def damaged(cell: Cell, make: Make) -> Iterator[tuple[str, Job]]:
    """A job without its first field, one without its second, and so on: the field, and the job before."""
    cell.store.set_max_concurrent_jobs(1000)
    for field in sorted(cell.store.record("job", make(cell).job_id)):
        job = make(cell)
        cell.store.client.hdel(cell.store.keys("job", job.job_id), field)
        yield field, job


def is_told(answer: tuple[int, str]) -> bool:
    return answer[0] < 500 or answer == (500, "damaged_record")


@pytest.mark.parametrize("make", STATES)
def test_every_route_has_an_answer_and_delete_removes_it(jobs: Cell, send: Send, make: Make) -> None:
    for field, job in damaged(jobs, make):
        path = f"/pipeline/jobs/{job.job_id}"
        for method, more, body in QUESTIONS:
            answer = send(method, path + more, body)
            assert is_told(answer), (field, method, more, answer)
        assert field not in HOME or "priority" not in jobs.store.record("job", job.job_id), field
        if field == "tenant_id":
            assert {send(method, path, tenant="acme") for method in ("GET", "DELETE")} == {(404, "unknown_job")}
        assert is_told(send("POST", f"{path}/cancel")), field
        # As the worker of a run does that is asked to stop.
        jobs.store.finish(job.job_id, job.fence, JobStatus.CANCELLED)
        while (answer := send("DELETE", path))[0] != 404:
            assert answer[0] == 200, (field, answer)
        assert field == STATUS or not jobs.store.exists("job", job.job_id), field


@pytest.mark.parametrize("make", STATES)
def test_no_duty_and_no_other_job_stands_still_for_it(jobs: Cell, send: Send, make: Make) -> None:
    store = jobs.store
    for field, job in damaged(jobs, make):
        beside = make(jobs)
        # While it has its slot, and when it has none.
        store.recount()
        store.reconcile()
        jobs.let_leases_end()
        store.client.zadd(store.keys("deadlines"), {job.job_id: 1}, xx=True)
        while store.rescue():
            pass
        store.settle()
        store.recount()
        store.reconcile()
        jobs.slots(100)
        assert send("POST", "/pipeline/jobs/cancel", {"tenant_id": "acme"})[0] == 200, field
        assert send("GET", "/pipeline/jobs?tenant_id=acme")[0] == 200, field
        assert jobs.client.get(beside.job_id).ended, field
        for one in store.client.zrange(store.keys("ended"), 0, -1):
            store.client.zadd(store.keys("ended"), {one: 1})
        store.purge()
        assert not store.exists("job", beside.job_id), field


def test_a_batch_is_cancelled_whose_job_has_a_damaged_record(jobs: Cell, send: Send) -> None:
    def in_batch(cell: Cell) -> Job:
        made = Batches(cell.client).create(NewBatch((NewJob(pipeline="sleep"),) * 2, "acme")).batch
        return cell.client.get(cell.store.members("batch_jobs", made.batch_id)[0])

    for field, job in damaged(jobs, in_batch):
        assert job.batch_id
        answer = send("POST", f"/pipeline/batches/{job.batch_id}/cancel")
        assert answer[0] == 200, (field, answer)
        ends = [jobs.store.record("job", one)["status"] for one in jobs.store.members("batch_jobs", job.batch_id) if one != job.job_id]
        assert ends == ["cancelled"], field
