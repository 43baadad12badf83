"""Jobs whose worker died go first (`lua/lib/fair.lua`, `next_lost`): at whose cost, for how long, and what becomes of their places."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import SCHEMA, Job, NewJob
from pipeline_jobs.jobs.queue_position import queue_position
from pipeline_jobs.pipelines import WorkerClass
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import Taker
from pipeline_jobs.store.store import ClaimRefused
from tests.commands import commands_of
from tests.integration.conftest import Cell
from tests.integration.lost_runs import dispatched, kill, started

OLD, NEW = "jobs@node/0a", "jobs@other/0b"


@pytest.fixture
def cell(jobs: Cell) -> Cell:
    return jobs.with_settings(max_concurrent_jobs=100, lease_seconds=60.0, announce_seconds=1000.0)


def ends(cell: Cell, run: Job) -> Job | None:
    """:return: what its process has next."""
    taker = Taker(NEW, "next", {"sleep": None})
    cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, taker=taker)
    return taker.job


def places(cell: Cell) -> list[str]:
    return list(cell.store.client.zrange(cell.store.keys("lost"), 0, -1))


def test_who_kills_its_workers_has_no_more_than_its_share(cell: Cell) -> None:
    """Only the first run of a job is refunded, down to the present, which is that tenant's own: else nobody else would ever be served."""
    cell.slots(1, "w0")
    evil, good = ([cell.submit(tenant_id=tenant) for _ in range(6)] for tenant in ("evil", "good"))
    turns = []
    for n in range(12):
        (job,) = dispatched(cell, [*evil, *good])
        turns.append(job.tenant_id)
        (run,) = started(cell, f"w{n}", [job])
        if job.tenant_id == "evil":
            kill(cell, f"w{n}", [run], lived_ms=100_000)
        else:
            ends(cell, run)
            cell.store.client.zadd(cell.store.keys("workers"), {f"w{n}": 1})
        cell.slots(1, f"w{n + 1}")
    assert turns.count("good") >= 4


@pytest.mark.parametrize("how", ["a process asks", "its hint is lost"])
def test_a_hint_that_was_taken_back_has_used_up_no_start_of_its_tenant(cell: Cell, how: str) -> None:
    """Its tenant may start a job an hour: else it would wait for an hour, and its first place would be gone."""
    cell.store.set_limits("a", {"start_rate": 1 / 3600})
    cell.slots(4, OLD)
    runs = started(cell, OLD, [cell.submit(tenant_id="a")])
    cell.store.client.hset(cell.store.keys("share", "a"), mapping={"tokens": 1, "tokens_at": int(time.time() * 1000)})
    kill(cell, OLD, runs)
    cell.slots(4, NEW)
    assert dispatched(cell, runs) == runs
    if how == "a process asks":
        ends(cell, *started(cell, NEW, [cell.submit(tenant_id="b")]))
    else:
        cell.let_leases_end()
        cell.store.rescue()
    shown = cell.client.get(runs[0].job_id)
    assert shown.status is JobStatus.RUNNING or shown.reason == "dispatched"


def test_a_token_that_is_given_back_brings_its_tenant_back(cell: Cell) -> None:
    """It may start a job an hour. The hint of the first is lost, while a second one waits for a token."""
    cell.store.set_limits("a", {"start_rate": 1 / 3600})
    cell.store.client.hset(cell.store.keys("share", "a"), mapping={"tokens": 1, "tokens_at": int(time.time() * 1000)})
    first, second = (cell.submit(tenant_id="a") for _ in range(2))
    cell.slots(4, OLD)
    assert (queue_position(cell.store, second.job_id) or {})["reason"] == "tenant_rate"
    cell.let_leases_end()
    cell.store.rescue()
    assert cell.client.get(first.job_id).reason == "dispatched"


def ahead(cell: Cell, tenant: str) -> None:
    """It has used very much before."""
    cell.store.client.hset(cell.store.keys("share", tenant), "time", 1e6)


