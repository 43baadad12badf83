"""Large results over HTTP: the file is part of the answer as it is; lists and webhooks have a reference."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs import results
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.web.http import replies
from pipeline_jobs.web.schemas import jobs as bodies
from pipeline_jobs.webhooks.payload import body as payload

from .world import URL, World

#: With what would end a body, or begin another result in it.
LARGE = {"summary": 'it "ends", }]} "result":null \u6e2f', "segments": ['"result":null'] * 40_000}


def ended(world: World, data: Mapping[str, Any], **fields: Any) -> str:
    world.stage = lambda context: data
    world.cell.store.announce("w1", 2000, [])
    job = world.cell.client.submit(NewJob(url=URL, tenant_id="acme", **fields))
    assert world.cell.executor.run(job.job_id, job.fence, "w1").ending is Ending.COMPLETED
    return job.job_id


def test_get_has_the_whole_result_and_says_where_it_lies(world: World, client: FlaskClient) -> None:
    job_id = ended(world, LARGE, metadata={"result": None})
    answer = client.get(f"/pipeline/jobs/{job_id}")
    assert int(answer.headers["Content-Length"]) == len(answer.data) > 500_000
    body = answer.get_json()
    bodies.Job.model_validate(body)
    assert (body["result"], body["metadata"]) == ({"success": True, "data": LARGE}, {"result": None})
    reference = body["result_ref"]
    assert reference["preview"] == {"summary": LARGE["summary"]}
    parts = urlsplit(reference["url"])
    file = client.get(f"{parts.path}?{parts.query}")
    assert (len(file.data), file.get_json()) == (reference["bytes"], body["result"])
    # Without the large one the body is as every other's.
    assert set(body) == set(client.get(f"/pipeline/jobs/{ended(world, {})}").get_json())
    head = client.head(f"/pipeline/jobs/{job_id}")
    assert (head.data, head.headers["Content-Length"]) == (b"", answer.headers["Content-Length"])


def test_the_file_is_closed_and_one_who_has_it_already_is_not_sent_it(
    world: World, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ended(world, LARGE)
    opened: list[Any] = []
    opens = world.cell.artifacts.open
    monkeypatch.setattr(world.cell.artifacts, "open", lambda path: opened.append(opens(path)) or opened[-1])
    answer = client.get(f"/pipeline/jobs/{job_id}")
    answer.close()
    again = client.get(f"/pipeline/jobs/{job_id}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, [file.closed for file in opened]) == (304, [True])
    other = client.get(f"/pipeline/jobs/{ended(world, LARGE)}")
    assert other.headers["ETag"] != answer.headers["ETag"]


def test_a_result_is_not_parsed_on_its_way(world: World, client: FlaskClient) -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    job_id = ended(world, {"deep": deep, "text": "x" * results.MAX_IN_RECORD})
    text = client.get(f"/pipeline/jobs/{job_id}").data
    assert text.endswith(b"[" * 901 + b"]" * 901 + b',"text":"' + b"x" * results.MAX_IN_RECORD + b'"}}}')


def test_post_that_waits_and_run_have_it_too(world: World, client: FlaskClient) -> None:
    world.stage = lambda context: LARGE
    world.cell.store.announce("w1", 2000, [])
    finish = lambda job_id: world.cell.executor.run(job_id, world.record(job_id).fence, "w1")  # noqa: E731
    world.when_waiting(finish)
    made = client.post("/pipeline/jobs", json={"url": URL, "tenant_id": "acme"}, headers={"Prefer": "wait=60"})
    assert (made.status_code, made.get_json()["result"]["data"]) == (201, LARGE)
    world.when_waiting(finish)
    ran = client.post("/pipeline/run", json={"url": URL, "tenant_id": "acme"}, headers={"Idempotency-Key": "k"})
    assert (ran.status_code, ran.get_json()) == (200, {"success": True, "data": LARGE})
    assert int(ran.headers["Content-Length"]) == len(ran.data)
    again = client.post("/pipeline/run", json={"url": URL, "tenant_id": "acme"}, headers={"Idempotency-Key": "k"})
    assert (again.headers["Idempotent-Replayed"], again.data) == ("true", ran.data)
    world.cell.artifacts.delete_prefix("acme")
    answer = client.post("/pipeline/run", json={"url": URL, "tenant_id": "acme"}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.get_json()["code"]) == (410, "result_gone")


def test_a_list_has_results_only_if_they_are_asked_for_and_never_large_ones(world: World, client: FlaskClient) -> None:
    large, small = ended(world, LARGE), ended(world, {"n": 1})
    rows = client.get("/pipeline/jobs?tenant_id=acme").get_json()["jobs"]
    assert [("result" in row, row["job_id"]) for row in rows] == [(False, small), (False, large)]
    assert rows[1]["result_ref"] == client.get(f"/pipeline/jobs/{large}").get_json()["result_ref"]
    answer = client.get("/pipeline/jobs?tenant_id=acme&include=result").get_json()
    bodies.JobList.model_validate(answer)
    assert [row["result"] for row in answer["jobs"]] == [{"success": True, "data": {"n": 1}}, None]
    refused = client.get("/pipeline/jobs?include=everything")
    assert (refused.status_code, refused.get_json()["field"]) == (422, "include.0")


def test_a_list_of_a_hundred_has_at_most_150_kb(world: World, client: FlaskClient) -> None:
    # As a long film gives it: each field that the preview shows is as long as it may be.
    film = {"transcript": "word " * 100_000, "summary": "s" * 500, "drive_url": "u" * 300, "title": "t" * 200, "language": "en"}
    first = ended(world, film)
    record = world.store.record("job", first)
    for number in range(100):
        ended(world, {**film, "segments": [number]})
    answer = client.get("/pipeline/jobs?tenant_id=acme&limit=100")
    print(f"a list of 100 jobs with results of 500 kB: {len(answer.data)} bytes; the result in a record: {len(record['result'])} bytes")
    assert (answer.get_json()["count"], len(answer.data) <= 150_000) == (100, True)


def test_a_preview_has_what_fits_of_the_first_fields() -> None:
    data = {**{f"field {n}": "\u6e2f" * 50 for n in range(20)}, "list": [1], "flag": True, "number": 1.5}
    shown = results.preview(data)
    assert shown == {"field 0": "\u6e2f" * 50, "flag": True, "number": 1.5}
    assert len(json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()) <= results.PREVIEW_BYTES
    assert results.preview({"text": "x" * 1_000}) == {"text": "x" * 60 + "..."}


def test_a_webhook_has_the_reference(world: World, client: FlaskClient) -> None:
    job_id = ended(world, LARGE, webhook={"url": "https://hooks.example/x"})
    (event,) = [key.removeprefix(world.store.keys("webhook_event", "")) for key in world.store.client.scan_iter("*webhook_event:*")]
    sender = world.cell.webhooks.sender
    text = payload(world.cell.webhooks.ledger.snapshot(event), "", sender._shapes)
    data = json.loads(text)["data"]
    assert (data["job_id"], data["result"], len(text) < 3_000) == (job_id, None, True)
    assert data["result_ref"] == client.get(f"/pipeline/jobs/{job_id}").get_json()["result_ref"]


def test_a_result_whose_file_is_lost_is_null_and_one_that_cannot_be_read_now_is_503(
    world: World, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ended(world, LARGE)
    etag = client.get(f"/pipeline/jobs/{job_id}").headers["ETag"]

    def away(*_: Any) -> Any:
        raise ConnectionError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(world.cell.artifacts._fs, "info", away)
        patch.setattr(world.cell.artifacts._fs, "open", away)
        answer = client.get(f"/pipeline/jobs/{job_id}")
        assert (answer.status_code, answer.headers["Retry-After"], answer.get_json()["code"]) == (503, "5", "store_unavailable")
        # Its page and the lists show what the record has.
        assert "ends" in client.get(f"/pipeline/ui/jobs/{job_id}").text
        assert client.get("/pipeline/jobs?tenant_id=acme").status_code == 200
        # A request that made a job is answered with what is known.
        made = world.cell.client.get(job_id)
        with client.application.test_request_context():
            known = replies.job_reply(made, 201)
        assert (known.status_code, known.get_json()["result"], known.headers["ETag"] != etag) == (201, None, True)
    world.cell.artifacts.delete_prefix(str(world.record(job_id).artifacts))
    answer = client.get(f"/pipeline/jobs/{job_id}")
    assert (answer.status_code, answer.get_json()["result"], answer.get_json()["status"]) == (200, None, "completed")
    assert answer.headers["ETag"] != etag


def test_the_page_shows_a_large_result_and_of_a_very_large_one_the_preview(
    world: World, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ended(world, {"summary": "It is a film.", "segments": [{"start": 1.0, "text": f"sentence {n}"} for n in range(1_000)]})
    text = client.get(f"/pipeline/ui/jobs/{job_id}").text
    assert "sentence 7<" in text
    assert f"{job_id}/{world.record(job_id).fence}/result.json?signature=" in text
    monkeypatch.setattr("pipeline_jobs.web.ui.results.MAX_BYTES", 1_000)
    text = client.get(f"/pipeline/ui/jobs/{job_id}").text
    assert ("It is a film." in text, "sentence 7<" in text, "result.json?signature=" in text) == (True, False, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), JSON, max_size=60))
def test_any_result_comes_back_as_it_was_given_wherever_it_lies(world: World, client: FlaskClient, data: dict[str, Any]) -> None:
    whole = {"success": True, "data": data}
    for most in (0, sys.maxsize):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(results, "MAX_IN_RECORD", most)
            job_id = ended(world, data)
        record = world.record(job_id)
        assert (record.result_ref is None) is bool(most)
        assert client.get(f"/pipeline/jobs/{job_id}").get_json()["result"] == whole
        assert results.fetch(world.cell.artifacts, job_id, record.result) == whole
        if record.result_ref:
            assert len(json.dumps(record.result["data"], ensure_ascii=False, separators=(",", ":")).encode()) <= results.PREVIEW_BYTES + 64
