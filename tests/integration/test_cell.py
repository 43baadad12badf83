"""To make a cell connects nothing, so that a process may fork with one in hand; and what the app makes of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pipeline_jobs.cell import Cell
from pipeline_jobs.job import NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.webhooks.endpoints import Endpoints
from pipeline_jobs.worker.app import create_celery
from tests.servers import Server
from tests.waiting import until

HOOK = "https://hooks.example/x"


def use(cell: Cell, tenant: str) -> None:
    """One thing with each part that has a connection, a lock, a thread or a file."""
    job = cell.client.submit(NewJob(pipeline="canary", tenant_id=tenant))
    with cell.events.follow(job.job_id, tenant) as follower:
        assert follower.next(60)
        cell.results(job.job_id).revoke()
        assert cell.results(job.job_id).until_ended(60).ended
        assert follower.next(60)
    cell.artifacts.write(b"x", f"{tenant}/main/{job.job_id}/1/x.txt")
    assert cell.artifacts.link(f"{tenant}/main/{job.job_id}/1/x.txt")
    assert cell.uploads.create(tenant, "main", 1).length == 1
    endpoints: Endpoints = cell.webhooks.endpoints
    assert endpoints.create(tenant, HOOK)[0].tenant_id == tenant
    assert not cell.keys.required()


def test_a_process_that_forks_with_one_uses_both_ends(cell: Settings) -> None:
    made, before = Cell.of(cell), set(threading.enumerate())
    assert not made.store.client.connection_pool._available_connections
    child = os.fork()
    if not child:
        # No test runs on in the child, whatever happens there.
        try:
            use(made, "child")
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    assert set(threading.enumerate()) <= before
    use(made, "parent")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    use(made, "parent")
    made.close()


def test_one_that_is_closed_has_no_connection_until_it_is_used_again(cell: Settings, server: Server) -> None:
    made = Cell.of(cell)
    with server.client() as other:

        def connected() -> set[str]:
            return {row["id"] for row in other.client_list()}

        before = connected()
        for _ in range(2):
            use(made, "acme")
            assert connected() - before
            made.close()
            # The server notices after a moment.
            until(lambda: not connected() - before, "the end of its connections")


@pytest.mark.parametrize("history", [False, True])
def test_beat_ticks_tasks_that_there_are(cell: Settings, tmp_path: Path, history: bool) -> None:
    app = create_celery(cell.model_copy(update={"history_url": f"sqlite:///{tmp_path}/history.db"} if history else {}))
    ticked = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert ticked == {f"pipeline_jobs.maintenance.{name}" for name in app.cell.duties if history or name != "history"}
    assert ticked <= set(app.tasks)
    app.cell.close()
    app.close()