def test_a_place_goes_with_its_job(cell: Cell) -> None:
    """Nobody knows their pipeline any more: if their places stayed, fifty of them would hide all later ones."""
    cell.client.registry.register(replace(SLEEP, name="nap"))
    both = WorkerClass.of(["nap", "sleep"])
    cell.store.announce(OLD, 60, [], kind=both)
    naps = started(cell, OLD, [cell.submit(tenant_id="a", pipeline="nap") for _ in range(50)])
    theirs = started(cell, OLD, [cell.submit(tenant_id="b")])
    ahead(cell, "b")
    kill(cell, OLD, [*naps, *theirs], kind=both)
    for nap in naps:
        cell.client.cancel(nap.job_id)
        cell.client.delete(nap.job_id)
    cell.submit(tenant_id="new")
    cell.store.announce(NEW, 1, [], kind=WorkerClass.of(["sleep"]))
    assert dispatched(cell, theirs) == theirs
    assert len(places(cell)) == 1


def test_an_id_that_is_used_again_has_no_place_of_the_job_before(cell: Cell) -> None:
    cell.slots(1, OLD)
    (run,) = started(cell, OLD, [cell.submit(tenant_id="a")])
    kill(cell, OLD, [run])
    cell.client.cancel(run.job_id)
    cell.client.delete(run.job_id)
    first = cell.submit(tenant_id="b")
    cell.store.submit(cell.client.prepare(NewJob(pipeline="sleep", tenant_id="c"), run.job_id))
    cell.slots(1, NEW)
    assert dispatched(cell, [first]) == [first]


def newer_run(cell: Cell, job: Job) -> Job:
    """A worker of a newer release starts a job of its own."""
    fence = cell.client.get(job.job_id).fence
    anything = [("*", "")]
    claimed = cell.store.run("claim", id=job.job_id, fence=fence, worker=OLD, run=OLD, run_ms=10**9, schema=SCHEMA + 1, pipelines=anything)
    assert claimed.record
    return cell.client.get(job.job_id)


@pytest.mark.parametrize("others", [["sleep"], ["sleep", "nap"]], ids=["a worker refuses it", "it is sent to none"])
def test_a_crashed_job_that_no_live_worker_knows_keeps_its_place_until_one_comes(cell: Cell, others: list[str]) -> None:
    newer = WorkerClass.of(["sleep"], SCHEMA + 1)
    cell.store.announce(OLD, 1, [], kind=newer)
    run = newer_run(cell, cell.store.submit(cell.client.prepare(NewJob(pipeline="sleep", tenant_id="a")).evolve(schema=SCHEMA + 1)).job)
    ahead(cell, "a")
    kill(cell, OLD, [run], kind=newer)
    # Workers of the release before, one of each class, have one slot for this pipeline.
    for pipeline in reversed(others):
        cell.store.announce(f"{NEW}{pipeline}", 1, [], kind=WorkerClass.of([pipeline]))
    if len(others) == 1:
        fence = cell.client.get(run.job_id).fence
        assert cell.store.claim(run.job_id, fence, worker=f"{NEW}sleep", run=NEW) == ClaimRefused("schema")
    assert cell.client.get(run.job_id).reason == "retry"
    crowd = [cell.submit(tenant_id="crowd") for _ in range(3)]
    started(cell, f"{NEW}sleep", crowd[:1])
    cell.store.client.zadd(cell.store.keys("delayed"), {run.job_id: 1})
    cell.store.announce("third", 1, [], kind=newer)
    assert [job.job_id for job in dispatched(cell, [run, *crowd])] == [run.job_id]


