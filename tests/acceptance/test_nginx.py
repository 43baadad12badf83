"""`docker/nginx.conf` in a real nginx before a real API. On CI its absence is a failure: `.ci/run` installs it."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from pipeline_jobs.access.api_keys import KeyStore, Role
from tests.stack import MakeStack, Stack, free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "docker" / "nginx.conf"


def nginx() -> str:
    """The program."""
    if found := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"):
        return found
    if os.environ.get("CI"):
        pytest.fail("nginx is not installed; .ci/run should have installed it")
    warnings.warn("docker/nginx.conf was NOT tested: nginx is not installed (Debian: apt install nginx-light)", stacklevel=1)
    pytest.skip("nginx is not installed (Debian: apt install nginx-light)")


@dataclass(slots=True)
class Front:
    """nginx before the API; `url` is nginx's, `behind` the API's, `key` one of a tenant's, and `log` what nginx writes by default."""

    url: str
    behind: str
    key: str
    stack: Stack
    log: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Host": "api.example.com"}

    def connect(self) -> socket.socket:
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=60)


def own(text: str, port: int, api: str) -> str:
    """The file with this machine's ports and without TLS, and nothing else changed; each edit must find its line."""
    for old, new in (
        (r"server 127\.0\.0\.1:8000;", f"server {api};"),
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        (r"\n *listen \[::\]:443 ssl;", ""),
        (r"\n *ssl_certificate [^;]*;", ""),
        (r"\n *ssl_certificate_key [^;]*;", ""),
        (r"client_header_timeout 15s;", "client_header_timeout 1s;"),
    ):
        text, times = re.subn(old, new, text)
        assert times == 1, old
    return text


@pytest.fixture
def front(make_stack: MakeStack, tmp_path: Path) -> Iterator[Front]:
    program = nginx()
    stack = make_stack(trusted_proxies=1, public_url="https://api.example.com", require_keys=True)
    behind = stack.api().url
    _, key = KeyStore(stack.client.store).create("acme", Role.SUBMIT, actor="test")
    port = free_port()
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off;\npid {tmp_path}/nginx.pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log {tmp_path}/access.log;\n{temporary}{own(CONF.read_text('utf-8'), port, behind.removeprefix('http://'))}}}\n"
    )
    with subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf"), "-e", f"{tmp_path}/error.log"]) as process:
        found = Front(f"http://127.0.0.1:{port}", behind, key, stack, tmp_path / "access.log")
        try:
            until(lambda: _answers(found), "nginx")
            yield found
        finally:
            process.terminate()


def _answers(front: Front) -> bool:
    try:
        return requests.get(f"{front.url}/health/live", headers=front.headers, timeout=60).ok
    except requests.RequestException:
        return False


def test_jobs_uploads_and_events_go_through(front: Front) -> None:
    job = requests.post(f"{front.url}/pipeline/jobs", json={"pipeline": "sleep"}, headers=front.headers, timeout=60).json()
    assert job["tenant_id"] == "acme"
    upload = requests.post(
        f"{front.url}/pipeline/uploads",
        data=b"x" * (3 * 2**20),
        headers={**front.headers, "Content-Type": "application/offset+octet-stream"},
        timeout=60,
    )
    assert (upload.status_code, upload.json()["offset"]) == (201, 3 * 2**20)
    # The page's script sends parts of 4 MiB.
    page = {**front.headers, "Origin": "https://api.example.com", "Tus-Resumable": "1.0.0"}
    files, part = f"{front.url}/pipeline/ui/uploads", b"x" * (4 * 2**20)
    made = requests.post(files, headers={**page, "Upload-Length": str(len(part))}, timeout=60).json()
    sent = requests.patch(
        f"{files}/{made['upload_id']}",
        data=part,
        headers={**page, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        timeout=60,
    )
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, str(len(part)))
    path = f"{front.url}/pipeline/jobs/{job['job_id']}/events"
    with requests.get(path, headers={**front.headers, "Accept": "text/event-stream"}, stream=True, timeout=60) as stream:
        assert any(b"job.created" in line for line in stream.iter_lines())
    shake = {**front.headers, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="}
    assert requests.get(path.replace("/events", "/ws"), headers={**shake, "Sec-WebSocket-Version": "1"}, timeout=60).status_code == 400


def test_a_client_is_told_by_its_address_and_cannot_choose_it(front: Front) -> None:
    """Wrong keys of one who writes X-Forwarded-For itself count for the address that nginx saw."""
    client = http.client.HTTPConnection(front.url.removeprefix("http://"), timeout=60, source_address=("127.0.0.5", 0))
    statuses = set()
    for number in range(30):
        wrong = {"Authorization": f"Bearer pjk_00000000000000ff_{'x' * 43}", "X-Forwarded-For": f"192.0.2.{number}"}
        client.request("GET", "/pipeline/jobs", headers={**front.headers, **wrong})
        answer = client.getresponse()
        answer.read()
        statuses.add(answer.status)
    client.close()
    assert statuses == {401, 429}
    assert requests.get(f"{front.url}/pipeline/jobs", headers=front.headers, timeout=60).status_code == 200
    assert "address=127.0.0.5" in re.sub(r"\x1b\[[0-9;]*m", "", front.stack.log("api"))


def test_tokens_in_addresses_are_not_written_down(front: Front) -> None:
    assert requests.get(f"{front.url}/pipeline/ui/shared?token=secret", headers=front.headers, timeout=60).status_code == 404
    assert not front.log.exists() or "secret" not in front.log.read_text("utf-8")


def test_operators_paths_are_not_there(front: Front) -> None:
    for path in ("/metrics", "/health/ready", "/health/installation"):
        assert requests.get(front.url + path, headers=front.headers, timeout=60).status_code == 404
        assert requests.get(front.behind + path, timeout=60).status_code in (200, 401, 503)


def test_slow_heads_end_at_nginx_and_connections_of_an_address_are_counted(front: Front) -> None:
    with front.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: api.exa")
        assert slow.recv(100) in (b"", b"HTTP/1.1 408") or b"408" in slow.recv(100)
    held = [front.connect() for _ in range(120)]
    statuses = []
    for connection in held:
        connection.sendall(b"GET /pipeline/events HTTP/1.1\r\nHost: api.example.com\r\nAccept: text/event-stream\r\n")
        connection.sendall(b"Authorization: Bearer " + front.key.encode() + b"\r\n\r\n")
    for connection in held:
        statuses.append(connection.recv(12)[9:12])
        connection.close()
    assert b"429" in statuses
    assert b"200" in statuses
    until(lambda: _answers(front), "room for another connection")
