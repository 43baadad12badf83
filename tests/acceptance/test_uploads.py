"""Uploads over real processes: what breaks off goes on, an API that is killed loses nothing, and a job reads one without the network."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import struct
from pathlib import Path

import requests

from pipeline_jobs.states import JobStatus
from tests.stack import ROOT, Api, MakeStack, Stack, free_port
from tests.waiting import until

TYPE = "application/offset+octet-stream"
CLIP = (ROOT / "samples" / "harbor.mp4").read_bytes()


def begin(api: Api, length: int, **scope: str) -> str:
    made = requests.post(f"{api.url}/pipeline/uploads", params=scope, headers={"Upload-Length": str(length)}, timeout=60)
    assert made.status_code == 201, made.text
    return made.headers["Location"]


def offset_of(api: Api, path: str) -> int:
    return int(requests.head(api.url + path, timeout=60).headers["Upload-Offset"])


def append(api: Api, path: str, offset: int, data: bytes) -> requests.Response:
    headers = {"Upload-Offset": str(offset), "Content-Type": TYPE}
    return requests.patch(api.url + path, data=data, headers=headers, timeout=60)


def half_a_request(api: Api, path: str, offset: int, data: bytes, announced: int) -> socket.socket:
    """A PATCH that has sent only this much of what it announced; the connection is open."""
    host, port = api.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: {host}\r\nUpload-Offset: {offset}\r\nContent-Type: {TYPE}\r\nContent-Length: {announced}\r\n\r\n"
    )
    connection.sendall(head.encode() + data)
    return connection


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stored(stack: Stack, path: str) -> bytes:
    """All bytes of an upload, in the order of its parts."""
    root = Path(stack.settings.artifacts_root.removeprefix("file://"))
    return b"".join(part.read_bytes() for part in sorted(root.rglob(f"upload-{path.rpartition('/')[2]}/*-*-*")))


def test_an_upload_that_breaks_off_again_and_again_is_whole_in_the_end(stack: Stack, api: Api) -> None:
    chance = random.Random(7)
    data = chance.randbytes(9_000_000)
    path = begin(api, len(data))
    breaks = 0
    while (offset := offset_of(api, path)) < len(data):
        if breaks < 8:
            breaks += 1
            sent = data[offset : offset + chance.randrange(1, 1_500_000)]
            connection = half_a_request(api, path, offset, sent, len(data) - offset)
            (reset if breaks % 2 else socket.socket.close)(connection)
        else:
            answer = append(api, path, offset, data[offset : offset + 2_000_000])
            # 423: the server has not yet seen that the last one broke off. 409: it counted more of it since we asked.
            assert answer.status_code in (204, 409, 423), answer.text
    assert hashlib.sha256(stored(stack, path)).digest() == hashlib.sha256(data).digest()


def _record(stack: Stack, path: str) -> str:
    return stack.client.store.keys("upload", path.rpartition("/")[2])


def test_a_second_writer_is_locked_out_while_the_first_sends(stack: Stack, api: Api) -> None:
    path = begin(api, 10)
    first = half_a_request(api, path, 0, b"hello", 10)
    until(lambda: stack.client.store.client.hget(_record(stack, path), "token"), "the first writer")
    second = append(api, path, 0, b"x" * 10)
    assert (second.status_code, second.json()["code"]) == (423, "upload_locked")
    first.sendall(b"world")
    assert b" 204 " in first.recv(1000)
    first.close()
    assert stored(stack, path) == b"helloworld"


def test_an_api_that_is_killed_while_it_receives_loses_nothing_that_it_answered(make_stack: MakeStack) -> None:
    stack = make_stack()
    port = free_port()
    api = stack.api(port)
    data = random.Random(8).randbytes(12_000_000)
    path = begin(api, len(data))
    connection = half_a_request(api, path, 0, data[:10_000_000], len(data))
    until(lambda: offset_of(api, path) > 0, "a part to count")
    process = stack.api_process
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    connection.close()
    api = stack.api(port)
    # The dead writer's lock ends by itself, after a minute; the test does not wait for it.
    stack.client.store.client.hset(_record(stack, path), "lock_until", 1)
    offset = offset_of(api, path)
    assert 0 < offset <= 10_000_000
    assert append(api, path, offset, data[offset:]).status_code == 204
    upload_id = path.rpartition("/")[2]
    size, parts = stack.app.cell.uploads.open("default", "main", upload_id)
    assert (size, b"".join(parts)) == (len(data), data)


def test_a_job_takes_an_upload_and_the_upload_outlives_its_ttl_while_the_job_lives(make_stack: MakeStack) -> None:
    stack = make_stack(allow_private_urls=False, upload_ttl_seconds=1.0)
    api = stack.api()
    sent = requests.post(
        f"{api.url}/pipeline/uploads?tenant_id=acme",
        data=CLIP,
        headers={"Content-Type": TYPE, "Upload-Metadata": "filename YS5tcDQ="},
        timeout=60,
    ).json()
    assert sent["complete"]
    job = api.post("/pipeline/jobs", {"url": sent["url"], "quality": "144p", "tenant_id": "acme"})
    assert job.status_code == 201, job.text
    stack.maintenance()
    # It waits longer than the upload's time: a sweep looks at it, and it stays.
    until(
        lambda: stack.client.store.client.zscore(stack.client.store.keys("uploads"), sent["upload_id"]) > sent_expiry(stack, sent) + 30_000,
        "a sweep",
    )
    stack.worker("jobs", "--autoscale=2,1")
    ended = stack.until_status(job.json()["job_id"], JobStatus.COMPLETED, JobStatus.FAILED, seconds=120)
    assert ended.status is JobStatus.COMPLETED, ended.error
    assert "harbor" in ended.result["data"]["transcript"].lower()
    assert stored(stack, sent["upload_id"]) == CLIP
    stack.client.store.client.zadd(stack.client.store.keys("uploads"), {sent["upload_id"]: 1})
    until(lambda: requests.head(f"{api.url}/pipeline/uploads/{sent['upload_id']}", timeout=60).status_code == 404, "the sweep")
    until(lambda: stored(stack, sent["upload_id"]) == b"", "its files to go")


def sent_expiry(stack: Stack, sent: dict[str, object]) -> int:
    return int(stack.client.store.client.hget(stack.client.store.keys("upload", str(sent["upload_id"])), "expires_at"))


def test_what_was_uploaded_and_is_no_media_fails_with_its_own_code(stack: Stack, api: Api) -> None:
    stack.worker("jobs", "--autoscale=2,1")
    expected = {b"#EXTM3U\nhttp://127.0.0.1/x\n": "not_media", b"hello": "not_media", CLIP[:60_000]: "media_damaged", b"": "source_empty"}
    for data, code in expected.items():
        path = begin(api, len(data))
        if data:
            assert append(api, path, 0, data).status_code == 204
        job = api.post("/pipeline/jobs", {"url": f"upload://{path.rpartition('/')[2]}", "max_attempts": 1}).json()
        ended = stack.until_status(job["job_id"], JobStatus.FAILED, JobStatus.COMPLETED, seconds=60)
        assert ended.error_detail is not None
        assert ended.error_detail["code"] == code
