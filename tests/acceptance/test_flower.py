"""Who may ask Flower: a real Flower, and requests as a page of another origin would have a browser send them, byte by byte."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import flower.urls
import pytest

from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from tests.stack import FLOWER_LOGIN, ROOT, Api, MakeStack, Stack
from tests.waiting import until

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


def row_of(flower: Api, job_id: str, search: str) -> dict[str, Any]:
    """The row of a job in the table of tasks, found by this search; empty: it is not found."""
    columns = {f"columns[{place}][data]": name for place, name in enumerate(("uuid", "tenant"))}
    asked = {"draw": "1", "start": "0", "length": "10", "search[value]": search, "order[0][column]": "0", "order[0][dir]": "asc", **columns}
    found = flower.get("/tasks/datatable", params=asked).json()
    assert "searchError" not in found
    return next((row for row in found["data"] if row["uuid"] == job_id), {})


def test_a_job_has_its_tenant_and_stage_in_the_table_in_searches_in_the_api_and_after_a_restart(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.worker("jobs", "--autoscale=2,2")
    flower = stack.flower()
    assert re.findall(r'data-column="(\w+)"', flower.get("/tasks").text)[3:7] == ["tenant", "workspace", "pipeline", "stage"]
    job_id, other = stack.hold(tenant_id="acme", workspace_id="films").job_id, stack.hold(tenant_id="globex").job_id
    said = {"tenant": "acme", "workspace": "films", "pipeline": "hold", "stage": "hold"}
    for search in ("kwargs:stage=hold", "acme", "kwargs:tenant=acme", "kwargs:stage=hold kwargs:workspace=films"):
        row = until(lambda search=search: row_of(flower, job_id, search), search)
        assert {name: row[name] for name in said} == said
    until(lambda: row_of(flower, other, "kwargs:stage=hold"), "the other one's stage")
    assert row_of(flower, other, "kwargs:tenant=acme") == row_of(flower, job_id, "kwargs:stage=fetch") == {}
    assert {name: flower.get("/api/tasks").json()[job_id][name] for name in said} == said
    stack.tell(job_id, other)
    stack.until_status(job_id, JobStatus.COMPLETED)
    until(lambda: flower.get(f"/api/task/info/{job_id}").json()["state"] == "SUCCESS", "the end")
    assert stack.flower_process
    stack.flower_process.terminate()
    stack.flower_process.wait(60)
    kept = {**said, "state": "SUCCESS"}
    again = stack.flower()
    assert {name: row_of(again, job_id, "kwargs:stage=hold")[name] for name in kept} == kept
    assert {name: again.get(f"/api/task/info/{job_id}").json()[name] for name in kept} == kept
    modes = [file.stat().st_mode & 0o077 for file in stack.settings.data_dir.glob("flower-state*")]
    assert set(modes) == {0}


@pytest.fixture(scope="module")
def shared(make_shared_stack: MakeStack) -> tuple[Stack, Raw]:
    stack = make_shared_stack()
    return stack, Raw(stack.flower())


@pytest.fixture
def raw(shared: tuple[Stack, Raw]) -> Iterator[Raw]:
    stack, raw = shared
    yield raw
    assert not stack.client.list(JobQuery()).items, "a refused request made a job"


def test_flower_wants_a_login_and_has_one(raw: Raw) -> None:
    wrong = "Authorization: Basic " + base64.b64encode(b"flower:wrong").decode()
    for login in ("", wrong, "Authorization: Bearer x"):
        for path in ("/", "/tasks", "/api/tasks", "/api/workers"):
            assert raw.status("GET", path, login=login) == 401, (path, login)
        for path in ("/api/task/async-apply/pipeline_jobs.run_job", "/api/task/revoke/job_1_a", "/api/worker/shutdown/jobs@test"):
            assert raw.status("POST", path, login=login) == 401, (path, login)
    assert raw.status("GET", "/tasks") == 200
    assert raw.status("GET", "/healthcheck", login="") == 200


def test_no_page_of_another_origin_gets_at_flower(raw: Raw) -> None:
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


def test_forged_hosts_and_origins_are_told_from_ours(raw: Raw) -> None:
    path = "/api/task/async-apply/pipeline_jobs.run_job"
    hosts = {host: [raw.status(method, path, host=host) for method in ("GET", "POST")] for host in FOREIGN_HOSTS}
    # 400: tornado takes it for no host at all.
    assert {host: found for host, found in hosts.items() if not set(found) <= {403, 400}} == {}
    assert raw.status("POST", path, host=None) in (400, 403)
    assert raw.status("POST", path, "Host: evil.example") in (400, 403), "two of them"
    pages = {page: raw.status("POST", path, page) for page in FOREIGN_PAGES}
    assert {page: found for page, found in pages.items() if found != 403} == {}
    assert "PIPELINE_FLOWER_HOSTS" in raw.lines("GET", "/", host="evil.example")


def test_a_websocket_is_no_harmless_get(raw: Raw) -> None:
    upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    for path in ways():
        assert raw.status("GET", path, upgrade, "Origin: http://evil.example") == 403, path


@pytest.fixture(scope="module")
def named(make_shared_stack: MakeStack) -> Raw:
    """A Flower that is told its names."""
    names = "flower, Flower.example.org"
    return Raw(make_shared_stack(flower_hosts=names).flower())


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LocalHost", "[::1]:{}", "127.0.0.2", "flower.example.org"])
def test_ones_own_page_and_programs_are_served(named: Raw, host: str) -> None:
    raw = named
    assert raw.status("GET", "/tasks", host=host) == 200
    assert raw.status("GET", "/tasks", "Sec-Fetch-Site: cross-site", host=host) == 200, "a link from elsewhere"
    for page in ("", "Sec-Fetch-Site: same-origin", f"Origin: http://{host}", f"Sec-Fetch-Site: same-origin\r\nOrigin: https://{host}"):
        # Flower knows no such worker.
        assert raw.status("POST", "/api/worker/shutdown/no-such-worker", page, host=host) == 404, page


def test_the_commands_for_flowers_api_that_the_page_shows_work(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.worker("jobs", "--autoscale=2,2")
    flower, job = stack.flower(), stack.hold()
    until(lambda: "jobs@test" in flower.get("/api/workers").text, "Flower to know the worker")
    lines = re.findall(r"^    (curl -u flower .*)$", (ROOT / "docs/flower.md").read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        command = line.replace("-u flower", f"-sS --fail-with-body -u {':'.join(FLOWER_LOGIN)}").replace(
            "http://127.0.0.1:5555", flower.url
        )
        command = command.replace("jobs@jobs-HOST", "jobs@test").replace("/JOB", f"/{job.job_id}")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    stack.until_status(job.job_id, JobStatus.CANCELLED)
    assert stack.inspect("stats")["autoscaler"]["max"] == 6
