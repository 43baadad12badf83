"""What a job costs, in what can be counted: the server's commands of a submit and of a finish that hands over the next job, and the calls
of Python functions of a submit. Each command is some microseconds of the one processor that all jobs share; who adds one says so here."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import guard
from pipeline_jobs.store.idempotency import forms_of_job
from pipeline_jobs.store.runs import Taker
from tests.commands import commands_of
from tests.integration.conftest import Cell
from tests.servers import Server


def commands(cell: Cell, call: Callable[[], object]) -> Counter[str]:
    """How often the server runs each command for this call, its scripts' commands with it; no calls of scripts."""
    of = commands_of(cell.store.client, call)
    for script in ("fcall", "evalsha"):
        del of[script]
    return of


def calls(call: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's."""
    counted = 0

    def count(_frame: Any, event: str, _: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return counted


@pytest.fixture
def neighbour(server: Server) -> Iterator[redis.Redis]:
    """A client that an earlier test has left."""
    with server.client() as client:
        client.ping()
        yield client


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at the server's memory; in a tenth of a second would be the next."""
    monkeypatch.setattr(guard, "MEMORY_SECONDS", 1e9)


def test_what_an_earlier_tests_client_does_meanwhile_is_not_counted(neighbour: redis.Redis, jobs: Cell) -> None:
    def both() -> None:
        neighbour.hgetall("x")
        jobs.store.client.eval("return redis.call('hgetall', KEYS[1])", 1, "x")
        neighbour.eval("return redis.call('hgetall', KEYS[1])", 1, "x")

    assert commands_of(jobs.store.client, both) == {"eval": 1, "hgetall": 1}


def charged(cell: Cell, run: Job, *, rightly: bool) -> Job:
    """A run that began just now and was charged for the least time, or that was charged for a minute."""
    changed = {"started_at": 9_000_000_000_000, "charged": 5} if rightly else {"charged": 60_000}
    cell.store.client.hset(cell.store.keys("job", run.job_id), mapping=changed)
    return run


def handed_over(cell: Cell, tenants: tuple[str, str], *, rightly: bool = False) -> Counter[str]:
    """The commands of a finish of the first tenant's job, which hands over the second one's, with more behind it."""
    cell.slots(1)
    first = charged(cell, cell.start(cell.submit(tenant_id=tenants[0]).job_id, run="r1"), rightly=rightly)
    waiting = [cell.submit(tenant_id=tenants[1]).job_id for _ in range(3)]
    taker = Taker("w1", "r2", {"sleep": None})
    told = (100.0, "sleep", None, ())
    of = commands(cell, lambda: cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={"a": 1}, last=told, taker=taker))
    assert taker.job is not None
    assert taker.job.job_id == waiting[0]
    return of


def test_a_finish_that_hands_over_the_next_job_of_the_same_tenant(jobs: Cell) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=100, announce_seconds=1000.0)
    handed_over(cell, ("acme", "acme"))
    cell.store.client.flushall()
    of = handed_over(cell, ("acme", "acme"))
    # It never has a hint; the record of each is read once; whoever listens is told of each of the two jobs once.
    assert (of["hgetall"], of["publish"], of["lpush"]) == (2, 3, 0)
    assert of.total() == 68, of


def test_a_finish_of_a_run_that_took_what_it_was_charged(jobs: Cell) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=100, announce_seconds=1000.0)
    of = handed_over(cell, ("acme", "acme"), rightly=True)
    # Only the start of the next job moves a clock, and a place in the ring.
    assert (of["exists"], of["zscore"]) == (1, 0), of
    assert of.total() == 65, of


def test_a_finish_that_hands_over_the_next_job_of_a_tenant_without_series_of_its_own(jobs: Cell) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=100, announce_seconds=1000.0, metrics_tenants=2)
    # These two have the series, and are who had a job last.
    for tenant in ("one", "two"):
        cell.slots(1)
        run = cell.start(cell.submit(tenant_id=tenant).job_id)
        cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    of = handed_over(cell, ("three", "four"))
    # Names are looked up once for each tenant, and with them whether there is room for one more.
    assert (of["smismember"], of["sadd"], of["scard"]) == (2, 0, 0)
    assert of["set"] == 0
    assert of.total() == 70, of


def come_and_go(cell: Cell) -> tuple[Counter[str], Counter[str]]:
    """The commands of a submit of a tenant that has nothing else, and of the finish that hands over its job."""
    cell.slots(1)
    for number in range(2):
        run = charged(cell, cell.start(cell.submit(tenant_id=f"t{number}").job_id, run="r1"), rightly=False)
        came = commands(cell, lambda: cell.submit(tenant_id="comes"))
        taker = Taker("w1", "r2", {"sleep": None})
        of = commands(cell, lambda: cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, taker=taker))  # noqa: B023
        assert taker.job is not None
        cell.store.finish(taker.job.job_id, taker.job.fence, JobStatus.COMPLETED, result={})
    return came, of


def test_a_tenant_that_comes_and_goes_with_its_only_job(jobs: Cell, one_look: None) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=100, announce_seconds=1000.0)
    came, of = come_and_go(cell)
    # It is put into the ring without a look whether it is there, and is not sought among those who are held back: it has no limit.
    assert (came["zscore"], came["exists"], came["srem"], came["incr"]) == (0, 0, 0, 1), came
    # All slots are taken: that is found in one look and a count of the runs.
    assert (came["mget"], came["zcard"], came["zrangebyscore"]) == (1, 3, 0), came
    assert came.total() == 29, came
    # Its job, its lane and its workspaces go together, and nobody looks where it is not any more.
    assert (of["del"], of["zscore"], of["exists"]) == (1, 0, 2), of
    assert of.total() == 68, of
    keys = cell.store.keys
    assert not cell.store.client.exists(keys("ring"), keys("lanes", "comes", "main"), keys("workspaces", "comes"), keys("waiting"))


def test_a_submit(jobs: Cell, one_look: None) -> None:
    new = NewJob(pipeline="sleep", tenant_id="acme")

    def submit() -> None:
        jobs.client.submit(new, idempotency_key=str(next(keys)))

    keys = iter(range(100))
    # The first sixteen of a day tell the figure of all days.
    for _ in range(16):
        submit()
    assert commands(jobs, submit).total() == 23
    assert calls(submit) <= 150


def test_a_job_of_a_batch_is_compared_with_defaults_that_are_known() -> None:
    new = NewJob(pipeline="sleep", tenant_id="acme")
    forms_of_job(new)
    assert calls(lambda: forms_of_job(new)) <= 16


def test_a_beat_looks_once_for_what_other_scripts_have_left(jobs: Cell) -> None:
    jobs.slots(1)
    of = commands(jobs, lambda: jobs.slots(1))
    # For tags that are not written yet it has another look; the admission asks whether jobs were lost.
    assert (of["exists"], of["lpop"], of["lindex"]) == (2, 1, 0), of
