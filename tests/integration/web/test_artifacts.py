"""`GET /pipeline/artifacts/...`: only by a good link of a job that still exists, in ranges, and harmless."""

from __future__ import annotations

from typing import IO, Any
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient
from itsdangerous import Signer
from werkzeug.test import TestResponse

from pipeline_jobs.job import NewJob
from tests.cases import each

from .checks import problem_of
from .world import World

JOB = "job_1735905600_0000000a"
PREFIX = f"acme/main/{JOB}/1"
CLIP = bytes(range(256)) * 8


@pytest.fixture
def published(world: World) -> World:
    """A completed job with a clip."""
    world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id=JOB)
    world.finish(JOB, result={"success": True, "data": {}}, artifacts=PREFIX)
    for path, data in ((f"{PREFIX}/clip.mp4", CLIP), (f"{PREFIX}/empty.txt", b""), (f"acme/main/{JOB}/2/clip.mp4", b"a loser's")):
        world.cell.artifacts.write(data, path)
    return world


def sign(path: str) -> str:
    """Good for any path, also for one that no link of ours has."""
    return Signer("test-secret", salt="pipeline-jobs.artifact").get_signature(path).decode()


def fetch(client: FlaskClient, path: str = f"{PREFIX}/clip.mp4", signature: str | None = None, **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(f"/pipeline/artifacts/{path}", query_string={"signature": signature or sign(path)}, headers=sent)


def test_a_good_link_gives_the_file(client: FlaskClient, published: World) -> None:
    response = fetch(client)
    assert (response.status_code, response.data, response.content_type) == (200, CLIP, "video/mp4")
    assert response.headers["Content-Length"] == str(len(CLIP))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_the_file_is_closed_afterwards(client: FlaskClient, published: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[IO[bytes]] = []
    opens = published.cell.artifacts.open
    monkeypatch.setattr(published.cell.artifacts, "open", lambda path: opened.append(opens(path)) or opened[-1])
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999-"}):
        fetch(client, **headers).close()
    assert [file.closed for file in opened] == [True] * 3


def test_head_gives_the_size_without_the_bytes(client: FlaskClient, published: World) -> None:
    response = client.head(f"/pipeline/artifacts/{PREFIX}/clip.mp4?signature={sign(f'{PREFIX}/clip.mp4')}")
    assert (response.status_code, response.data, response.headers["Content-Length"]) == (200, b"", str(len(CLIP)))


@pytest.mark.parametrize(
    ("wanted", "first", "last"), [("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=2000-", 2000, 2047), ("bytes=-48", 2000, 2047)]
)
def test_one_range_is_206(client: FlaskClient, published: World, wanted: str, first: int, last: int) -> None:
    response = fetch(client, Range=wanted)
    assert (response.status_code, response.data) == (206, CLIP[first : last + 1])
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/2048"
    assert response.headers["Content-Length"] == str(last - first + 1)


def test_a_range_beyond_the_end_is_416_and_tells_the_size(client: FlaskClient, published: World) -> None:
    response = fetch(client, Range="bytes=2048-")
    problem_of(response, 416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == "bytes */2048"


@each("wanted", ["bytes=0-1,5-6", "lines=1-2", "bytes", "bytes=x", "bytes=5-1", "nonsense", ""])
def test_what_is_no_single_range_of_bytes_is_passed_over(client: FlaskClient, published: World, wanted: str) -> None:
    response = fetch(client, Range=wanted)
    assert (response.status_code, response.data) == (200, CLIP)


def test_if_range_guards_a_resume(client: FlaskClient, published: World) -> None:
    etag = fetch(client).headers["ETag"]
    assert fetch(client, Range="bytes=5-", If_Range=etag).status_code == 206
    assert fetch(client, Range="bytes=5-", If_Range='"other"').status_code == 200


def test_a_client_that_has_it_gets_304(client: FlaskClient, published: World) -> None:
    response = fetch(client, If_None_Match=fetch(client).headers["ETag"])
    assert (response.status_code, response.data) == (304, b"")


def test_an_empty_file_is_a_file(client: FlaskClient, published: World) -> None:
    for headers in ({}, {"Range": "bytes=0-"}):
        response = fetch(client, f"{PREFIX}/empty.txt", **headers)
        assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize(
    ("name", "kind", "attached"),
    [
        ("page.html", "application/octet-stream", True),
        ("picture.svg", "application/octet-stream", True),
        ("script.js", "application/octet-stream", True),
        ("noextension", "application/octet-stream", True),
        ("speech.wav", "audio/wav", False),
        ("T.JSON", "application/json", False),
        ("words.vtt", "text/vtt; charset=utf-8", False),
    ],
)
def test_only_harmless_types_are_shown(client: FlaskClient, published: World, name: str, kind: str, attached: bool) -> None:
    published.cell.artifacts.write(b"<script>alert(1)</script>", f"{PREFIX}/{name}")
    response = fetch(client, f"{PREFIX}/{name}")
    assert response.content_type == kind
    assert (response.headers.get("Content-Disposition") == "attachment") is attached


def test_a_wrong_or_missing_signature_is_404(client: FlaskClient, published: World) -> None:
    problem_of(fetch(client, signature="forged"), 404, "unknown_artifact")
    problem_of(client.get(f"/pipeline/artifacts/{PREFIX}/clip.mp4"), 404, "unknown_artifact")


def test_a_removed_job_takes_its_files_with_it(client: FlaskClient, published: World) -> None:
    assert client.delete(f"/pipeline/jobs/{JOB}").get_json()["status"] == "deleted"
    problem_of(fetch(client), 404, "unknown_artifact")


@pytest.mark.parametrize(
    "artifacts", [None, "", "acme", f"acme/main/{JOB}", f"acme/main/{JOB}/2", f"acme/main/{JOB}/11", f"other/main/{JOB}/1"]
)
def test_a_prefix_that_the_record_does_not_name_is_404(client: FlaskClient, published: World, artifacts: str | None) -> None:
    published.write(JOB, artifacts=artifacts)
    problem_of(fetch(client), 404, "unknown_artifact")


@each(
    "path",
    [
        f"{PREFIX}/missing.mp4",
        f"{PREFIX}/",
        PREFIX,
        "",
        "x",
        f"{PREFIX}/../1/clip.mp4",
        f"{PREFIX}/./clip.mp4",
        f"{PREFIX}//clip.mp4",
        f"/{PREFIX}/clip.mp4",
        f"{PREFIX}/..%2f..%2fetc/passwd",
        f"{PREFIX}/%2e%2e/x",
        f"{PREFIX}/a%00b",
        f"{PREFIX}/a%0d%0ab",
        f"{PREFIX}/a%5cb",
        "acme/main/%20/1/clip.mp4",
        "acme/main/job_1_ffffffff/1/clip.mp4",
        f"{PREFIX}/{'a' * 2000}",
    ],
)
def test_an_odd_path_is_404(client: FlaskClient, published: World, path: str) -> None:
    problem_of(client.get(f"/pipeline/artifacts/{path}?signature={sign(unquote(path))}"), 404)


def test_a_stranger_cannot_tell_the_causes_apart(client: FlaskClient, published: World) -> None:
    def told(response: TestResponse) -> dict[str, Any]:
        body: dict[str, Any] = response.get_json()
        return {key: value for key, value in body.items() if key not in {"request_id", "instance"}}

    forged = fetch(client, signature="forged")
    gone = fetch(client, f"acme/main/job_1_ffffffff/1/{'clip.mp4'}")
    missing = fetch(client, f"{PREFIX}/missing.mp4")
    assert told(forged) == told(gone) == told(missing)


def test_a_store_that_is_down_is_503(client: FlaskClient, published: World) -> None:
    published.lose_store()
    problem_of(fetch(client), 503, "store_unavailable")
