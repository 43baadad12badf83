"""Event streams and pages over HTTP: what is sent, where it goes on, who may, and how many at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.events.tokens import StreamToken, StreamTokens
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access.caller import Caller
from pipeline_jobs.web.http import streams
from tests.cases import each

from .conftest import MakeClient
from .world import World

SSE = {"Accept": "text/event-stream"}


def messages(body: bytes) -> list[tuple[str | None, dict[str, Any]]]:
    """(id, data) of each message of a stream, read as the standard says."""
    found = []
    for block in body.decode().split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            if not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = fields.get(name, "") + value.removeprefix(" ")
        if "data" in fields:
            found.append((fields.get("id"), json.loads(fields["data"])))
    return found


@pytest.fixture
def live(world: World) -> Job:
    """A running job with a log of three events."""
    job = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    world.store.announce("w1", 100, [])
    fence = world.record(job.job_id).fence
    world.store.claim(job.job_id, fence, worker="w1", run="r")
    world.store.progress(job.job_id, fence, 43.4, "sleep", 'half\n"\r\u2028</script>')
    return world.record(job.job_id)


@pytest.fixture
def job(world: World, live: Job) -> Job:
    """A completed job with a log of four events."""
    return world.complete(live.job_id)


def read(answer: Response, n: int) -> list[tuple[str | None, dict[str, Any]]]:
    """The first so many messages of a stream that goes on."""
    body = b""
    for chunk in answer.response:
        body += chunk if isinstance(chunk, bytes) else chunk.encode()
        if len(found := messages(body)) >= n:
            return found
    raise AssertionError(f"it ended: {body!r}")


def path(job: Job) -> str:
    return f"/pipeline/jobs/{job.job_id}/events"


class TestHistory:
    def test_a_page_has_the_envelopes(self, client: FlaskClient, job: Job) -> None:
        body = client.get(path(job)).get_json()
        assert {name: body[name] for name in ("count", "next_after", "reached", "complete")} == {
            "count": 4, "next_after": None, "reached": 4, "complete": True,
        }  # fmt: skip
        assert {**body["events"][1], "created_at": None} == {
            "id": f"{job.job_id}.2", "seq": 2, "type": "job.started", "job_id": job.job_id, "tenant_id": "acme", "workspace_id": "main",
            "created_at": None,
            "data": {"status": "running", "attempt": 1, "stage": None, "progress": 0, "message": None},
        }  # fmt: skip

    def test_pages_follow_one_another(self, client: FlaskClient, job: Job) -> None:
        seen: list[int] = []
        after: int | None = 0
        while after is not None:
            page = client.get(f"{path(job)}?limit=3&after={after}").get_json()
            seen += [event["seq"] for event in page["events"]]
            after = page["next_after"]
        assert seen == [1, 2, 3, 4]

    @each("query", ["after=-1", "after=x", "after=", "limit=0", "limit=501", "limit=x", "after=1.0", "after=٣"])
    def test_a_wrong_parameter_is_named(self, client: FlaskClient, job: Job, query: str) -> None:
        answer = client.get(f"{path(job)}?{query}")
        assert (answer.status_code, answer.get_json()["field"]) == (422, query.partition("=")[0])

    def test_an_unknown_job_is_404(self, client: FlaskClient) -> None:
        assert client.get("/pipeline/jobs/job_1_00000000/events").get_json()["code"] == "unknown_job"
        assert client.get("/pipeline/jobs/-x/events", headers=SSE).status_code == 404


class TestStream:
    def test_it_tells_every_event_with_its_number_and_ends_after_the_last(self, client: FlaskClient, job: Job) -> None:
        answer = client.get(path(job), headers=SSE)
        assert (answer.status_code, answer.content_type) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.data.startswith(b"retry: 1000\n\n")
        told = messages(answer.data)
        assert [number for number, _ in told] == ["1", "2", "3", "4"]
        assert [data for _, data in told] == client.get(path(job)).get_json()["events"]

    @pytest.mark.parametrize(
        ("query", "last", "expected"),
        [("?after=2", None, ["3", "4"]), ("", "3", ["4"]), ("?after=1", "3", ["4"]), ("?after=3", "", ["4"])],
    )
    def test_it_goes_on_after_what_the_client_has(
        self, client: FlaskClient, job: Job, query: str, last: str | None, expected: list[str]
    ) -> None:
        answer = client.get(path(job) + query, headers=SSE if last is None else {**SSE, "Last-Event-ID": last})
        assert [number for number, _ in messages(answer.data)] == expected

    @pytest.mark.parametrize("after", ["4", "99"])
    def test_204_sends_a_browser_home_that_has_them_all(self, client: FlaskClient, job: Job, after: str) -> None:
        answer = client.get(path(job), headers={**SSE, "Last-Event-ID": after})
        assert (answer.status_code, answer.data) == (204, b"")

    @each("last", ["x", "-1", "1.5", "٣", "1" * 16])
    def test_a_last_event_id_that_we_did_not_give_is_refused(self, client: FlaskClient, job: Job, last: str) -> None:
        answer = client.get(path(job), headers=[("Accept", "text/event-stream"), ("Last-Event-ID", last.encode().decode("latin-1"))])
        assert (answer.status_code, answer.get_json()["field"]) == (422, "Last-Event-ID")

    def test_silence_is_broken_by_pings(self, client: FlaskClient, live: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "PING_SECONDS", 0.1)
        with client.get(path(live), headers=SSE, buffered=False) as answer:
            chunks = iter(answer.response)
            assert [next(chunks) for _ in range(4)][2:] == [b": ping\n\n"] * 2

    @pytest.mark.parametrize(
        ("accept", "is_stream"),
        [
            (None, False), ("*/*", False), ("application/json", False), ("text/event-stream, */*", True), ("text/event-stream", True),
            ("application/json, text/event-stream;q=0.5", False), ("text/html", False), ("", False),
        ],
    )  # fmt: skip
    def test_json_unless_a_stream_is_wanted(self, client: FlaskClient, job: Job, accept: str | None, is_stream: bool) -> None:
        answer = client.get(path(job), headers={} if accept is None else {"Accept": accept})
        assert (answer.status_code, answer.mimetype == "text/event-stream") == (200, is_stream)

    def test_a_store_that_is_down_is_503(self, client: FlaskClient, world: World, job: Job) -> None:
        world.lose_store()
        assert client.get(path(job), headers=SSE).status_code == 503


class TestPlaces:
    @pytest.fixture
    def held(self, make_client: MakeClient, live: Job) -> Iterator[tuple[FlaskClient, TestResponse]]:
        """A client of a process that takes one stream, and that stream."""
        client = make_client(http_streams=1)
        answer = client.get(path(live), headers=SSE, buffered=False)
        yield client, answer
        answer.close()

    def test_one_too_many_is_503_and_told_when_to_come_back(self, held: tuple[FlaskClient, TestResponse], live: Job) -> None:
        client, first = held
        for url in (path(live), "/pipeline/events?tenant_id=acme"):
            answer = client.get(url, headers=SSE)
            assert (answer.status_code, answer.get_json()["code"], answer.headers["Retry-After"]) == (503, "too_many_streams", "5")
        assert client.get(path(live)).status_code == 200
        first.close()
        first.close()
        second = client.get(path(live), headers=SSE, buffered=False)
        assert second.status_code == 200
        assert client.get(path(live), headers=SSE).status_code == 503
        second.close()

    def test_a_tenant_leaves_places_for_others(self, make_client: MakeClient, world: World, live: Job) -> None:
        client = make_client(http_streams=3, http_streams_per_tenant=2)
        other = world.put("other", status=JobStatus.RUNNING)
        mine = [client.get("/pipeline/events?tenant_id=acme", headers=SSE, buffered=False) for _ in range(2)]
        refused = client.get(path(live), headers=SSE)
        assert (refused.status_code, refused.get_json()["code"], refused.headers["Retry-After"]) == (429, "too_many_streams", "5")
        theirs = client.get(path(other), headers=SSE, buffered=False)
        assert theirs.status_code == 200
        mine[0].close()
        mine.append(client.get(path(live), headers=SSE, buffered=False))
        assert mine[-1].status_code == 200
        for stream in (*mine, theirs):
            stream.close()

    def test_a_stream_that_was_never_read_gives_its_place_back(
        self, held: tuple[FlaskClient, TestResponse], world: World, live: Job
    ) -> None:
        client, first = held
        first.close()
        for _ in range(3):
            with client.head(path(live), headers=SSE) as answer:
                assert (answer.status_code, answer.data) == (200, b"")
        assert not world.cells[-1].events._topics, "a follower was not closed"
        with client.get(path(live), headers=SSE, buffered=False) as answer:
            assert answer.status_code == 200


class TestFeed:
    def test_a_stream_tells_what_is_new_and_where_it_begins(self, client: FlaskClient, job: Job) -> None:
        last = client.get("/pipeline/events?tenant_id=acme").get_json()["reached"]
        with client.get("/pipeline/events?tenant_id=acme", headers=SSE, buffered=False) as answer:
            assert next(iter(answer.response)) == f"retry: 1000\nid: {last}\n\n".encode()

    def test_a_stream_goes_on_from_its_own_ids(self, client: FlaskClient, job: Job) -> None:
        feed = "/pipeline/events?tenant_id=acme&after=0-0"
        with client.get(feed, headers=SSE, buffered=False) as answer:
            everything = read(answer, 4)
        assert [data["seq"] for _, data in everything] == [1, 2, 3, 4]
        with client.get(feed, headers={**SSE, "Last-Event-ID": str(everything[1][0])}, buffered=False) as answer:
            assert read(answer, 2) == everything[2:]

    def test_pages_follow_one_another(self, client: FlaskClient, job: Job) -> None:
        first = client.get("/pipeline/events?tenant_id=acme&limit=3").get_json()
        assert (first["count"], first["next_after"]) == (3, first["reached"])
        second = client.get(f"/pipeline/events?tenant_id=acme&limit=3&after={first['next_after']}").get_json()
        assert [event["seq"] for event in second["events"]] == [4]
        assert (second["next_after"], second["reached"] > first["reached"]) == (None, True)

    def test_whoever_sees_all_tenants_names_one(self, client: FlaskClient) -> None:
        answer = client.get("/pipeline/events")
        assert (answer.status_code, answer.get_json()["field"]) == (422, "tenant_id")

    @each("after", ["x", "1", "-1", "1-", "$"])
    def test_a_place_that_no_feed_gave_is_refused(self, client: FlaskClient, after: str) -> None:
        answer = client.get(f"/pipeline/events?tenant_id=acme&after={after}")
        assert (answer.status_code, answer.get_json()["field"]) == (422, "after")
        answer = client.get("/pipeline/events?tenant_id=acme", headers={**SSE, "Last-Event-ID": after})
        assert (answer.status_code, answer.get_json()["field"]) == (422, "Last-Event-ID")

    def test_a_log_that_is_another_s_by_the_time_it_is_read_is_unknown(
        self, client: FlaskClient, world: World, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The job that was looked at was deleted, and its id is another job's."""
        _, text = world.keys.create("other", Role.READ, actor="test")
        monkeypatch.setattr(Caller, "look", lambda *_: None)
        assert client.get(path(job), headers={"Authorization": f"Bearer {text}"}).get_json()["code"] == "unknown_job"

    def test_a_key_of_a_workspace_sees_that_only(self, client: FlaskClient, world: World, job: Job) -> None:
        other = world.put(workspace_id="lab")
        _, text = world.keys.create("acme", Role.READ, actor="test", workspace_id="lab")
        mine = {"Authorization": f"Bearer {text}"}
        assert [event["job_id"] for event in client.get("/pipeline/events", headers=mine).get_json()["events"]] == [other.job_id]
        assert client.get(path(job), headers=mine).status_code == 404
        with client.get("/pipeline/events?after=0-0", headers={**SSE, **mine}, buffered=False) as answer:
            told = read(answer, 1)
        assert [data["job_id"] for _, data in told] == [other.job_id]
        token = client.post("/pipeline/events/token", json={}, headers=mine).get_json()["token"]
        assert [event["job_id"] for event in client.get(f"/pipeline/events?token={token}").get_json()["events"]] == [other.job_id]
        assert client.get(f"/pipeline/events?workspace_id=main&token={token}").status_code == 403
        assert client.get("/pipeline/events?workspace_id=main", headers=mine).get_json()["code"] == "foreign_workspace"


