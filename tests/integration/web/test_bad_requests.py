"""A corpus of requests that must be refused: always 4xx, always a problem that names the field, never 5xx."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.cases import each
from tests.servers import Server

from .checks import problem_of
from .conftest import fresh_world
from .world import World

URL = "https://media.example/clip.mp4"
JSON = "application/json"
CREATING = ["/pipeline/jobs", "/pipeline/run"]

# fmt: off

_NAMES: Sequence[Any] = (
    None, "", 1, True, [], {}, " ", "a b", "-a", ".", "..", "a/b", "a\\b", "a:b", "a*", "é", "a\n", "\0", "a\0", "x" * 65, "{a}", "a,b",
)
#: Values that a field must not have, in a body that is good otherwise.
VALUES: Mapping[str, Sequence[Any]] = {
    "url": (
        None, "", " ", 1, True, [], [URL], {}, "clip.mp4", "/etc/passwd", "//media.example/x", "ftp://media.example/x", "file:///etc/passwd",
        "FILE:///etc/passwd", "javascript:alert(1)", "data:text/plain,x", "gopher://x/", "concat:http://x/|http://y/", "httpx://media.example/",
        "http:", "http:/x", "http://", "http:///x", "http://?x", "http://#x", "http://:80/", "http://@/", "http://x:99999/", "http://x:-1/",
        "http://x:a/", "http://x:0/", "http://[::1/", "http://[x]/", "http://user@x/", "http://user:secret@x/", " http://x/", "http://x/ y",
        "http://x/\r\nHost: y", "http://x/\ty", "http://x/\0", "http://x\0.example/", "\0http://x/", "http://x/\x7f", "http://x/\u2028",
        "http://x/" + "a" * 3000, "-f http://x/",
    ),
    "quality": ("999q", "", 1080, "1080P", " 1080p", ["720p"], "x" * 100_000, "1080p\0", False),
    "pipeline": (*_NAMES, "none", "Media", "media\n", "../media", "__class__"),
    "params": (None, [], "x", 1),
    "tenant_id": _NAMES,
    "workspace_id": _NAMES,
    "priority": (51, -51, 10**6, 2**63, 10**400, True, False, "1", "", None, 1.0, 0.5, [], {}),
    "max_attempts": (0, -1, 11, 2**63, 10**400, True, "3", 1.0, [], {}),
    "tags": (None, "a", 1, {}, {"a": 1}, ["x"] * 21, [f"t{n}" for n in range(21)]),
    "metadata": (None, [], "x", 1, True, [["a", 1]], {"a": "x" * 20_000}, {f"a longer name {n}": n for n in range(1000)}, {"a\0": 1}),
}

#: Params of the pipeline `sleep` that it does not take, with what is wrong.
PARAMS: Sequence[tuple[Any, str]] = (
    ({"secs": 1}, "params.secs"), ({"seconds": -1}, "params.seconds"), ({"seconds": "x"}, "params.seconds"),
    ({"seconds": None}, "params.seconds"), ({"seconds": 3601}, "params.seconds"), ({"seconds": 10**400}, "params.seconds"),
    ({"steps": 1.5}, "params.steps"), ({"steps": 2**63}, "params.steps"), ({"steps": -(2**63) - 1}, "params.steps"),
    ({"parts": {}}, "params.parts"), ({"parts": [{}]}, "params.parts.0.name"), ({"parts": [{"name": "a\0"}]}, "params.parts.0.name"),
    ({"parts": [{"name": "a"}, {"name": "b", "weight": 0}]}, "params.parts.1.weight"), ({"\0": 1}, "params"),
)

#: Other bodies, with what is wrong.
OTHERS: Sequence[tuple[Any, str]] = (
    # no object
    (None, "body"), ([], "body"), ([{}], "body"), ("", "body"), ("{}", "body"), (json.dumps({"url": URL}), "body"), (1, "body"),
    (1.5, "body"), (True, "body"), ([["url", URL]], "body"),
    # what depends on the pipeline
    ({}, "url"), ({"pipeline": "sleep", "url": URL}, "url"), ({"pipeline": "sleep", "quality": "720p"}, "quality"),
    ({"url": URL, "params": {"x": 1}}, "params.x"),
    # deep in a field
    ({"url": URL, "tags": [""]}, "tags.0"), ({"url": URL, "tags": ["x" * 65]}, "tags.0"), ({"url": URL, "tags": ["a", 1]}, "tags.1"),
    ({"url": URL, "tags": ["a", None]}, "tags.1"), ({"url": URL, "tags": ["a", ["b"]]}, "tags.1"),
    ({"url": URL, "tags": ["a\0"]}, "tags.0"),
    ({"url": URL, "tags": ["a\nb"]}, "tags.0"), ({"url": URL, "tags": [True]}, "tags.0"),
    ({"url": URL, "metadata": {"a": "\0"}}, "metadata.a"), ({"url": URL, "metadata": {"a": [1, {"b": "x\0"}]}}, "metadata.a.1.b"),
    ({"url": URL, "metadata": {"a": 2**63}}, "metadata.a"), ({"url": URL, "metadata": {"a": 10**400}}, "metadata.a"),
    ({"url": URL, "metadata": {"a": [-(2**70)]}}, "metadata.a.0"),
    # unknown fields
    ({"url": URL, "qualtiy": "720p"}, "qualtiy"), ({"url": URL, "tenant": "acme"}, "tenant"), ({"url": URL, "job_id": "job_1_0"}, "job_id"),
    ({"url": URL, "status": "completed"}, "status"), ({"url": URL, "": 1}, "body"), ({"url": URL, "URL": URL}, "URL"),
    ({"url": URL, "__proto__": {}}, "__proto__"), ({"url": URL, "callback_url": "http://x/"}, "callback_url"),
)

BODIES: list[tuple[Any, str]] = [
    *(({"url": URL, field: value}, field) for field, values in VALUES.items() for value in values),
    *(({"pipeline": "sleep", "params": params}, field) for params, field in PARAMS),
    *OTHERS,
]

#: Bytes that are no JSON, or none that may pass: (name, body, status, field).
RAW: list[tuple[str, bytes, int, str]] = [
    ("empty", b"", 400, "body"),
    ("blank", b"  \n", 400, "body"),
    ("cut off", b'{"url":', 400, "body"),
    ("unquoted", b"{url:1}", 400, "body"),
    ("single quotes", b"{'url':'http://x/'}", 400, "body"),
    ("trailing comma", b'{"url":"http://x/",}', 400, "body"),
    ("trailing bytes", b'{"url":"http://x/"}x', 400, "body"),
    ("two documents", b"{}{}", 400, "body"),
    ("a comment", b'{"url":"http://x/"/*c*/}', 400, "body"),
    ("a form", b"url=http://x/", 400, "body"),
    ("xml", b"<url>http://x/</url>", 400, "body"),
    ("not UTF-8", b'{"url":"http://x/\xff"}', 400, "body"),
    ("UTF-16", '{"url":"http://x/"}'.encode("utf-16"), 400, "body"),
    ("a byte order mark", b'\xef\xbb\xbf{"url":"http://x/"}', 400, "body"),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 400, "body"),
    ("a raw NUL", b'{"url":"http://x/\x00"}', 400, "body"),
    ("only a NUL", b"\x00", 400, "body"),
    ("a lone surrogate", b'{"url":"http://x/","metadata":{"a":"\\ud800"}}', 400, "body"),
    ("a lone low surrogate", b'{"url":"http://x/\\udc00"}', 400, "body"),
    ("a lone surrogate as key", b'{"\\ud800":1}', 400, "body"),
    ("a surrogate in UTF-8", b'{"url":"\xed\xa0\x80"}', 400, "body"),
    ("NaN", b'{"url":"http://x/","priority":NaN}', 400, "body"),
    ("NaN in metadata", b'{"url":"http://x/","metadata":{"a":NaN}}', 400, "body"),
    ("Infinity", b'{"url":"http://x/","metadata":{"a":-Infinity}}', 400, "body"),
    ("a leading zero", b'{"url":"http://x/","priority":01}', 400, "body"),
    ("an integer of 5,000 digits", b'{"url":"http://x/","metadata":{"a":' + b"9" * 5000 + b"}}", 400, "body"),
    ("a number beyond a double", b'{"url":"http://x/","metadata":{"a":1e400}}', 422, "metadata.a"),
    ("a priority beyond a double", b'{"url":"http://x/","priority":1e400}', 422, "priority"),
    ("100,000 open arrays", b"[" * 100_000, 413, "body"),
    ("100,000 levels of arrays", b"[" * 100_000 + b"]" * 100_000, 413, "body"),
    ("100,000 levels of objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 413, "body"),
    ("100,000 levels of metadata", b'{"url":"http://x/","metadata":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", 413, "body"),
    ("an escaped NUL", b'{"url":"http://x/","metadata":{"a":"\\u0000"}}', 422, "metadata.a"),
    ("20,000 unknown fields", b"{" + b",".join(b'"f%d":1' % n for n in range(20_000)) + b"}", 413, "body"),
    ("1,000 unknown fields", b"{" + b",".join(b'"f%d":1' % n for n in range(1000)) + b"}", 422, "f0"),
    ("a field name of 500 KB", b'{"' + b"k" * 500_000 + b'":1}', 422, "k" * 100),
]

#: Media types that are not JSON.
TYPES = [
    "", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
    "application/jsonx", "json", "é",
]

_ODD_NAMES = ("", "a%20b", "..", "a/b", "%00", "%FF", "x" * 65, "%ED%A0%80", "a%0A")
_ODD_TIMES = (
    "", "now", "0", "1704326400", "2025-01-03", "2025-01-03T12:00:00", "2025-01-03T12:00Z", "2025-13-01T00:00:00Z", "2025-02-30T00:00:00Z",
    "2025-01-03T24:00:01Z", "2025-01-03T12:00:00%2B25:00", "2025-01-03T12:00:00+02:00", "0000-01-01T00:00:00Z", "99999-01-01T00:00:00Z",
    "0001-01-01T00:00:00%2B23:59", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59-23:59",
    "2025-01-03T12:00:00Z%00", "%00", "NaN", "2025-01-03T12:00:60Z", "%D9%A2025-01-03T12:00:00Z",
)
#: Values that a parameter of the list must not have, and the field that is named.
PARAMETERS: Mapping[str, tuple[str, Sequence[str]]] = {
    "limit": ("limit", (
        "0", "101", "-1", "", "x", "1.0", "1e1", "%2B5", "%2055", "1_0", "99999999999999999999", "%00", "NaN", "%D9%A1", "0x1", "null",
    )),
    "status": ("status.0", ("", ",", "done", "QUEUED", "queued%00", "%20queued", "null", "true", "1")),
    "tenant_id": ("tenant_id", _ODD_NAMES),
    "workspace_id": ("workspace_id", _ODD_NAMES),
    "pipeline": ("pipeline", _ODD_NAMES),
    "tag": ("tag", ("", "%00", "a%0Ab", "x" * 65)),
    "created_after": ("created_after", _ODD_TIMES),
    "created_before": ("created_before", _ODD_TIMES),
    "cursor": ("cursor", ("", "nonsense", "%00", "x" * 129, "-1")),
}
#: Queries of a list: (query, status, field).
QUERIES: list[tuple[str, int, str]] = [
    *((f"{name}={value}", 422, field) for name, (field, values) in PARAMETERS.items() for value in values),
    ("status=queued,", 422, "status.1"), ("status=queued,done", 422, "status.1"), ("status=queued&status=x", 422, "status.1"),
    ("unknown=1", 400, "unknown"), ("tenant=acme", 400, "tenant"), ("Tenant_id=acme", 400, "Tenant_id"), ("=1", 400, ""),
    ("status[]=queued", 400, "status[]"), ("batch_id=x", 422, "batch_id"), ("limit=1&limit=2", 400, "limit"),
    ("tenant_id=a&tenant_id=b", 400, "tenant_id"), ("cursor=1&cursor=1", 400, "cursor"),
]

# fmt: on


@pytest.fixture(scope="module")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all: nothing of what they send is taken."""
    yield from fresh_world(server, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def client(world: World) -> FlaskClient:
    return world.make_client()


def test_the_corpus_is_large() -> None:
    assert len(BODIES) + len(RAW) + len(TYPES) + len(QUERIES) >= 150


@each(("path", "body", "field"), [(path, *case) for path, case in product(CREATING, BODIES)], ids=lambda value: json.dumps(value)[:60])
def test_a_body_with_a_wrong_field_is_422_and_names_it(client: FlaskClient, world: World, path: str, body: Any, field: str) -> None:
    answer = problem_of(client.post(path, data=json.dumps(body), content_type=JSON), 422, field=field)
    assert answer["errors"][0]["field"] == field
    assert len(str(answer)) < 5000
    assert world.ids() == []


@each(
    ("path", "what", "body", "status", "field"), [(path, *case) for path, case in product(CREATING, RAW)], ids=lambda value: str(value)[:60]
)
def test_bytes_that_are_no_good_json_are_refused(
    client: FlaskClient, world: World, path: str, what: str, body: bytes, status: int, field: str
) -> None:
    answer = problem_of(client.post(path, data=body, content_type=JSON), status, field=field)
    assert len(str(answer)) < 6000
    assert world.ids() == []


@pytest.mark.parametrize("path", CREATING)
@pytest.mark.parametrize("kind", TYPES)
def test_another_media_type_is_415(client: FlaskClient, path: str, kind: str) -> None:
    body = json.dumps({"url": URL})
    problem_of(client.post(path, data=body, environ_overrides={"CONTENT_TYPE": kind}), 415, "unsupported_media_type")


@pytest.mark.parametrize("path", CREATING)
def test_a_packed_body_is_415(client: FlaskClient, path: str) -> None:
    response = client.post(path, data=b"\x1f\x8b", content_type=JSON, headers={"Content-Encoding": "gzip"})
    problem_of(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", CREATING)
@pytest.mark.parametrize("value", [-1, "1", True, [], {}, -0.001, 10**400])
def test_only_run_takes_a_timeout_and_a_good_one(client: FlaskClient, path: str, value: Any) -> None:
    problem_of(client.post(path, json={"url": URL, "timeout": value}), 422, field="timeout")


@pytest.mark.parametrize("path", CREATING)
def test_a_timeout_beyond_a_double_is_422(client: FlaskClient, path: str) -> None:
    problem_of(client.post(path, data=b'{"url":"http://x/","timeout":1e400}', content_type=JSON), 422, field="timeout")


@pytest.mark.parametrize("path", CREATING)
def test_a_body_of_2_mb_is_413(client: FlaskClient, path: str) -> None:
    body = json.dumps({"url": URL, "metadata": {"a": "x" * 2_000_000}})
    problem_of(client.post(path, data=body, content_type=JSON), 413, "body_too_large")


@pytest.mark.parametrize("path", CREATING)
def test_a_body_without_a_length_is_cut_off_at_the_limit(client: FlaskClient, path: str) -> None:
    body = io.BytesIO(b" " * 4_000_000)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    response = client.post(path, content_type=JSON, environ_overrides=environ)
    problem_of(response, 413, "body_too_large")
    assert body.tell() < 1_200_000, "it was read to its end"


@each(("query", "status", "field"), QUERIES)
def test_a_wrong_filter_is_refused_and_named(client: FlaskClient, world: World, query: str, status: int, field: str) -> None:
    problem_of(client.get(f"/pipeline/jobs?{query}"), status, field=field)


@pytest.mark.parametrize("query", ["signature=" + "x" * 1025, "signature=a&signature=b", "x=1", "signature=a&x=1"])
def test_a_wrong_query_of_a_file_is_refused(client: FlaskClient, query: str) -> None:
    response = client.get(f"/pipeline/artifacts/acme/main/job_1_00000000/1/x.mp4?{query}")
    assert response.status_code in {400, 422}
    assert problem_of(response, response.status_code)["field"] in {"signature", "x"}


def test_a_misspelt_field_gets_a_hint(client: FlaskClient) -> None:
    answer = problem_of(client.post("/pipeline/jobs", json={"url": URL, "qualtiy": "720p"}), 422)
    assert answer["detail"] == "qualtiy: unknown field: did you mean 'quality'?"


def test_every_wrong_field_is_named_at_once(client: FlaskClient) -> None:
    answer = problem_of(client.post("/pipeline/jobs", json={"url": 1, "priority": 99, "tags": [1]}), 422, field="url")
    assert [error["field"] for error in answer["errors"]] == ["url", "priority", "tags.0"]


def test_values_are_not_echoed(client: FlaskClient) -> None:
    response = client.post("/pipeline/jobs", json={"url": "http://user:hunter2@x/", "tenant_id": "hunter2 ", "metadata": "hunter2"})
    problem_of(response, 422)
    assert "hunter2" not in response.text