def test_a_place_that_the_release_before_left_where_it_was_is_kept_while_its_job_has_a_hint(cell: Cell) -> None:
    """Else the job would wait for its turn when that hint is lost."""
    cell.slots(1, OLD)
    runs = started(cell, OLD, [cell.submit(tenant_id="a")])
    kill(cell, OLD, runs)
    ahead(cell, "a")
    cell.slots(1, NEW)
    assert dispatched(cell, runs) == runs
    (place,) = places(cell)
    cell.store.client.zadd(cell.store.keys("lost"), {place: runs[0].order})
    cell.slots(2, NEW)
    assert places(cell) == [place]
    for tenant in ("b", "new"):
        cell.submit(tenant_id=tenant)
    cell.let_leases_end()
    cell.store.rescue()
    assert dispatched(cell, runs) == runs


def test_many_crashed_jobs_of_one_tenant_hide_none_of_another(cell: Cell) -> None:
    """Where the last slot is for others, and sixty jobs before it are those of a tenant that may not have it."""
    cell.slots(70, OLD)
    runs = started(cell, OLD, [cell.submit(tenant_id=tenant) for tenant in ["a"] * 60 + ["b"]])
    ahead(cell, "b")
    kill(cell, OLD, runs)
    cell.submit(tenant_id="new")
    cell.slots(5, NEW)
    assert dispatched(cell, runs[60:]) == runs[60:]


def test_after_the_loss_of_all_workers_no_slot_stays_free_while_a_crashed_job_waits(cell: Cell) -> None:
    """Those that have a hint by now are not read again for each that has none: the work would grow with the square."""
    cell.slots(60, OLD)
    runs = started(cell, OLD, [cell.submit(tenant_id=f"t{n % 7}") for n in range(60)])
    kill(cell, OLD, runs)
    given = commands_of(cell.store.client, lambda: cell.slots(60, NEW))
    assert len(dispatched(cell, runs)) == 60
    assert given["hmget"] < 500


def test_a_process_finds_the_crashed_job_that_it_may_run_behind_ten_that_it_may_not(cell: Cell) -> None:
    cell.slots(20, OLD)
    own = '{"id":"@ID@","own":1}'
    jobs = [cell.store.submit(cell.client.prepare(NewJob(pipeline="sleep", tenant_id="a")), message=own).job for _ in range(10)]
    runs = started(cell, OLD, [*jobs, cell.submit(tenant_id="b")])
    (other,) = started(cell, NEW, [cell.submit(tenant_id="b")])
    cell.slots(12, NEW)
    kill(cell, OLD, runs)
    assert dispatched(cell, runs[10:]) == runs[10:]
    cell.submit(tenant_id="new")
    taken = ends(cell, other)
    assert taken is not None
    assert taken.job_id == runs[10].job_id


@pytest.mark.parametrize("why", ["it was paused", "its pipeline was full"])
def test_nothing_that_waits_names_a_tenant_that_is_forgotten(cell: Cell, why: str) -> None:
    cell.slots(1, OLD)
    if why == "it was paused":
        cell.store.set_limits("gone", {"paused": True})
    else:
        cell.store.set_pipeline_cap("sleep", 0)
    job = cell.submit(tenant_id="gone")
    cell.client.cancel(job.job_id)
    cell.client.delete(job.job_id)
    cell.store.forget_tenant("gone")
    cell.store.rescue()
    client, keys = cell.store.client, cell.store.keys
    assert "gone" not in client.smembers(keys("waiting"))
    assert client.zrange(keys("blocked", "sleep"), 0, -1) == []


def test_a_process_whose_worker_is_not_there_any_more_takes_no_hint_from_another(cell: Cell) -> None:
    """Its next job would be refused: the hint would go out once more, for nothing."""
    cell.slots(1, OLD)
    runs = started(cell, OLD, [cell.submit(tenant_id="a")])
    cell.slots(1, NEW)
    (other,) = started(cell, NEW, [cell.submit(tenant_id="b")])
    kill(cell, OLD, runs)
    cell.slots(2, "third")
    (before,) = dispatched(cell, [cell.client.get(runs[0].job_id)])
    cell.store.client.zadd(cell.store.keys("workers"), {NEW: 1})
    assert ends(cell, other) is None
    assert cell.client.get(before.job_id).fence == before.fence