class TestRights:
    @pytest.fixture
    def key(self, world: World) -> tuple[str, dict[str, str]]:
        key, text = world.keys.create("acme", Role.SUBMIT, actor="test")
        return key.key_id, {"Authorization": f"Bearer {text}"}

    def token(self, client: FlaskClient, headers: dict[str, str], **body: str) -> str:
        answer = client.post("/pipeline/events/token", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["token"])

    def test_a_token_opens_its_stream_without_a_key(self, client: FlaskClient, job: Job, key: tuple[str, dict[str, str]]) -> None:
        text = self.token(client, key[1], job_id=job.job_id)
        assert client.get(path(job), headers=SSE).status_code == 401
        assert len(messages(client.get(f"{path(job)}?token={text}", headers=SSE).data)) == 4
        feed = self.token(client, key[1])
        assert client.get(f"/pipeline/events?token={feed}").get_json()["count"] == 4

    def test_a_token_opens_nothing_else(self, client: FlaskClient, world: World, job: Job, key: tuple[str, dict[str, str]]) -> None:
        other = world.put()
        text = self.token(client, key[1], job_id=job.job_id)
        assert client.get(f"{path(other)}?token={text}").status_code == 404
        assert client.get(f"/pipeline/events?token={text}").status_code == 403
        assert client.get(f"/pipeline/jobs/{job.job_id}?token={text}").status_code == 401
        assert client.post(f"/pipeline/events/token?token={text}", json={}).status_code == 401

    def test_a_token_ends_with_its_key(self, client: FlaskClient, world: World, job: Job, key: tuple[str, dict[str, str]]) -> None:
        text = self.token(client, key[1], job_id=job.job_id)
        world.keys.revoke("acme", key[0], actor="test")
        assert client.get(f"{path(job)}?token={text}").status_code == 401

    @pytest.mark.parametrize("text", ["", "x", "a.b.c", "x" * 513, "%00", "%D9%A3"])
    def test_what_we_did_not_sign_opens_nothing(self, client: FlaskClient, job: Job, key: tuple[str, dict[str, str]], text: str) -> None:
        assert client.get(f"{path(job)}?token={text}").status_code == 401

    def test_another_installations_token_opens_nothing(self, client: FlaskClient, job: Job, key: tuple[str, dict[str, str]]) -> None:
        foreign, _ = StreamTokens(lambda: "other").make(StreamToken(key[0], f"job:{job.job_id}"))
        assert client.get(f"{path(job)}?token={foreign}").status_code == 401

    def test_a_token_made_without_a_key_is_worth_nothing_once_there_are_keys(self, client: FlaskClient, world: World, job: Job) -> None:
        text = self.token(client, {}, job_id=job.job_id)
        assert client.get(f"{path(job)}?token={text}").status_code == 200
        world.keys.create(ALL, Role.ADMIN, actor="test")
        client.application.extensions["pipeline_jobs"].access._open_until = 0
        assert client.get(f"{path(job)}?token={text}").status_code == 401

    def test_a_token_is_of_a_job_or_of_a_feed(self, client: FlaskClient, job: Job, key: tuple[str, dict[str, str]]) -> None:
        for body, status in (
            ({"job_id": job.job_id, "tenant_id": "acme"}, 422), ({"tenant_id": "other"}, 403), ({"job_id": "job_1_00000000"}, 404),
            ({"job_id": 5}, 422), ({"x": 1}, 422),
        ):  # fmt: skip
            assert client.post("/pipeline/events/token", json=body, headers=key[1]).status_code == status, body

    def test_an_open_stream_ends_when_its_key_is_revoked(
        self, client: FlaskClient, world: World, live: Job, key: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline_jobs.web.access.key_cache.CACHE_SECONDS", 0.0)
        monkeypatch.setattr(streams, "PING_SECONDS", 0.1)
        with client.get(path(live), headers={**SSE, **key[1]}, buffered=False) as answer:
            assert len(read(answer, 3)) == 3
            world.keys.revoke("acme", key[0], actor="test")
            assert next(iter(answer.response), b"") == b""

    def test_a_store_that_is_away_ends_no_stream(
        self, client: FlaskClient, world: World, live: Job, key: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline_jobs.web.access.key_cache.CACHE_SECONDS", 0.0)
        monkeypatch.setattr(streams, "PING_SECONDS", 0.1)
        with client.get(path(live), headers={**SSE, **key[1]}, buffered=False) as answer:
            assert len(read(answer, 3)) == 3
            world.lose_store()
            assert next(iter(answer.response)) == b": ping\n\n"


class TestSocket:
    def test_a_plain_request_is_told_what_it_is(self, client: FlaskClient, job: Job) -> None:
        answer = client.get(f"/pipeline/jobs/{job.job_id}/ws")
        assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "null", "http://localhost:1", "http://evil.example@localhost", "x", "http://[", "ftp://localhost"],
    )
    def test_a_page_of_another_origin_opens_none(self, client: FlaskClient, job: Job, origin: str) -> None:
        answer = client.get(f"/pipeline/jobs/{job.job_id}/ws", headers={"Origin": origin, "Upgrade": "websocket"})
        assert (answer.status_code, answer.get_json()["code"]) == (403, "cross_site")

    def test_a_page_of_ours_does(self, make_client: MakeClient, job: Job) -> None:
        client = make_client(public_url="https://jobs.example")
        for origin in ("http://localhost", "https://jobs.example"):
            assert client.get(f"/pipeline/jobs/{job.job_id}/ws", headers={"Origin": origin}).status_code == 426

    def test_a_handshake_on_a_server_without_sockets_gives_its_place_back(self, make_client: MakeClient, job: Job) -> None:
        client = make_client(http_streams=1)
        for _ in range(3):
            answer = client.get(f"/pipeline/jobs/{job.job_id}/ws", headers={"Upgrade": "websocket"})
            assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_handshake")
