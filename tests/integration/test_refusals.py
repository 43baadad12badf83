"""Whatever the store says that it cannot do now, and to whichever command of a run: the job is not to blame, and completes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.pipelines import NoParams, Pipeline, Stage
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.connection import store_errors
from tests.commands import empty
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences
from tests.integration.test_executor import Bench
from tests.integration.test_faults import reading, uploaded
from tests.refusing import REFUSALS, Refusing
from tests.servers import Server


@pytest.fixture
def refusing(server: Server) -> Iterator[Refusing]:
    empty(server)
    proxy = Refusing(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def behind(refusing: Refusing, cell: Settings) -> Iterator[Cell]:
    made = make_cell(cell.model_copy(update={"redis_url": refusing.url}))
    yield made
    made.close()


@pytest.fixture
def bench(behind: Cell, tmp_path: Path) -> Bench:
    """A pipeline whose first stage asks the store for all that a stage can ask it for."""
    made = Bench(behind, tmp_path)
    upload = uploaded(made)

    def ask(context: JobContext) -> Mapping[str, Any]:
        (context.workdir / "a").write_bytes(b"kept")
        reading(upload)(context)
        context.spend(1)
        context.log.info("said")
        return {"parents": [parent.result for parent in context.parents.values()], "warnings": ["odd: Odd."]}

    first = Pipeline("first", (Stage("s", lambda context: {"n": 1}),), NoParams, needs_url=False)
    then = Pipeline("then", (Stage("ask", ask, version="1"), Stage("end", lambda context: None)), NoParams, needs_url=False)
    for pipeline in (first, then):
        made.registry.register(pipeline)
        behind.client.registry.register(pipeline)
    behind.slots(100)
    return made


def job_after_another(bench: Bench) -> Job:
    first = bench.cell.client.submit(NewJob(pipeline="first", tenant_id="acme"))
    bench.executor.run(first.job_id, bench.cell.client.get(first.job_id).fence, "w1")
    job = bench.cell.client.submit(NewJob(pipeline="then", tenant_id="acme", depends_on=(first.job_id,)))
    return bench.cell.client.get(job.job_id)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_command_is_no_fault_of_the_job(bench: Bench, refusing: Refusing, error: str, times: int) -> None:
    store, more = bench.cell.store, True
    for at in count():
        job = job_after_another(bench)
        refusing.refuse(at, error, times=times)
        bench.executor.run(job.job_id, job.fence, "w1")
        more = refusing.refused
        refusing.refuse(None)
        job = bench.cell.client.get(job.job_id)
        assert (job.crashes, job.handbacks, job.attempt, job.error) == (0, 0, 1, None), (at, job)
        if not job.ended:
            store.client.zadd(store.keys("delayed"), {job.job_id: 1})
            bench.cell.slots(100)
            bench.executor.run(job.job_id, bench.cell.client.get(job.job_id).fence, "w1")
            job = bench.cell.client.get(job.job_id)
        assert job.status is JobStatus.COMPLETED, (at, job)
        if not more:
            break
    assert at > 5
    assert differences(store) == []


@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("several", [1, 2])
def test_a_refused_command_is_a_store_that_is_away(behind: Cell, refusing: Refusing, error: str, several: int) -> None:
    """Behind all tries: one command alone, and several in a round trip."""
    store = behind.store
    refusing.refuse(0, error, times=100)
    alone = (lambda: store.client.register_script("return 1")()) if error == REFUSALS["NOSCRIPT"] else (lambda: store.wire.call("GET", "x"))
    ask = alone if several == 1 else (lambda: store._together([("EVALSHA", "0" * 40, 0)] * several))
    with pytest.raises(StoreUnavailable), store_errors():
        ask()
