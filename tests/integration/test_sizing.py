"""What docs/howto/sizing.md says that a job writes: bytes of a log do not depend on the machine."""

from __future__ import annotations

import re

import pytest

from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, make_cell
from tests.servers import Server
from tests.stack import ROOT

MANY = 300
#: How far a figure may be off, as a part of it: a field more in a record is no news, twice as much is.
OFF = 0.15


def said(what: str) -> int:
    row = re.search(rf"^\| {what} \| ([\d,]+) B \|", (ROOT / "docs/howto/sizing.md").read_text("utf-8"), re.MULTILINE)
    assert row
    return int(row[1].replace(",", ""))


def live(jobs: Cell) -> str:
    """A job's life. :return: its id."""
    job = jobs.running()
    jobs.store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={"success": True, "data": {"at": 1795531908.123456}})
    return job.job_id


def test_a_job_writes_as_much_as_the_page_says(cell: Settings, own: Server) -> None:
    jobs = make_cell(cell.model_copy(update={"redis_url": own.url}))
    with own.client() as client:

        def written() -> int:
            return int(client.info("persistence")["aof_current_size"])

        # Functions and the first of each kind are written once.
        ids = [live(jobs) for _ in range(50)]
        begin = written()
        ids += [live(jobs) for _ in range(MANY)]
        lived = written()
        for job_id in ids:
            jobs.client.delete(job_id)
        deleted = written()
    jobs.cell.close()
    assert (lived - begin) / MANY == pytest.approx(said("AOF that a job writes from its acceptance to its end"), rel=OFF)
    assert (deleted - lived) / len(ids) == pytest.approx(said("AOF that its deletion writes"), rel=OFF)
