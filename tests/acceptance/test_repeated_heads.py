"""A client that sends one head again and again over one connection, against the API as a process: each time it is a request of its own,
asked anew who it is, counted and logged."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.acceptance.test_slow_and_large import connect, until_closed
from tests.stack import Api, MakeStack, Stack
from tests.waiting import until

#: Wrong keys after which an address must wait, and some.
TRIES = 30


@pytest.fixture(scope="module")
def stack(make_shared_stack: MakeStack) -> Stack:
    return make_shared_stack(trusted_proxies=1, log_format="json")


@pytest.fixture(scope="module")
def keys(stack: Stack) -> KeyStore:
    made = KeyStore(stack.client.store)
    made.create(ALL, Role.ADMIN, actor="test")
    return made


def ask(connection: socket.socket, head: bytes, body: bytes = b"") -> tuple[int, str, Any]:
    connection.sendall(head + body)
    answer, _, content = until_closed(connection).partition(b"\r\n\r\n")
    found = re.search(rb"X-Request-Id: (\S+)", answer)
    assert found
    return int(answer[9:12]), found[1].decode(), json.loads(content)


def head(line: bytes, *fields: bytes, key: str = "", address: bytes = b"192.0.2.1") -> bytes:
    shown = [b"Authorization: Bearer " + key.encode()] if key else []
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: 127.0.0.1", b"X-Forwarded-For: " + address, *shown, *fields, b"", b""])


def lines(stack: Stack) -> dict[str, dict[str, Any]]:
    """The access lines, by the ids of their requests."""
    every = [json.loads(line) for line in stack.log("api").splitlines() if line.startswith("{")]
    return {line["request_id"]: line for line in every if line.get("event") == "request" and "request_id" in line}


def created(api: Api, key: str) -> float:
    """How many requests have made a job, as the metrics say."""
    text = api.get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
    found = re.findall(r'^pipeline_http_requests_total\{[^}]*code="201"[^}]*route="/pipeline/jobs"[^}]*\} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found))


def test_each_is_a_request_with_a_body_an_id_and_a_line_of_its_own(stack: Stack, api: Api, keys: KeyStore) -> None:
    key, text = keys.create("zebra", Role.ADMIN, actor="test")
    post = head(b"POST /pipeline/jobs", b"Content-Type: application/json", b"Content-Length: 43", key=text)
    _, admin = keys.create(ALL, Role.ADMIN, actor="test")
    seen, before = list[str](), created(api, admin)
    with connect(api) as connection:
        for number in range(5):
            body = json.dumps({"pipeline": "sleep", "tags": [f"tag-{number:04}"]}).encode()
            assert len(body) == 43, len(body)
            status, name, made = ask(connection, post, body)
            assert (status, made["tags"]) == (201, [f"tag-{number:04}"]), made
            seen.append(name)
    assert (len(set(seen)), created(api, admin) - before) == (5, 5)
    until(lambda: lines(stack).keys() >= set(seen), "their lines")
    said = [lines(stack)[name] for name in seen]
    assert {(one["status"], one["tenant"], one["key_id"], one["method"]) for one in said} == {(201, "zebra", key.key_id, "POST")}
    assert len({one["job_id"] for one in said}) == 5


def test_a_key_that_was_revoked_opens_nothing_again(api: Api, keys: KeyStore) -> None:
    key, text = keys.create("lion", Role.ADMIN, actor="test")
    get = head(b"GET /pipeline/jobs", key=text)
    with connect(api) as connection:
        assert [ask(connection, get)[0] for _ in range(4)] == [200] * 4
        keys.revoke("lion", key.key_id, actor="test")
        until(lambda: ask(connection, get)[0] == 401, "the key to be forgotten")
        assert ask(connection, get)[0] == 401


def test_wrong_keys_are_counted_each_time_of_each_client_behind_a_proxy(api: Api, keys: KeyStore) -> None:
    _, good = keys.create("tiger", Role.ADMIN, actor="test")
    wrong = [head(b"POST /pipeline/jobs", b"Content-Length: 2", key="pjk_no_no", address=b"192.0.2.%d" % number) for number in (7, 8)]
    with connect(api) as connection:
        first = [ask(connection, wrong[0], b"{}")[0] for _ in range(TRIES)]
        # Another client's, over the same connection of the proxy, has failed at nothing yet; and a good key goes on.
        assert (first[0], first[-1], ask(connection, wrong[1], b"{}")[0]) == (401, 429, 401)
        assert ask(connection, head(b"GET /pipeline/jobs", key=good, address=b"192.0.2.7"))[0] == 200
        assert ask(connection, wrong[0], b"{}")[0] == 429


def test_a_rate_limit_holds(make_stack: MakeStack) -> None:
    stack = make_stack(submit_rate_per_key=1.0)
    _, text = KeyStore(stack.client.store).create("zebra", Role.ADMIN, actor="test")
    api = stack.api()
    body = b'{"pipeline":"sleep"}'
    post = head(b"POST /pipeline/jobs", b"Content-Type: application/json", b"Content-Length: %d" % len(body), key=text)
    with connect(api) as connection:
        statuses = [ask(connection, post, body)[0] for _ in range(60)]
    assert statuses[0] == 201
    assert 429 in statuses


def test_what_a_body_hides_is_no_request(api: Api, keys: KeyStore) -> None:
    """Bodies that look like a request, of requests that are refused before anybody reads them, and that request behind them."""
    _, text = keys.create("bear", Role.READ, actor="test")
    inner = head(b"GET /pipeline/jobs", key=text)
    outer = head(b"POST /pipeline/jobs", b"Content-Length: %d" % len(inner), key=text)
    with connect(api) as connection:
        connection.sendall((outer + inner) * 8 + inner)
        came = b""
        while came.count(b"HTTP/1.1 ") < 9 or not came.endswith(b"}"):
            piece = connection.recv(65_536)
            assert piece, came
            came += piece
    assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", came)] == [403] * 8 + [200]
