"""PIPELINE_STORE_REPLICAS on a server that has a real replica: a job is accepted when both have it on their disks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.store import runner
from pipeline_jobs.web.app import create_app
from tests.integration.conftest import Cell, make_cell
from tests.servers import Server
from tests.waiting import until


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A master and its replica, which is in step."""
    # It does not wait for five seconds whether another replica comes.
    master, replica = (Server(tmp_path / name, repl_diskless_sync_delay="0") for name in ("master", "replica"))
    try:
        master.start()
        replica.start(replicaof=f"127.0.0.1 {master.port}")
        until(lambda: is_in_step(master), "the replica")
        yield master, replica
    finally:
        for server in (replica, master):
            server.stop()


@pytest.fixture
def replicated(servers: tuple[Server, Server], cell: Settings) -> Iterator[Cell]:
    made = make_cell(cell.model_copy(update={"redis_url": servers[0].url, "store_replicas": 1}))
    yield made
    made.cell.close()


def is_in_step(master: Server) -> bool:
    with master.client() as client:
        found = client.info("replication")
    return bool(found["connected_slaves"] and found["slave0"]["state"] == "online")


def ids_at(server: Server, like: Cell) -> set[str]:
    """The ids of the jobs that this server has."""
    prefix = like.store.keys("job", "")
    with server.client() as client:
        return {key.removeprefix(prefix) for key in client.scan_iter(f"{prefix}*")}


def test_a_job_is_accepted_when_the_replica_has_it(replicated: Cell, servers: tuple[Server, Server]) -> None:
    job = replicated.submit()
    servers[0].kill()
    assert ids_at(servers[1], replicated) == {job.job_id}


def test_without_the_replica_nothing_is_accepted_and_sent_again_it_is_the_same_job(
    replicated: Cell, servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DISK_MS", 50)
    master, replica = servers
    new = NewJob(pipeline="sleep")
    replica.pause()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="too few replicas"):
            replicated.client.submit(new, idempotency_key="k")
    (unanswered,) = ids_at(master, replicated)
    replica.resume()
    monkeypatch.setattr(runner, "DISK_MS", 30_000)
    assert replicated.client.submit(new, idempotency_key="k").job_id == unanswered
    assert ids_at(replica, replicated) == {unanswered}


def test_the_api_says_503_and_that_it_may_be_sent_again(
    replicated: Cell, servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DISK_MS", 50)
    asked = create_app(replicated.cell).test_client()
    headers = {"Idempotency-Key": "k"}
    servers[1].pause()
    refused = asked.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers=headers)
    assert (refused.status_code, refused.get_json()["code"], int(refused.headers["Retry-After"]) > 0) == (503, "store_unavailable", True)
    servers[1].resume()
    monkeypatch.setattr(runner, "DISK_MS", 30_000)
    accepted = asked.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers=headers)
    assert accepted.status_code in (200, 201)
    assert {accepted.get_json()["job_id"]} == ids_at(servers[0], replicated)
