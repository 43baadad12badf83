"""A record that cannot be shown breaks no list: dates at the edges of what can be written, and records damaged field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import MAX_MOMENT, NewJob, rfc3339
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused, Store
from pipeline_jobs.worker.app import create_celery
from tests.integration.conftest import Cell

#: What a field of a damaged record holds, each in a record of its own. None: it is missing.
DAMAGED = (None, "", "x", "[[1]]", "[1", "-1", str(10**30), "253402300800000", "[" * 5000)

# fmt: off
RUN_ATS = st.builds(
    "{}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.sampled_from(("0001", "1969", "1970", "2025", "9998", "9999")), st.sampled_from((1, 12)), st.sampled_from((1, 31)),
    st.sampled_from((0, 23)), st.sampled_from((0, 59)), st.sampled_from((0, 59)),
    st.sampled_from(("", ".0", ".999", ".9999999", ".999999999")),
    st.sampled_from(("Z", "+00:00", "-00:01", "+00:01", "+23:59", "-23:59", "+12:00")),
)
# fmt: on


class Api:
    """The API over a real store, asked with a key of an admin."""

    def __init__(self, settings: Settings) -> None:
        self.jobs = create_celery(settings).cell
        self.store: Store = self.jobs.client.store
        _, text = KeyStore(self.store).create(ALL, Role.ADMIN, actor="test")
        self._headers = {"Authorization": f"Bearer {text}"}
        self._http: FlaskClient = create_api(settings).test_client()

    def get(self, path: str) -> TestResponse:
        return self._http.get(path, headers=self._headers)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        response = self._http.open(path, method=method, json=body, headers={**self._headers, **headers})
        assert response.status_code < 300, response.text
        return dict(response.get_json() or {})

    def post(self, path: str, body: Any) -> TestResponse:
        return self._http.post(path, json=body, headers=self._headers)

    def patch(self, path: str, body: Any) -> TestResponse:
        return self._http.patch(path, json=body, headers=self._headers)


@pytest.fixture
def api(cell: Settings) -> Iterator[Api]:
    made = Api(cell)
    yield made
    made.store.close()


def test_a_date_at_the_edge_is_refused_or_kept_and_the_list_is_shown(api: Api) -> None:
    waiting = api.send("POST", "/pipeline/jobs", {"pipeline": "sleep", "run_at": "2999-01-01T00:00:00Z"})["job_id"]

    @given(RUN_ATS)
    @profile(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def ask(run_at: str) -> None:
        made = api.post("/pipeline/jobs", {"pipeline": "sleep", "run_at": run_at})
        changed = api.patch(f"/pipeline/jobs/{waiting}", {"run_at": run_at})
        key = api.post("/pipeline/tenants/acme/keys", {"role": "read", "expires_at": run_at})
        assert made.status_code in (201, 422), (run_at, made.text)
        assert changed.status_code in (200, 422), (run_at, changed.text)
        assert (made.status_code == 422) == (changed.status_code == 422)
        assert key.status_code in (201, 422), (run_at, key.text)
        if made.status_code == 201:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made.get_json()["run_at"])
        for path in ("/pipeline/jobs", "/pipeline/tenants/acme/keys", f"/pipeline/jobs?created_after={run_at.replace('+', '%2B')}"):
            assert api.get(path).status_code in ((200, 422) if "?" in path else (200,)), (run_at, path)
        events = api.get(f"/pipeline/jobs/{waiting}/events")
        assert events.status_code == 200, events.text

    ask()


def test_code_is_held_to_the_same_dates(jobs: Cell) -> None:
    waiting = jobs.submit(run_at=MAX_MOMENT)
    for run_at in (-1, MAX_MOMENT + 1, 10**18):
        with pytest.raises(InvalidInput) as refused:
            jobs.submit(run_at=run_at)
        assert refused.value.field == "run_at"
        with pytest.raises(InvalidInput):
            jobs.client.change(waiting.job_id, run_at=run_at)
    assert jobs.client.get(waiting.job_id).run_at == MAX_MOMENT


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (MAX_MOMENT, "9999-12-31T23:59:59.999Z"),
        (MAX_MOMENT + 1, "9999-12-31T23:59:59.999Z"),
        (10**30, "9999-12-31T23:59:59.999Z"),
        (-(10**30), "0001-01-01T00:00:00.000Z"),
        (250_000_000_000_123, "9892-03-08T12:26:40.123Z"),
    ],
)
def test_any_moment_can_be_written(milliseconds: int, text: str) -> None:
    assert rfc3339(milliseconds) == text


def _job(api: Api) -> str:
    made = api.jobs.client.submit(NewJob(pipeline="sleep", tenant_id="acme", tags=("t",), metadata={"a": 1}, run_at=10**12))
    return made.job_id


def _ended(api: Api) -> str:
    job_id = _job(api)
    api.jobs.client.cancel(job_id)
    return job_id


def _failed(api: Api) -> str:
    client = api.jobs.client
    client.store.announce("w", 10, [])
    job = client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    claimed = client.store.claim(job.job_id, client.get(job.job_id).fence, worker="w", run="r")
    assert not isinstance(claimed, ClaimRefused)
    client.store.finish(job.job_id, claimed.fence, JobStatus.FAILED, error="x", error_detail={"code": "x", "message": "x"})
    return job.job_id


def _batch(api: Api) -> str:
    return str(api.send("POST", "/pipeline/batches", {"tenant_id": "acme", "jobs": [{"pipeline": "sleep"}]})["batch_id"])


def _upload(api: Api) -> str:
    return api.jobs.uploads.create("acme", "main", 1).upload_id


def _schedule(api: Api) -> str:
    body = {"cron": "0 * * * *", "tenant_id": "acme", "job": {"pipeline": "sleep"}}
    return str(api.send("POST", "/pipeline/schedules", body)["schedule_id"])


def _key(api: Api) -> str:
    return str(api.send("POST", "/pipeline/tenants/acme/keys", {"role": "read"})["key_id"])


def _endpoint(api: Api) -> str:
    return str(api.send("POST", "/pipeline/webhook-endpoints", {"tenant_id": "acme", "url": "https://hooks.example/x"})["endpoint_id"])


def _delivery(api: Api) -> str:
    endpoint = api.get("/pipeline/webhook-endpoints?tenant_id=acme").get_json()["endpoints"]
    endpoint_id = endpoint[0]["endpoint_id"] if endpoint else _endpoint(api)
    return str(api.send("POST", f"/pipeline/webhook-endpoints/{endpoint_id}/test")["delivery_id"])


#: What is listed -> where, the key of its record, how one is made, and the name of its id.
LISTS: dict[str, tuple[str, str, Callable[[Api], str], str]] = {
    "jobs": ("/pipeline/jobs?tenant_id=acme", "job", _job, "job_id"),
    "failed jobs": ("/pipeline/jobs?status=failed", "job", _failed, "job_id"),
    "ended jobs": ("/pipeline/jobs?status=cancelled", "job", _ended, "job_id"),
    "batches": ("/pipeline/batches?tenant_id=acme", "batch", _batch, "batch_id"),
    "uploads": ("/pipeline/uploads?tenant_id=acme", "upload", _upload, "upload_id"),
    "schedules": ("/pipeline/schedules?tenant_id=acme", "schedule", _schedule, "schedule_id"),
    "keys": ("/pipeline/tenants/acme/keys", "api_key", _key, "key_id"),
    "endpoints": ("/pipeline/webhook-endpoints?tenant_id=acme", "endpoint", _endpoint, "endpoint_id"),
    "deliveries": ("/pipeline/deliveries?tenant_id=acme", "delivery", _delivery, "delivery_id"),
}


def _all(api: Api, path: str, name: str, id_name: str) -> list[str]:
    """The ids of a list, by pages of one."""
    seen: list[str] = []
    cursor = ""
    while True:
        paged = path if name == "keys" else f"{path}&limit=1{cursor}"
        page = api.get(paged)
        assert page.status_code == 200, page.text
        body = page.get_json()
        assert body["count"] == len(body[name])
        seen += [one[id_name] for one in body[name]]
        if not body.get("next_cursor"):
            return seen
        cursor = f"&cursor={body['next_cursor']}"


@pytest.mark.parametrize("what", LISTS)
def test_a_damaged_record_is_left_out_and_the_others_are_shown(api: Api, what: str) -> None:
    path, key_name, make, id_name = LISTS[what]
    name = what.split()[-1]
    first, *damaged, last = (make(api) for _ in range(len(DAMAGED) + 2))
    prefix = api.store.keys.prefix
    keys = [f"{prefix}api_key:{one}" if key_name == "api_key" else api.store.keys(key_name, one) for one in damaged]
    # Keys of one millisecond are in no order.
    ordered: Callable[[list[str]], list[str]] = sorted if name == "keys" else list
    assert ordered(_all(api, path, name, id_name)) == ordered([last, *damaged[::-1], first])
    for field in _damaged_by_field(api.store, keys):
        seen = [one for one in _all(api, path, name, id_name) if one in (first, last)]
        assert ordered(seen) == ordered([last, first]), field
        page = api.get(path)
        assert page.status_code == 200, (field, page.text)


def _damaged_by_field(store: Store, keys: Sequence[str]) -> Iterator[str]:
    """One field after the other: it is damaged in each record in another way, and whole again afterwards."""
    wholes = [store.client.hgetall(key) for key in keys]
    assert wholes[0]
    for field in wholes[0]:
        for key, value in zip(keys, DAMAGED, strict=True):
            store.client.hdel(key, field) if value is None else store.client.hset(key, field, value)
        yield field
        for key, whole in zip(keys, wholes, strict=True):
            store.client.hset(key, mapping=whole)


@pytest.mark.parametrize("make", [_job, _ended, _failed])
def test_the_page_for_people_leaves_it_out_too(cell: Settings, make: Callable[[Any], str]) -> None:
    # Without a key: the page is open to this machine.
    jobs = create_celery(cell).cell
    page: FlaskClient = create_api(cell).test_client()
    first, *damaged, last = (make(SimpleNamespace(jobs=jobs)) for _ in range(len(DAMAGED) + 2))
    store = jobs.client.store
    for field in _damaged_by_field(store, [store.keys("job", one) for one in damaged]):
        shown = page.get("/pipeline/ui/jobs")
        assert shown.status_code == 200, field
        assert first in shown.text, field
        assert last in shown.text, field
        assert page.get("/pipeline/ui").status_code == 200, field
    store.close()


def test_a_result_of_many_levels_is_shown(api: Api) -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    api.store.announce("w", 1, [])
    job = api.jobs.client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    claimed = api.store.claim(job.job_id, api.jobs.client.get(job.job_id).fence, worker="w", run="r")
    assert not isinstance(claimed, ClaimRefused)
    assert api.store.finish(job.job_id, claimed.fence, JobStatus.COMPLETED, result={"success": True, "data": {"deep": deep}})
    for path in (f"/pipeline/jobs/{job.job_id}", "/pipeline/jobs"):
        assert api.get(path).status_code == 200


def test_the_record_of_an_ended_job_that_lost_its_order_can_be_deleted(api: Api) -> None:
    job_id = api.send("POST", "/pipeline/jobs", {"pipeline": "media", "url": "https://media.example/a.mp4"})["job_id"]
    assert api.send("DELETE", f"/pipeline/jobs/{job_id}")["status"] == "cancelled"
    api.store.client.hdel(api.store.keys("job", job_id), "order")
    assert api.send("DELETE", f"/pipeline/jobs/{job_id}")["status"] == "deleted"
    assert api.get(f"/pipeline/jobs/{job_id}").status_code == 404
