"""Who may ask Flower: a real Flower, and requests as a page of another origin would have a browser send them, byte by byte."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import flower.urls
import pytest

from pipeline_jobs.jobs.listing import JobQuery
from tests.stack import FLOWER_LOGIN, Api, Stack

MakeStack = Callable[..., Stack]
LOGIN = "Authorization: Basic " + base64.b64encode(":".join(FLOWER_LOGIN).encode()).decode()
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: `{}` is the port. Names that are ours look like them, or have them inside.
FOREIGN_HOSTS = (
    "evil.example", "evil.example:{}", "127.0.0.1.evil.example:{}", "localhost.evil.example", "evil.example@127.0.0.1",
    "127.0.0.1@evil.example", "localhost:{}.evil.example", "127.0.0.1:{}, evil.example",
    "evil.example, 127.0.0.1:{}", "", "localhost.", "127.0.0.1:", "[::1", "::1",
    "10.0.0.1:{}", "0.0.0.0:{}", "[::ffff:10.0.0.1]", "2130706433", "127.0.0.1%00.evil.example", "127.0.0.1/evil.example", "l\u043ecalhost",
)  # fmt: skip
#: Headers of a page of another origin; `{}` is the port.
FOREIGN_PAGES = (
    "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: none", "Sec-Fetch-Site: ",
    "Sec-Fetch-Site: Same-Origin, cross-site",
    "Origin: http://evil.example", "Origin: null", "Origin: ", "Origin: http://localhost:1", "Origin: http://127.0.0.1:{}.evil.example",
    "Origin: http://127.0.0.1:{}@evil.example", "Origin: 127.0.0.1:{}", "Sec-Fetch-Site: same-origin\r\nOrigin: http://evil.example",
    "Sec-Fetch-Site: cross-site\r\nOrigin: http://127.0.0.1:{}", "Origin: http://127.0.0.1:{}\r\nOrigin: http://evil.example",
)  # fmt: skip


def ways() -> list[str]:
    """A path for each of Flower's handlers, and for none."""
    patterns = [handler.regex.pattern if hasattr(handler, "regex") else handler[0] for handler in flower.urls.handlers]
    return [
        re.sub(r"\(\.[+*]\)", "pipeline_jobs.run_job", pattern).replace("/?", "").rstrip("$").replace(".*", "/no/such/page")
        for pattern in patterns
    ]


class Raw:
    """Sends what it is given, and nothing else."""

    def __init__(self, api: Api) -> None:
        self.port = urlsplit(api.url).port
        assert self.port

    def status(self, method: str, path: str, *headers: str, host: str | None = "127.0.0.1:{}", login: str = LOGIN) -> int:
        return int(self.answer(method, path, *headers, host=host, login=login).split(b" ", 2)[1])

    def answer(self, method: str, path: str, *headers: str, host: str | None = "127.0.0.1:{}", login: str = LOGIN) -> bytes:
        body = '{"kwargs": {"pipeline": "sleep"}}'
        lines = [f"{method} {path} HTTP/1.1", *(() if host is None else (f"Host: {host}",)), login, *headers]
        lines += ["Content-Type: text/plain", f"Content-Length: {len(body)}", "Connection: close"]
        text = "\r\n".join(line.replace("{}", str(self.port)) for line in lines if line) + "\r\n\r\n" + body
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(text.encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def lines(self, method: str, path: str, *headers: str, **more: str) -> str:
        return self.answer(method, path, *headers, **more).decode("utf-8", "replace")


@pytest.fixture
def stack(make_stack: MakeStack) -> Iterator[Stack]:
    stack = make_stack()
    yield stack
    assert not stack.client.list(JobQuery()).items, "a refused request made a job"


def test_flower_wants_a_login_and_has_one(stack: Stack) -> None:
    raw = Raw(stack.flower())
    wrong = "Authorization: Basic " + base64.b64encode(b"flower:wrong").decode()
    for login in ("", wrong, "Authorization: Bearer x"):
        for path in ("/", "/tasks", "/api/tasks", "/api/workers"):
            assert raw.status("GET", path, login=login) == 401, (path, login)
        for path in ("/api/task/async-apply/pipeline_jobs.run_job", "/api/task/revoke/job_1_a", "/api/worker/shutdown/jobs@test"):
            assert raw.status("POST", path, login=login) == 401, (path, login)
    assert raw.status("GET", "/tasks") == 200
    assert raw.status("GET", "/healthcheck", login="") == 200


def test_no_page_of_another_origin_gets_at_flower(stack: Stack) -> None:
    raw = Raw(stack.flower())
    let_in = [
        (method, path, "by a foreign host")
        for path in ways()
        for method in METHODS
        if raw.status(method, path, host="evil.example:{}") != 403
    ]
    let_in += [
        (method, path, page) for path in ways() for method in METHODS if method != "GET" for page in FOREIGN_PAGES[:8]
        if raw.status(method, path, page) != 403
    ]  # fmt: skip
    assert let_in == []


def test_forged_hosts_and_origins_are_told_from_ours(stack: Stack) -> None:
    raw = Raw(stack.flower())
    path = "/api/task/async-apply/pipeline_jobs.run_job"
    hosts = {host: [raw.status(method, path, host=host) for method in ("GET", "POST")] for host in FOREIGN_HOSTS}
    # 400: tornado takes it for no host at all.
    assert {host: found for host, found in hosts.items() if not set(found) <= {403, 400}} == {}
    assert raw.status("POST", path, host=None) in (400, 403)
    assert raw.status("POST", path, "Host: evil.example") in (400, 403), "two of them"
    pages = {page: raw.status("POST", path, page) for page in FOREIGN_PAGES}
    assert {page: found for page, found in pages.items() if found != 403} == {}
    assert "PIPELINE_FLOWER_HOSTS" in raw.lines("GET", "/", host="evil.example")


def test_a_websocket_is_no_harmless_get(stack: Stack) -> None:
    raw = Raw(stack.flower())
    upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    for path in ways():
        assert raw.status("GET", path, upgrade, "Origin: http://evil.example") == 403, path


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LocalHost", "[::1]:{}", "127.0.0.2", "flower.example.org"])
def test_ones_own_page_and_programs_are_served(make_stack: MakeStack, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_FLOWER_HOSTS", "flower, Flower.example.org")
    raw = Raw(make_stack(flower_hosts="flower, Flower.example.org").flower())
    assert raw.status("GET", "/tasks", host=host) == 200
    assert raw.status("GET", "/tasks", "Sec-Fetch-Site: cross-site", host=host) == 200, "a link from elsewhere"
    for page in ("", "Sec-Fetch-Site: same-origin", f"Origin: http://{host}", f"Sec-Fetch-Site: same-origin\r\nOrigin: https://{host}"):
        # Flower knows no such worker.
        assert raw.status("POST", "/api/worker/shutdown/no-such-worker", page, host=host) == 404, page
