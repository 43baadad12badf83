"""Two APIs behind nginx, as in docker/compose.yaml: one after the other is restarted, and no client notices."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from pipeline_jobs.access.api_keys import KeyStore, Role
from tests.acceptance.test_nginx import nginx
from tests.stack import Api, MakeStack, Stack, free_port
from tests.waiting import until

CONF = Path(__file__).resolve().parents[2] / "docker" / "nginx-compose.conf"
SLEEP = {"pipeline": "sleep"}
#: `ROLLING_RESTARTS=20` counts more of them.
RESTARTS = int(os.environ.get("ROLLING_RESTARTS", "2"))


def own(text: str, port: int, apis: list[int], folder: Path) -> str:
    """The file with this machine's ports and folders; each edit must find its line. What one client may send is not asked here."""
    text = text.replace("/tmp/", f"{folder}/")
    for old, new in (
        (r"server api-1:8000 ", f"server 127.0.0.1:{apis[0]} "),
        (r"server api-2:8000 ", f"server 127.0.0.1:{apis[1]} "),
        (r"listen 8080;", f"listen 127.0.0.1:{port};"),
        (r"rate=100r/s", "rate=10000r/s"),
        (r"error_log stderr warn;", f"error_log {folder}/error.log info;\ndaemon off;"),
    ):
        text, times = re.subn(old, new, text)
        assert times == 1, old
    return text


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack(trusted_proxies=1, require_keys=True, max_queued_per_tenant=100_000)


@pytest.fixture
def apis(stack: Stack) -> list[int]:
    """Their ports."""
    ports = [free_port(), free_port()]
    for number, port in enumerate(ports):
        stack.api(port, name=f"api{number}", processes=2)
    return ports


@pytest.fixture
def front(apis: list[int], tmp_path: Path) -> Iterator[Api]:
    port = free_port()
    (tmp_path / "nginx.conf").write_text(own(CONF.read_text("utf-8"), port, apis, tmp_path))
    with subprocess.Popen([nginx(), "-c", str(tmp_path / "nginx.conf"), "-e", f"{tmp_path}/error.log"]) as process:
        found = Api(f"http://127.0.0.1:{port}")
        try:
            until(found.alive, "nginx")
            yield found
        finally:
            process.terminate()


def test_no_request_fails_while_the_apis_are_restarted(stack: Stack, apis: list[int], front: Api, tmp_path: Path) -> None:
    """Each request on a connection of its own, without an Idempotency-Key: nginx must send none twice."""
    stop, codes = threading.Event(), Counter[str]()
    masters = stack._processes[-2:]
    _, key = KeyStore(stack.client.store).create("acme", Role.SUBMIT, actor="test")
    headers = {"Authorization": f"Bearer {key}"}

    def work(ask: Callable[[], requests.Response]) -> None:
        while not stop.is_set():
            try:
                codes[str(ask().status_code)] += 1
            except requests.RequestException as error:
                codes[type(error).__name__] += 1

    asks = (
        lambda: front.get("/pipeline/jobs?limit=1", headers=headers),
        *[lambda: front.post("/pipeline/jobs", SLEEP, headers=headers)] * 3,
    )
    threads = [threading.Thread(target=work, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    try:
        for number in range(RESTARTS):
            api = number % 2
            before = codes.total()
            until(lambda before=before: codes.total() > before + 50, "requests")
            masters[api].terminate()
            masters[api].wait(90)
            stack.api(apis[api], name=f"api{api}", processes=2)
            masters[api] = stack._processes[-1]
            print(f"restart {number + 1}: {dict(codes)}", flush=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"\n{RESTARTS} restarts behind nginx: {dict(codes)}")
    assert set(codes) == {"200", "201"}, (tmp_path / "error.log").read_text()[-2000:]


def test_a_request_that_waits_for_its_job_is_answered_when_its_api_stops(make_stack: MakeStack) -> None:
    """It would wait for longer than this client has patience: nobody runs the job."""
    stack = make_stack(run_timeout_seconds=3600.0)
    api = stack.api()
    answers: list[requests.Response] = []
    body, headers = {"pipeline": "sleep"}, {"Prefer": "wait=3600"}
    asked = threading.Thread(target=lambda: answers.append(api.post("/pipeline/jobs", body, headers=headers)))
    asked.start()
    until(lambda: api.get("/pipeline/jobs").json()["jobs"], "the job")
    (job,) = api.get("/pipeline/jobs").json()["jobs"]
    again = threading.Thread(target=lambda: answers.append(api.get(f"/pipeline/jobs/{job['job_id']}", headers=headers)))
    again.start()
    channel = f"{stack.settings.celery_prefix}celery-task-meta-{job['job_id']}"
    asks = stack.client.store.client.execute_command
    until(lambda: int(asks("PUBSUB", "NUMSUB", channel)[1]) == 2, "both to wait")
    stack._processes[-1].terminate()
    for thread in (asked, again):
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 201]
    assert {(answer.json()["job_id"], answer.json()["status"]) for answer in answers} == {(job["job_id"], "queued")}
