"""TTL cleanup among ten times as many jobs that it has no business with. In full: `tests/heavy`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.states import JobStatus
from tests.heavy.cleanup import Patterns, copies, run_cleanup
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences
from tests.servers import Server


@pytest.fixture
def own(tmp_path: Path, jobs: Cell) -> Iterator[Cell]:
    """A cell on a server whose AOF may be switched off and on."""
    server = Server(tmp_path / "own").start()
    cell = make_cell(jobs.settings.model_copy(update={"redis_url": server.url}))
    yield cell
    cell.store.close()
    server.stop()


def ended(cell: Cell) -> str:
    run = cell.running(tenant_id="acme")
    cell.slots(0)
    cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={"success": True, "data": {}})
    return run.job_id


def test_the_copies_are_as_the_real_ones(own: Cell) -> None:
    copies(own.store, ended(own), 0, 50, 0)
    assert len(own.store.client.zrange(own.store.keys("status", "completed"), 0, -1)) == 51
    assert differences(own.store) == []


def test_cleanup_takes_the_expired_leaves_all_others_and_holds_nobody_up(own: Cell, tmp_path: Path) -> None:
    artifacts = ArtifactStore((tmp_path / "artifacts").as_uri(), "http://x", lambda: "k")
    patterns = Patterns(ended(own), lambda: own.submit(tenant_id="acme").job_id)
    figures = run_cleanup(own.store, artifacts, patterns, expired=2_000, records=20_000, live=200)
    assert figures.wrong == []
    assert figures.meanwhile["n"] > 0
    assert differences(own.store) == []
