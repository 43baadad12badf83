"""The log of a job over HTTP: pages, lines of JSON, streams; whose it is."""

from __future__ import annotations

import json
import re

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.events.tokens import StreamToken, job_scope
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.web.http import streams
from tests.waiting import until

from .conftest import MakeClient
from .test_events import SSE, messages, read
from .world import World

ROWS = (
    '[1,1735905600000,1,"INFO","stage","fetch","begun"]',
    '[2,1735905600001,1,"WARNING","stdout","fetch","half\\n\\u2028<b>"]',
    # What is between was dropped.
    '[9,1735905600002,2,"ERROR","x","publish","broken"]',
)


@pytest.fixture
def live(world: World) -> Job:
    """A running job with a log of three lines."""
    job = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    world.store.announce("w1", 100, [])
    fence = world.record(job.job_id).fence
    world.store.claim(job.job_id, fence, worker="w1", run="r")
    assert world.store.append_log(job.job_id, fence, 9, ["\n".join(ROWS[:2]), ROWS[2]])
    return world.record(job.job_id)


def path(job: Job) -> str:
    return f"/pipeline/jobs/{job.job_id}/logs"


def test_a_page_has_the_lines_and_says_what_is_missing(client: FlaskClient, live: Job) -> None:
    body = client.get(path(live)).get_json()
    assert body["lines"][0] == {
        "number": 1, "time": "2025-01-03T12:00:00.000Z", "attempt": 1, "stage": "fetch", "level": "INFO", "logger": "stage",
        "message": "begun", "dropped": 0,
    }  # fmt: skip
    assert [(line["number"], line["message"], line["dropped"]) for line in body["lines"][1:]] == [
        (2, "half\n\u2028<b>", 0), (8, "6 lines are missing here", 6), (9, "broken", 0),
    ]  # fmt: skip
    assert {name: body[name] for name in ("count", "next_after", "reached", "complete")} == {
        "count": 4, "next_after": None, "reached": 9, "complete": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "numbers"),
    [("limit=2", [1, 2]), ("after=2", [8, 9]), ("after=8", [9]), ("attempt=1", [1, 2]), ("level=ERROR", [8, 9]), ("after=9", [])],
)
def test_a_page_has_what_is_asked_for(client: FlaskClient, live: Job, query: str, numbers: list[int]) -> None:
    assert [line["number"] for line in client.get(f"{path(live)}?{query}").get_json()["lines"]] == numbers


def test_lines_of_json_are_the_same(client: FlaskClient, live: Job) -> None:
    answer = client.get(path(live), headers={"Accept": "application/x-ndjson"})
    assert answer.content_type == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == client.get(path(live)).get_json()["lines"]


def test_a_stream_tells_each_line_and_ends_with_the_job(client: FlaskClient, world: World, live: Job) -> None:
    with client.get(path(live), headers=SSE, buffered=False) as answer:
        told = read(answer, 4)
        assert [data for _, data in told] == client.get(path(live)).get_json()["lines"]
        world.store.append_log(live.job_id, live.fence, 10, ['[10,1735905600003,2,"INFO","x","publish","more"]'])
        world.complete(live.job_id)
        assert [number for number, _ in messages(b"".join(answer.response))] == ["10"]  # type: ignore[arg-type]
    assert client.get(path(live), headers={**SSE, "Last-Event-ID": "10"}).status_code == 204


def test_a_stream_tells_only_what_is_asked_for(client: FlaskClient, world: World, live: Job) -> None:
    world.complete(live.job_id)
    answer = client.get(f"{path(live)}?level=ERROR&after=8", headers=SSE)
    assert [number for number, _ in messages(answer.data)] == ["9"]


@pytest.mark.parametrize("level", ["ERROR", "CRITICAL"])
def test_a_stream_that_tells_less_than_there_is_ends_for_a_browser_too(client: FlaskClient, world: World, live: Job, level: str) -> None:
    world.complete(live.job_id)
    told = client.get(f"{path(live)}?level={level}", headers=SSE).text
    last = re.findall(r"^id: (.*)$", told, re.MULTILINE)[-1]
    again = client.get(f"{path(live)}?level={level}", headers={**SSE, "Last-Event-ID": last})
    assert again.status_code == 204, "else it comes back each second, for ever"


def test_news_of_a_log_wakes_no_follower_of_the_feed(client: FlaskClient, world: World, live: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    hub = world.cell.events
    monkeypatch.setattr(hub, "_look_at", lambda places, look=hub._look_at: looks.append(len(places)) or look(places))
    monkeypatch.setattr(streams, "PING_SECONDS", 0.1)
    with client.get("/pipeline/events?tenant_id=acme&after=0-0", headers=SSE, buffered=False) as feed:
        read(feed, 2)
        with client.get(path(live), headers=SSE, buffered=False) as answer:
            read(answer, 4)
            until(lambda: all(topic.place for topic in hub._topics.values()), "the hub to know where both end")
            before = len(looks)
            world.store.append_log(live.job_id, live.fence, 10, ['[10,1,2,"INFO","x","","more"]'])
            assert read(answer, 1)
        assert sum(looks[before:]) == len(looks[before:]), "the log alone was looked at"


def test_another_tenants_log_is_unknown(make_client: MakeClient, world: World, live: Job) -> None:
    client = make_client(require_keys=True)
    for tenant, workspace, status in (("acme", None, 200), ("acme", "blog", 404), ("other", None, 404)):
        _, text = world.keys.create(tenant, Role.READ, actor="test", workspace_id=workspace)
        for headers in ({}, SSE) if status == 404 else ({},):
            assert client.get(path(live), headers={"Authorization": f"Bearer {text}", **headers}).status_code == status


def test_a_token_opens_the_log_of_its_own_job_only(make_client: MakeClient, world: World, live: Job) -> None:
    client, other = make_client(require_keys=True), world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    key, _ = world.keys.create("acme", Role.READ, actor="test")
    token, _ = world.cell.stream_tokens.make(StreamToken(key.key_id, job_scope(live.job_id)))
    assert client.get(f"{path(live)}?token={token}").status_code == 200
    assert client.get(f"{path(other)}?token={token}").status_code == 404


def test_too_many_streams_are_refused(make_client: MakeClient, live: Job) -> None:
    client = make_client(http_streams=1)
    with client.get(path(live), headers=SSE, buffered=False):
        assert client.get(path(live), headers=SSE).status_code == 503


def test_the_page_of_the_job_shows_it_as_text(client: FlaskClient, live: Job) -> None:
    shown = client.get(f"/pipeline/ui/jobs/{live.job_id}").text
    assert "ERROR x: broken" in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
