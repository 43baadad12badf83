"""`PIPELINE_REDIS_URL=rediss://...`: the store, Celery's broker and its results on a server that speaks TLS alone, and nobody is believed
to be that server who cannot show it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.connection import connect, store_errors
from tests.integration.recount import differences
from tests.stack import FLOWER_LOGIN, ROOT, MakeStack
from tests.tls import Authority, TlsServer, tls_program
from tests.waiting import until


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    tls_program()
    server = TlsServer(tmp_path_factory.mktemp("tls"), Authority(tmp_path_factory.mktemp("tls") / "authority")).start()
    yield server
    server.stop()


def test_the_address_is_spelled_as_the_page_has_it(tls: TlsServer) -> None:
    spelled = re.search(r"PIPELINE_REDIS_URL='(rediss://\S+)'", (ROOT / "docs/high-availability.md").read_text("utf-8"))
    assert spelled

    def shape(url: str) -> tuple[str, bool, str, str]:
        split = urlsplit(url)
        return split.scheme, bool(split.password), split.path, split.query.partition("=")[0]

    assert shape(spelled[1]) == shape(tls.url)


def test_jobs_live_their_lives_over_tls(make_stack: MakeStack, tls: TlsServer, tmp_path: Path) -> None:
    stack = make_stack(redis_url=tls.url)
    stack.together(stack.maintenance, lambda: stack.worker("jobs", "-Q", "jobs,stages", "--autoscale=2,2"))
    api = stack.api()
    # Events by HTTP, the record by Celery's result, a result of Celery's own.
    answer = api.post("/pipeline/jobs", {"pipeline": "sleep", "params": {"seconds": 0.1, "echo": 7}}, headers={"Prefer": "wait=60"})
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert stack.app.AsyncResult(answer.json()["job_id"]).get(timeout=60)["data"]["echo"] == 7
    assert stack.app.send_task("celery.accumulate", (1, 2), queue="stages").get(timeout=60) == [1, 2]
    # A cancel by Celery's control, and a job that comes back from a killed worker.
    held, killed = stack.hold(), stack.hold()
    until(lambda: stack.running() == 2, "both to run")
    assert stack.control("revoke", held.job_id).returncode == 0
    assert stack.until_status(held.job_id, JobStatus.CANCELLED).cancel_requested
    assert stack.inspect("active")[0]["id"] == killed.job_id
    stack.tell(killed.job_id)
    stack.until_status(killed.job_id, JobStatus.COMPLETED)
    # What else asks the store or the broker.
    assert api.get("/health/ready").status_code == 200
    assert "pipeline_store_up 1.0" in stack.exporter().get("/metrics").text
    done = stack.celery("jobs", "backup", str(tmp_path / "store.rdb"))
    assert (done.returncode, (tmp_path / "store.rdb").read_bytes()[:5]) == (0, b"REDIS"), done.stderr
    assert differences(stack.client.store) == []


def test_workers_and_apis_come_back_with_the_server(make_stack: MakeStack, tls: TlsServer) -> None:
    stack = make_stack(redis_url=tls.url)
    stack.worker("jobs", "--autoscale=2,2")
    held = stack.hold()
    stack.until_status(held.job_id, JobStatus.RUNNING)
    tls.kill()
    tls.start()
    stack.tell(held.job_id)
    stack.until_status(held.job_id, JobStatus.COMPLETED)
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)


def test_flower_shows_the_queues_over_tls(make_stack: MakeStack, tls: TlsServer) -> None:
    flower = make_stack(redis_url=tls.url).flower()
    page = requests.get(f"{flower.url}/broker", auth=FLOWER_LOGIN, timeout=60)
    assert (page.status_code, "<td>jobs</td>" in page.text) == (200, True), page.text


def test_who_cannot_show_that_it_is_the_server_is_given_nothing(make_stack: MakeStack, tls: TlsServer, tmp_path: Path) -> None:
    """An authority that nobody named, another one, and no TLS at all: neither store nor broker nor results are on such a connection."""
    other = Authority(tmp_path / "other").file
    plain = tls.address.replace("rediss", "redis")
    for url in (tls.address, f"{tls.address}?ssl_ca_certs={other}", plain):
        stack = make_stack(redis_url=url)
        with pytest.raises(StoreUnavailable), store_errors():
            connect(url).ping()
        assert stack.app.cell.broker() == "the broker cannot be reached"
        with pytest.raises(StoreUnavailable), store_errors():
            stack.app.backend.client.ping()


def test_a_certificate_of_the_systems_authorities_needs_no_word(make_stack: MakeStack, tls: TlsServer, monkeypatch: Any) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority.file))
    stack = make_stack(redis_url=tls.address)
    stack.worker("jobs", SSL_CERT_FILE=str(tls.authority.file))
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)
    assert stack.app.cell.broker() is None
