"""`/pipeline/jobs`: make, see, list, cancel and remove."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.http import replies
from pipeline_jobs.web.schemas import jobs as bodies
from tests.cases import each

from .checks import problem_of
from .conftest import MakeClient
from .world import NOON, World

URL = "https://youtube.com/watch?v=xtFiJ8AVdW0"


def create(client: FlaskClient, headers: dict[str, str] | None = None, **body: Any) -> TestResponse:
    return client.post("/pipeline/jobs", json={"url": URL, **body}, headers=headers)


def created(client: FlaskClient, **body: Any) -> str:
    response = create(client, **body)
    assert response.status_code == 201, response.text
    job_id: str = response.get_json()["job_id"]
    return job_id


def listed(client: FlaskClient, query: str) -> list[str]:
    return [job["job_id"] for job in client.get(f"/pipeline/jobs?{query}").get_json()["jobs"]]


class TestCreate:
    def test_gives_the_briefs_keys(self, client: FlaskClient) -> None:
        response = create(client, quality="1080p", tenant_id="acme", workspace_id="main")
        assert response.status_code == 201
        body = response.get_json()
        bodies.Job.model_validate(body)
        brief = {
            "status": "queued",
            "url": URL,
            "quality": "1080p",
            "tenant_id": "acme",
            "workspace_id": "main",
            "started_at": None,
            "completed_at": None,
            "result": None,
            "error": None,
            "progress": 0.0,
        }
        assert {key: body[key] for key in brief} == brief
        assert re.fullmatch(r"job_\d+_[0-9a-f]{8}", body["job_id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["created_at"])

    def test_says_where_the_job_is(self, client: FlaskClient) -> None:
        response = create(client)
        assert response.headers["Location"] == f"/pipeline/jobs/{response.get_json()['job_id']}"
        seen = client.get(response.headers["Location"]).get_json()
        # Why it waits is looked up for a GET only.
        assert {**seen, "queue": None, "reason": None} == {**response.get_json(), "reason": None}

    def test_fills_in_the_defaults(self, client: FlaskClient) -> None:
        body = create(client).get_json()
        assert (body["tenant_id"], body["workspace_id"], body["pipeline"]) == ("default", "main", "media")
        assert (body["quality"], body["priority"], body["max_attempts"], body["tags"], body["metadata"]) == ("720p", 0, 1, [], {})

    def test_keeps_every_field(self, client: FlaskClient, world: World) -> None:
        sent = {
            "pipeline": "sleep",
            "params": {"seconds": 1.5, "steps": 3, "parts": [{"name": "a", "weight": 2.0}]},
            "tenant_id": "acme",
            "workspace_id": "w.1",
            "priority": -50,
            "max_attempts": 10,
            "tags": ["a", "ü b"],
            "metadata": {"nested": {"list": [1, None, True, "x", 0.5]}, "": 2**62},
        }
        body = client.post("/pipeline/jobs", json=sent).get_json()
        assert {key: body[key] for key in sent} == sent
        assert world.record(body["job_id"]).metadata == sent["metadata"]

    def test_counts_a_doubled_tag_once(self, client: FlaskClient) -> None:
        assert create(client, tags=["a", "b", "a"]).get_json()["tags"] == ["a", "b"]

    def test_takes_any_json_media_type(self, client: FlaskClient) -> None:
        for kind in ("application/json; charset=utf-8", "application/vnd.acme+json"):
            assert client.post("/pipeline/jobs", data=f'{{"url":"{URL}"}}', content_type=kind).status_code == 201

    def test_links_are_absolute_when_the_public_address_is_set(self, make_client: MakeClient) -> None:
        body = create(make_client(public_url="https://jobs.example/api/")).get_json()
        assert body["urls"]["self"] == f"https://jobs.example/api/pipeline/jobs/{body['job_id']}"

    def test_store_down_is_503_with_retry_after(self, client: FlaskClient, world: World) -> None:
        world.lose_store()
        response = create(client)
        problem_of(response, 503, "store_unavailable")
        assert int(response.headers["Retry-After"]) >= 1


class TestCreateAndWait:
    def test_waits_for_the_end(self, client: FlaskClient, world: World) -> None:
        world.when_waiting(world.complete)
        response = create(client, {"Prefer": "wait=50"})
        assert (response.status_code, response.get_json()["status"]) == (201, "completed")
        assert response.headers["Preference-Applied"] == "wait=50"
        assert "Retry-After" not in response.headers

    def test_caps_the_wait(self, make_client: MakeClient) -> None:
        response = create(make_client(run_timeout_seconds=0.1), {"Prefer": "respond-async, wait=3600"})
        assert (response.headers["Preference-Applied"], response.get_json()["status"]) == ("wait=0.1", "queued")

    @pytest.mark.parametrize("prefer", ["", "respond-async", "wait=-1", "wait=x", "wait", "wait=1.5", ",,=", "x" * 5000])
    def test_an_odd_preference_is_as_none(self, client: FlaskClient, prefer: str) -> None:
        response = create(client, {"Prefer": prefer})
        assert response.status_code == 201
        assert "Preference-Applied" not in response.headers

    def test_an_accepted_job_is_201_also_when_the_store_goes_away_meanwhile(self, client: FlaskClient, world: World) -> None:
        world.when_waiting(lambda job_id: world.lose_store())
        response = create(client, {"Prefer": "wait=5"})
        assert (response.status_code, response.get_json()["status"]) == (201, "queued")
        assert "Preference-Applied" not in response.headers

    def test_without_a_free_place_it_does_not_wait(self, make_client: MakeClient, world: World) -> None:
        client = make_client(http_threads=1)
        inner: list[TestResponse] = []

        def ask_meanwhile(job_id: str) -> None:
            inner.append(create(client, {"Prefer": "wait=50"}))
            world.complete(job_id)

        world.when_waiting(ask_meanwhile)
        outer = create(client, {"Prefer": "wait=50"})
        assert [("Preference-Applied" in response.headers) for response in (*inner, outer)] == [False, True]
        assert "Preference-Applied" in create(client, {"Prefer": "wait=0"}).headers, "the place was not given back"


class TestGet:
    def test_shows_a_running_job(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.start(job_id)
        response = client.get(f"/pipeline/jobs/{job_id}")
        body = response.get_json()
        bodies.Job.model_validate(body)
        assert (response.status_code, body["status"], body["progress"], body["stage"]) == (200, "running", 5.0, "fetch")

    def test_shows_a_result(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.complete(job_id, transcript="Hello", drive_url="https://x/y")
        body = client.get(f"/pipeline/jobs/{job_id}").get_json()
        assert body["result"] == {"success": True, "data": {"transcript": "Hello", "drive_url": "https://x/y"}}

    def test_shows_why_a_job_failed(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        detail: dict[str, Any] = {"code": "no_audio", "message": "no audio", "stage": "transcribe", "retryable": False}
        world.fail(job_id, **detail)
        body = client.get(f"/pipeline/jobs/{job_id}").get_json()
        bodies.Job.model_validate(body)
        assert (body["error"], body["error_detail"], body["result"]) == ("no audio", detail, None)

    @each("job_id", ["job_1_00000000", "x", "..", "%00", "a b", "é", "-x", "a" * 129, "a" * 5000, "job_1%0d%0aX:1", "{}", "'"])
    def test_an_unknown_or_odd_id_is_404(self, client: FlaskClient, job_id: str) -> None:
        for method in ("GET", "DELETE"):
            problem_of(client.open(f"/pipeline/jobs/{job_id}", method=method), 404)
        problem_of(client.post(f"/pipeline/jobs/{job_id}/cancel"), 404)

    def test_a_not_a_number_in_a_result_is_null(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.complete(job_id)
        world.store.client.hset(world.store.keys("job", job_id), "result", '{"success": true, "data": {"loudness": NaN}}')
        assert client.get(f"/pipeline/jobs/{job_id}").get_json()["result"]["data"] == {"loudness": None}


class TestRetryAfter:
    def test_is_there_until_the_job_ends(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        assert "Retry-After" in client.get(f"/pipeline/jobs/{job_id}").headers
        world.complete(job_id)
        assert "Retry-After" not in client.get(f"/pipeline/jobs/{job_id}").headers

    @pytest.mark.parametrize(("age", "seconds"), [(0, 1), (15, 1), (50, 5), (86_400, 10)])
    def test_grows_with_the_age(self, monkeypatch: pytest.MonkeyPatch, age: int, seconds: int) -> None:
        monkeypatch.setattr(time, "time", lambda: NOON / 1000 + age)
        job = Job("job_1_00000000", JobStatus.QUEUED, "media", "default", "main", created_at=NOON)
        assert replies.retry_after(job) == seconds


class TestConditionalGet:
    def test_the_same_state_is_304_without_a_body(self, client: FlaskClient) -> None:
        path = f"/pipeline/jobs/{created(client)}"
        etag = client.get(path).headers["ETag"]
        for given in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            response = client.get(path, headers={"If-None-Match": given})
            assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)
            assert "Content-Type" not in response.headers
            assert "Retry-After" in response.headers

    def test_any_change_is_200(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        etag = client.get(f"/pipeline/jobs/{job_id}").headers["ETag"]
        world.start(job_id)
        response = client.get(f"/pipeline/jobs/{job_id}", headers={"If-None-Match": etag})
        assert response.status_code == 200
        assert response.headers["ETag"] != etag

    def test_the_create_answer_has_it_too(self, client: FlaskClient, world: World) -> None:
        world.when_waiting(world.complete)
        response = create(client, {"Prefer": "wait=50"})
        assert client.get(response.headers["Location"], headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


class TestGetAndWait:
    def test_waits_for_the_end(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.when_waiting(world.complete)
        response = client.get(f"/pipeline/jobs/{job_id}", headers={"Prefer": 'wait="50"'})
        assert (response.get_json()["status"], response.headers["Preference-Applied"]) == ("completed", "wait=50")

    def test_an_ended_job_needs_no_waiting(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.complete(job_id)
        # Nothing will happen: a request that waited would fail at the time limit of the tests.
        assert client.get(f"/pipeline/jobs/{job_id}", headers={"Prefer": "wait=60"}).get_json()["status"] == "completed"

    def test_with_an_etag_any_change_ends_the_wait(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        etag = client.get(f"/pipeline/jobs/{job_id}").headers["ETag"]
        world.when_followed(lambda: world.start(job_id))
        waited, status = 0, "queued"
        # That it was dispatched is a change, too: it may be seen before the start, on a slow machine.
        while status == "queued":
            response = client.get(f"/pipeline/jobs/{job_id}", headers={"Prefer": "wait=50", "If-None-Match": etag})
            assert response.status_code == 200
            etag, status, waited = response.headers["ETag"], response.get_json()["status"], waited + 1
        assert (status, waited <= 3) == ("running", True)

    def test_a_process_that_stops_ends_the_wait(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        etag = client.get(f"/pipeline/jobs/{job_id}").headers["ETag"]
        world.cell.events.stop_when(lambda: True)
        response = client.get(f"/pipeline/jobs/{job_id}", headers={"Prefer": "wait=50", "If-None-Match": etag})
        assert response.status_code == 304
        assert not world.cell.events._topics, "its follower was not closed"

    def test_with_an_old_etag_it_answers_at_once(self, client: FlaskClient) -> None:
        response = client.get(f"/pipeline/jobs/{created(client)}", headers={"Prefer": "wait=60", "If-None-Match": '"old"'})
        assert response.status_code == 200

    def test_with_an_etag_and_no_change_it_is_304_in_the_end(self, client: FlaskClient) -> None:
        job_id = created(client)
        etag = client.get(f"/pipeline/jobs/{job_id}").headers["ETag"]
        response = client.get(f"/pipeline/jobs/{job_id}", headers={"Prefer": "wait=0", "If-None-Match": etag})
        assert (response.status_code, response.headers["Preference-Applied"]) == (304, "wait=0")


class TestDelete:
    def test_a_queued_job_is_cancelled_and_stays(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        response = client.delete(f"/pipeline/jobs/{job_id}")
        assert (response.status_code, response.get_json()) == (200, {"job_id": job_id, "status": "cancelled"})
        assert client.get(f"/pipeline/jobs/{job_id}").get_json()["status"] == "cancelled"

    def test_a_running_job_is_being_stopped(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.start(job_id)
        for _ in range(2):
            response = client.delete(f"/pipeline/jobs/{job_id}")
            assert (response.status_code, response.get_json()) == (202, {"job_id": job_id, "status": "cancelled"})
        body = client.get(f"/pipeline/jobs/{job_id}").get_json()
        assert (body["status"], body["cancel_requested"]) == ("running", True)

    def test_an_ended_job_is_removed(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.complete(job_id)
        response = client.delete(f"/pipeline/jobs/{job_id}")
        assert (response.status_code, response.get_json()) == (200, {"job_id": job_id, "status": "deleted"})
        problem_of(client.get(f"/pipeline/jobs/{job_id}"), 404, "unknown_job")
        problem_of(client.delete(f"/pipeline/jobs/{job_id}"), 404, "unknown_job")

    def test_a_job_that_ends_in_that_moment_is_removed(self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        job_id = created(client)
        cancel = world.store.cancel
        monkeypatch.setattr(world.store, "cancel", lambda job_id, whose, **by: (world.complete(job_id), cancel(job_id, whose, **by))[1])
        assert client.delete(f"/pipeline/jobs/{job_id}").get_json()["status"] == "deleted"
        assert world.ids() == []


class TestCancel:
    def test_keeps_the_record(self, client: FlaskClient) -> None:
        job_id = created(client)
        for _ in range(2):
            response = client.post(f"/pipeline/jobs/{job_id}/cancel")
            assert (response.status_code, response.get_json()["status"]) == (200, "cancelled")

    def test_a_running_job_is_202(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.start(job_id)
        response = client.post(f"/pipeline/jobs/{job_id}/cancel")
        assert (response.status_code, response.get_json()["status"], response.get_json()["cancel_requested"]) == (202, "running", True)

    def test_an_ended_job_stays_as_it_is(self, client: FlaskClient, world: World) -> None:
        job_id = created(client)
        world.complete(job_id)
        response = client.post(f"/pipeline/jobs/{job_id}/cancel")
        assert (response.status_code, response.get_json()["status"]) == (200, "completed")


class TestList:
    def test_is_newest_first_with_its_count(self, client: FlaskClient) -> None:
        ids = [created(client) for _ in range(3)]
        body = client.get("/pipeline/jobs").get_json()
        bodies.JobList.model_validate(body)
        assert [job["job_id"] for job in body["jobs"]] == ids[::-1]
        assert (body["count"], body["next_cursor"]) == (3, None)

    def test_pages_by_cursor(self, client: FlaskClient) -> None:
        ids = [created(client) for _ in range(5)]
        seen: list[str] = []
        counts: list[int] = []
        cursor = None
        while True:
            page = client.get("/pipeline/jobs", query_string={"limit": 2, **({"cursor": cursor} if cursor else {})}).get_json()
            seen += [job["job_id"] for job in page["jobs"]]
            counts.append(page["count"])
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert (seen, counts) == (ids[::-1], [2, 2, 1])

    @pytest.mark.parametrize("query", ["status=queued,running", "status=queued&status=running", "status=running,queued,queued"])
    def test_status_is_a_list(self, client: FlaskClient, world: World, query: str) -> None:
        ids = [world.put(status=status).job_id for status in (JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.QUEUED)]
        assert listed(client, query) == [ids[2], ids[0]]

    def test_canceled_is_cancelled(self, client: FlaskClient, world: World) -> None:
        gone = world.put(status=JobStatus.CANCELLED)
        world.put()
        assert listed(client, "status=canceled") == [gone.job_id]

    def test_hands_every_filter_on(self, client: FlaskClient) -> None:
        wanted = {"tenant_id": "acme", "workspace_id": "w", "pipeline": "media", "tags": ["a b"]}
        others: list[dict[str, Any]] = [{"tenant_id": "b"}, {"workspace_id": "v"}, {"tags": ["a"]}, {"pipeline": "sleep", "url": None}]
        asked = "tenant_id=acme&workspace_id=w&pipeline=media&tag=a%20b&limit=100"
        for number in range(2):
            for other in (*others, {}):
                sent = {"url": URL, **wanted, **other}
                client.post("/pipeline/jobs", json={name: value for name, value in sent.items() if value is not None})
            found = client.get(f"/pipeline/jobs?{asked}").get_json()["jobs"]
            assert len(found) == number + 1
        new, old = found
        # A moment has the offset that it names.
        between = datetime.fromisoformat(old["created_at"]).astimezone(timezone(timedelta(hours=2))) + timedelta(milliseconds=1)
        for name, job in (("created_after", new), ("created_before", old)):
            assert listed(client, f"{asked}&{name}={between.isoformat().replace('+', '%2B')}") == [job["job_id"]]
        page = client.get(f"/pipeline/jobs?{asked}&limit=1".replace("limit=100&", "")).get_json()
        assert listed(client, f"{asked}&cursor={page['next_cursor']}") == [old["job_id"]]

    def test_the_default_limit_is_25(self, client: FlaskClient) -> None:
        client.post("/pipeline/batches", json={"jobs": [{"pipeline": "sleep"}] * 26})
        assert client.get("/pipeline/jobs").get_json()["count"] == 25

    def test_an_unknown_parameter_is_400_and_gets_a_hint(self, client: FlaskClient) -> None:
        body = problem_of(client.get("/pipeline/jobs?tenant=acme"), 400, "unknown_parameter", "tenant")
        assert "tenant_id" in body["detail"]
