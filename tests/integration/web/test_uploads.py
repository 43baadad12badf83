"""The routes of uploads: tus's headers and statuses, and what is refused before a byte is read."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.files import paced
from pipeline_jobs.files.upload import TURNS
from pipeline_jobs.web.schemas.uploads import Upload, UploadList
from tests.cases import each

from .checks import problem_of
from .world import World

PATH = "/pipeline/uploads"
TYPE = "application/offset+octet-stream"


def begin(client: FlaskClient, length: int = 10, data: bytes | None = None, **headers: str) -> TestResponse:
    extra = {"content_type": TYPE} if data is not None else {}
    return client.post(PATH, data=data, headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(length), **headers}, **extra)


def append(client: FlaskClient, path: str, offset: int, data: bytes, **headers: str) -> TestResponse:
    return client.patch(path, data=data, content_type=TYPE, headers={"Upload-Offset": str(offset), **headers})


def digest(data: bytes) -> str:
    return "sha1 " + base64.b64encode(hashlib.sha1(data).digest()).decode()


def stored(world: World, upload_id: str) -> bytes:
    size, pieces = world.cell.uploads.open("default", "main", upload_id)
    data = b"".join(pieces)
    assert len(data) == size
    return data


def test_beside_one_that_hangs_in_the_disk_another_is_answered_503_and_goes_on_later(
    client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "TURN_SECONDS", 0.05)
    data = bytes(range(256)) * (2 * paced.SMALL_BYTES // 256)
    path, small = (begin(client, length).headers["Location"] for length in (len(data), 5))
    with TURNS.turn("another"):
        late = append(client, path, 0, data)
        problem_of(late, 503, "store_unavailable")
        assert int(late.headers["Retry-After"]) > 0
        # What takes no turn is stored meanwhile.
        assert append(client, small, 0, b"small").status_code == 204
    at = int(client.head(path).headers["Upload-Offset"])
    assert append(client, path, at, data[at:]).status_code == 204
    assert stored(world, path.rpartition("/")[2]) == data


def test_an_upload_by_tus(client: FlaskClient, world: World) -> None:
    made = begin(client, 10, None, **{"Upload-Metadata": "filename dGFsay5tcDQ=,private"})
    assert (made.status_code, made.headers["Tus-Resumable"], made.headers["Upload-Offset"]) == (201, "1.0.0", "0")
    body = made.get_json()
    Upload.model_validate(body)
    assert body["metadata"] == {"filename": "talk.mp4", "private": ""}
    path = made.headers["Location"]
    assert path == f"{PATH}/{body['upload_id']}"
    first = append(client, path, 0, b"hello", **{"Upload-Checksum": digest(b"hello")})
    assert (first.status_code, first.data, first.headers["Upload-Offset"]) == (204, b"", "5")
    at = client.head(path)
    assert (at.status_code, at.headers["Upload-Offset"], at.headers["Upload-Length"], at.headers["Cache-Control"]) == (
        200,
        "5",
        "10",
        "no-store",
    )
    assert append(client, path, 5, b"world").status_code == 204
    seen = client.get(path).get_json()
    assert (seen["complete"], seen["url"]) == (True, f"upload://{body['upload_id']}")
    assert stored(world, body["upload_id"]) == b"helloworld"
    assert client.delete(path).status_code == 204
    problem_of(client.get(path), 404, "unknown_upload")


def test_a_whole_upload_in_one_request(client: FlaskClient, world: World) -> None:
    made = client.post(PATH, data=b"hello", content_type=TYPE)
    assert (made.status_code, made.get_json()["complete"]) == (201, True)
    assert stored(world, made.get_json()["upload_id"]) == b"hello"


def test_the_first_bytes_may_come_with_the_beginning(client: FlaskClient) -> None:
    made = begin(client, 10, b"hello")
    assert (made.status_code, made.headers["Upload-Offset"], made.get_json()["complete"]) == (201, "5", False)


def test_an_empty_upload_is_complete(client: FlaskClient) -> None:
    assert begin(client, 0).get_json()["complete"] is True


def test_a_tenants_uploads_are_listed_newest_first_by_pages(client: FlaskClient) -> None:
    made = [
        client.post(f"{PATH}?tenant_id=acme&workspace_id={name}", data=b"x", content_type=TYPE).get_json() for name in ("w1", "w2", "w1")
    ]
    client.post(f"{PATH}?tenant_id=other", data=b"x", content_type=TYPE)
    first = client.get(f"{PATH}?tenant_id=acme&limit=2")
    body = first.get_json()
    UploadList.model_validate(body)
    assert (first.status_code, body["uploads"], body["count"]) == (200, [made[2], made[1]], 2)
    second = client.get(f"{PATH}?tenant_id=acme&limit=2&cursor={body['next_cursor']}").get_json()
    assert second == {"uploads": [made[0]], "count": 1, "next_cursor": None}
    of_one = client.get(f"{PATH}?tenant_id=acme&workspace_id=w1").get_json()["uploads"]
    assert of_one == [made[2], made[0]]


@each(
    ("query", "status", "field"),
    [
        ("", 422, "tenant_id"), ("tenant_id=-a", 422, "tenant_id"), ("tenant_id=acme&limit=0", 422, "limit"),
        ("tenant_id=acme&cursor=!", 422, "cursor"), ("tenant_id=acme&status=x", 400, "status"), ("workspace_id=main", 422, "tenant_id"),
    ],
)  # fmt: skip
def test_a_list_that_is_asked_for_wrongly(client: FlaskClient, query: str, status: int, field: str) -> None:
    problem_of(client.get(f"{PATH}?{query}"), status, field=field)


def test_a_list_with_the_store_away_is_503(client: FlaskClient, world: World) -> None:
    world.lose_store()
    problem_of(client.get(f"{PATH}?tenant_id=acme"), 503, "store_unavailable")


def test_options_tells_what_is_spoken(client: FlaskClient, world: World) -> None:
    told = client.options(PATH)
    assert told.status_code == 200
    assert told.headers["Tus-Version"] == "1.0.0"
    assert told.headers["Tus-Max-Size"] == str(world.settings.upload_max_bytes)
    assert {"creation", "expiration", "termination", "checksum"} <= set(told.headers["Tus-Extension"].split(","))


def test_a_body_larger_than_the_limit_for_json_passes_whole_and_in_chunks(client: FlaskClient, world: World) -> None:
    data = b"x" * 3_000_000
    assert begin(client, len(data), data).get_json()["complete"] is True
    path = begin(client, len(data)).headers["Location"]
    environ = {"wsgi.input": io.BytesIO(data), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    done = client.patch(path, content_type=TYPE, headers={"Upload-Offset": "0"}, environ_overrides=environ)
    assert (done.status_code, done.headers["Upload-Offset"]) == (204, str(len(data)))


@each(
    ("headers", "status", "field"),
    [
        ({}, 400, "Upload-Length"),
        ({"Upload-Length": ""}, 400, "Upload-Length"),
        ({"Upload-Length": "-1"}, 400, "Upload-Length"),
        ({"Upload-Length": "1.5"}, 400, "Upload-Length"),
        ({"Upload-Length": "x"}, 400, "Upload-Length"),
        ({"Upload-Length": "9" * 16}, 400, "Upload-Length"),
        ({"Upload-Length": "99999999999"}, 413, "Upload-Length"),
        ({"Upload-Length": "5", "Upload-Metadata": "a b c"}, 400, "Upload-Metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": "a !"}, 400, "Upload-Metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="}, 400, "Upload-Metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": "a DQo="}, 400, "Upload-Metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": "a /w=="}, 400, "Upload-Metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": "a " + "YWFh" * 2000}, 400, "Upload-Metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": ",".join(f"k{n} YQ==" for n in range(21))}, 400, "Upload-Metadata"),
        ({"Upload-Length": "5", "Upload-Checksum": "md4 aaaa"}, 400, "Upload-Checksum"),
        ({"Upload-Length": "5", "Upload-Checksum": "sha1 aaaa"}, 400, "Upload-Checksum"),
        ({"Upload-Length": "5", "Upload-Checksum": "sha1 !"}, 400, "Upload-Checksum"),
        ({"Upload-Length": "5", "Tus-Resumable": "0.2.2"}, 412, "Tus-Resumable"),
    ],
)
def test_a_wrong_beginning_names_its_header(client: FlaskClient, world: World, headers: dict[str, str], status: int, field: str) -> None:
    answer = client.post(PATH, headers=headers)
    problem_of(answer, status, field=field)
    assert world.cell.uploads.page("default").items == ()
    if status == 412:
        assert answer.headers["Tus-Version"] == "1.0.0"


@each(
    ("offset", "data", "extra", "status", "field"),
    [
        (None, b"x", {}, 400, "Upload-Offset"),
        ("-1", b"x", {}, 400, "Upload-Offset"),
        ("x", b"x", {}, 400, "Upload-Offset"),
        ("1", b"x", {}, 409, "Upload-Offset"),
        ("999", b"", {}, 409, "Upload-Offset"),
        ("0", b"x" * 11, {}, 413, "body"),
        ("0", b"x", {"Content-Type": "application/octet-stream"}, 415, None),
        ("0", b"x", {"Content-Type": ""}, 415, None),
        ("0", b"x", {"Content-Encoding": "gzip"}, 415, None),
        ("0", b"x", {"Upload-Checksum": digest(b"y")}, 460, "Upload-Checksum"),
        ("0", b"x", {"Upload-Checksum": "sha1"}, 400, "Upload-Checksum"),
        ("0", b"x", {"Tus-Resumable": "2.0.0"}, 412, "Tus-Resumable"),
    ],
)
def test_a_wrong_piece_is_refused_and_nothing_of_it_is_kept(
    client: FlaskClient, world: World, offset: str | None, data: bytes, extra: dict[str, str], status: int, field: str | None
) -> None:
    path = begin(client, 10).headers["Location"]
    headers = {"Content-Type": TYPE, **({} if offset is None else {"Upload-Offset": offset}), **extra}
    answer = client.patch(path, data=data, headers=headers)
    problem_of(answer, status, field=field)
    assert client.head(path).headers["Upload-Offset"] == "0"
    if status == 409:
        assert answer.headers["Upload-Offset"] == "0"


def test_a_body_that_ends_too_early_keeps_what_came(client: FlaskClient) -> None:
    path = begin(client, 10).headers["Location"]
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(b"abc"), "CONTENT_LENGTH": "10"}
    answer = client.patch(path, content_type=TYPE, headers={"Upload-Offset": "0"}, environ_overrides=environ)
    problem_of(answer, 400, "incomplete_body", "body")
    assert client.head(path).headers["Upload-Offset"] == "3"


def test_one_that_a_live_job_needs_stays(client: FlaskClient, world: World) -> None:
    made = begin(client, 0)
    assert client.post("/pipeline/jobs", json={"url": made.get_json()["url"]}).status_code == 201
    problem_of(client.delete(made.headers["Location"]), 409, "upload_in_use")


@each("upload_id", ["0" * 24, "x", "0" * 25, "%00", "..%2f..", "A" * 24])
def test_what_is_no_upload_is_404(client: FlaskClient, upload_id: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        answer = client.open(f"{PATH}/{upload_id}", method=method, headers={"Upload-Offset": "0", "Content-Type": TYPE})
        problem_of(answer, 404)


def test_the_store_away_is_503(client: FlaskClient, world: World) -> None:
    world.lose_store()
    assert int(begin(client).headers["Retry-After"]) > 0
    problem_of(begin(client), 503, "store_unavailable")


def test_with_the_queue_off_there_are_none(make_client: Any) -> None:
    problem_of(begin(make_client(enable_job_queue=False)), 404, "feature_disabled")
