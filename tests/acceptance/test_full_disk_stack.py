"""A disk that is full under everything at once, as `make run` has it on one: the server's log, uploads, working folders, logs; and the
server's memory full as well. Then space again: nothing that was accepted is lost, and all comes back by itself. Often: `tests/heavy`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
import requests

from pipeline_jobs.settings import Settings
from pipeline_jobs.up import readiness, stack, supervisor
from pipeline_jobs.up.supervisor import Child, Supervisor
from pipeline_jobs.web.http.tus import CONTENT_TYPE
from tests.acceptance.conftest import QUICK, SHORT_LEASE
from tests.chaos.small_disk import RESERVE_BYTES, SmallDisk
from tests.stack import ROOT, environment, free_port
from tests.waiting import until

PARTS = ("store", "broker", "workers", "beat", "disk")
#: What the server may have.
MEMORY_BYTES = 32 << 20
UPLOAD = bytes(range(256)) * 800
#: What a client may be told meanwhile; 0: the connection broke off.
SAID = {201, 204, 0, 503, 507}


class Local:
    """What `make run` starts, without Flower, and a client of it."""

    def __init__(self, settings: Settings, disk: SmallDisk) -> None:
        self.url = f"http://127.0.0.1:{settings.http_port}"
        self.supervisor = Supervisor(disk.path / "logs", ROOT, environment(settings))
        server = stack.server(settings)
        # What is said last counts.
        server = replace(server, argv=(*server.argv, "--maxmemory", str(MEMORY_BYTES)))
        for command in (server, *stack.processes(settings)):
            if command.name != "flower":
                self.supervisor.start(command)
        self.store = redis.Redis.from_url(settings.redis_url)
        self.accepted: list[str] = []
        self.answers: Counter[int] = Counter()

    def goes_on(self) -> bool:
        """What `make run` does twice a second."""
        self.supervisor.ended()
        self.supervisor.revive()
        return True

    def is_ready(self) -> bool:
        return self.goes_on() and readiness.parts_ok(f"{self.url}/health/ready", PARTS)() is None

    def ask(self, method: str, path: str, **request: object) -> requests.Response | None:
        self.goes_on()
        try:
            answer = requests.request(method, self.url + path, timeout=60, **request)  # type: ignore[arg-type]
        except requests.RequestException:
            self.answers[0] += 1
            return None
        self.answers[answer.status_code] += 1
        return answer

    def submit(self, seconds: float = 0) -> bool:
        """True if it was accepted."""
        answer = self.ask("POST", "/pipeline/jobs", json={"pipeline": "sleep", "params": {"seconds": seconds}})
        if answer is None or answer.status_code != 201:
            return False
        self.accepted.append(answer.json()["job_id"])
        return True

    def fill_memory(self) -> None:
        """All of it, and next to nothing of the disk: the log has the length only."""
        self.store.execute_command("SETRANGE", "filler", MEMORY_BYTES, "x")

    def empty_memory(self) -> bool:
        """Whether the server could be told."""
        self.goes_on()
        try:
            return bool(self.store.delete("filler"))
        except redis.RedisError:
            return False

    def patch(self, path: str, begin: int, end: int) -> bool:
        headers = {"Content-Type": CONTENT_TYPE, "Upload-Offset": str(begin)}
        answer = self.ask("PATCH", path, data=UPLOAD[begin:end], headers=headers)
        return answer is not None and answer.status_code == 204

    def has_completed(self, job_id: str) -> bool:
        answer = self.ask("GET", f"/pipeline/jobs/{job_id}")
        return answer is not None and answer.status_code == 200 and answer.json()["status"] == "completed"

    @property
    def server(self) -> Child:
        return next(child for child in self.supervisor.children if child.name == "server")


@pytest.fixture
def local(cell: Settings, disk: SmallDisk) -> Iterator[Local]:
    port = free_port()
    changes = {
        **QUICK, **SHORT_LEASE,
        "data_dir": disk.path, "redis_url": f"redis://127.0.0.1:{port}/0", "redis_port": port, "http_port": free_port(),
        "http_workers": 1, "max_concurrent_jobs": 2, "disk_reserve_bytes": RESERVE_BYTES,
    }  # fmt: skip
    made = Local(cell.model_copy(update=changes), disk)
    yield made
    made.store.close()
    made.supervisor.stop()


def full_and_space_again(local: Local, disk: SmallDisk, *, memory: bool, wait: float = 0) -> None:
    """Once, with jobs that run and an upload that has begun.

    :param memory: the server's memory is full as well.
    :param wait: for so many seconds it still is when the disk has room again.
    """
    begun = local.ask("POST", "/pipeline/uploads", headers={"Upload-Length": str(len(UPLOAD))})
    assert begun is not None
    path = begun.headers["Location"].removeprefix(local.url)
    half, ends = len(UPLOAD) // 2, local.server.ends
    assert local.patch(path, 0, half)
    assert all(local.submit(seconds=3) for _ in range(4))
    if memory:
        local.fill_memory()
        assert not local.submit()
    disk.fill()
    until(lambda: (local.submit() or True) and local.server.ends >= ends + 2, "the server to end twice", 120)
    assert not local.patch(path, half, len(UPLOAD))
    assert not local.is_ready()
    disk.empty()
    later = time.monotonic() + wait
    if memory:
        until(lambda: local.goes_on() and time.monotonic() >= later, "the memory to be full for a while", 120)
        until(local.empty_memory, "the memory to be empty")
    space = time.monotonic()
    until(local.submit, "a job to be accepted")
    print(f"a job was accepted {time.monotonic() - space:.1f} s after there was space")
    until(local.is_ready, "the stack to be ready")
    print(f"all was ready {time.monotonic() - space:.1f} s after there was space; {len(local.accepted)} accepted; {dict(local.answers)}")
    for job_id in local.accepted:
        until(lambda job_id=job_id: local.has_completed(job_id), f"{job_id} to be completed")
    assert local.patch(path, half, len(UPLOAD))
    ended = local.ask("GET", path)
    assert ended is not None
    assert ended.json()["complete"]
    assert set(local.answers) - {200} <= SAID


def test_full_and_with_space_again_nothing_is_lost_and_all_comes_back_by_itself(
    local: Local, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before what has ended is started again; the pauses of `make run` are longer.
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.1)
    until(local.is_ready, "the stack")
    full_and_space_again(local, disk, memory=False)
    full_and_space_again(local, disk, memory=True)
