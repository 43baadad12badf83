"""A finish that hands its process the next job (`lua/jobs/finish.lua`), and what is given back when the process dies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import SCHEMA, Job, NewJob
from pipeline_jobs.pipelines import WorkerClass
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import Taker
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences


@pytest.fixture
def one(jobs: Cell) -> Iterator[Cell]:
    """One slot, of the worker `w1`."""
    cell = jobs.with_settings(max_concurrent_jobs=100, announce_seconds=1000.0)
    cell.client.registry.register(replace(SLEEP, name="nap"))
    cell.slots(1)
    yield cell
    assert differences(cell.store) == []
    cell.cell.close()


def finish(cell: Cell, job: Job, *, run: str = "r2", worker: str = "w1", pipelines: dict[str, float | None] | None = None) -> Job | None:
    """:return: what was handed over."""
    taker = Taker(worker, run, {"sleep": None} if pipelines is None else pipelines)
    cell.store.finish(job.job_id, job.fence, JobStatus.COMPLETED, taker=taker)
    return taker.job


def taken(cell: Cell, *others: dict[str, Any], **options: Any) -> Job | None:
    """What is handed over after the first job, with these waiting behind it."""
    first = cell.start(cell.submit().job_id)
    for fields in others:
        cell.submit(**fields)
    return finish(cell, first, **options)


def field(cell: Cell, job_id: str, name: str) -> str | None:
    value = cell.store.client.hget(cell.store.keys("job", job_id), name)
    return None if value is None else str(value)


def test_the_process_that_ends_a_job_has_the_next_one_and_no_hint_is_sent(one: Cell) -> None:
    first = one.start(one.submit(tenant_id="acme").job_id, run="r1")
    second, third = (one.submit(tenant_id="acme", params={"echo": n}) for n in range(2))
    sent = len(one.hints())
    job = finish(one, first)
    assert job is not None
    assert (job.job_id, job.status, job.attempt, job.params["echo"], job.worker) == (second.job_id, JobStatus.RUNNING, 1, 0, "w1")
    assert (field(one, job.job_id, "run"), job.fence > second.fence) == ("r2", True)
    assert (one.store.client.zcard(one.store.keys("hints")), len(one.hints())) == (0, sent)
    assert [one.client.get(each.job_id).status.value for each in (first, second, third)] == ["completed", "running", "queued"]
    assert one.store.announce("w1", 1, [(job.job_id, job.fence)]) == ["ok"]
    # It has all that one has which was claimed by a hint.
    assert finish(one, job, run="") is None
    assert vars(one.start(third.job_id)).keys() == vars(job).keys()


def test_a_finish_that_is_sent_again_hands_over_the_same_job(one: Cell) -> None:
    first = one.start(one.submit().job_id)
    waiting = [one.submit().job_id for _ in range(3)]
    job, again = finish(one, first), finish(one, first)
    assert job == again
    assert job is not None
    assert job.job_id == waiting[0]
    assert one.store.client.zcard(one.store.keys("leases")) == 1
    # Another nonce is another call: it is told of its end, and has nothing.
    assert finish(one, first, run="r3") is None


def test_a_run_that_has_lost_its_job_is_handed_nothing(one: Cell) -> None:
    first = one.start(one.submit().job_id)
    one.submit()
    one.store.requeue(first.job_id, first.fence, "handback")
    assert finish(one, first) is None
    assert one.client.get(first.job_id).status is JobStatus.QUEUED


def test_what_is_of_another_schema_or_pipeline_goes_out_as_a_hint(one: Cell) -> None:
    assert taken(one, {"pipeline": "nap"}) is None
    assert len(one.hints()) == 2


def test_what_is_newer_than_the_worker_goes_out_as_a_hint(one: Cell) -> None:
    first = one.start(one.submit().job_id)
    one.store.submit(one.client.prepare(NewJob(pipeline="sleep")).evolve(schema=SCHEMA + 1))
    assert finish(one, first) is None
    assert len(one.hints()) == 2


def test_a_job_with_a_message_of_its_own_goes_by_it_and_its_run_takes_no_other(one: Cell) -> None:
    first = one.start(one.submit().job_id)
    own = one.store.submit(one.client.prepare(NewJob(pipeline="sleep")), message='{"id":"@ID@","own":1}').job
    one.submit()
    assert finish(one, first) is None
    assert '"own":1' in one.hints()[-1]
    run = one.start(own.job_id)
    assert finish(one, run) is None


def test_a_worker_with_more_runs_than_slots_is_handed_nothing(one: Cell) -> None:
    one.slots(2)
    runs = [one.start(one.submit().job_id) for _ in range(2)]
    one.submit()
    one.slots(1)
    one.slots(1, "w2")
    assert finish(one, runs[0]) is None
    assert len(one.hints()) == 3


def test_a_worker_without_an_announcement_is_handed_nothing(one: Cell) -> None:
    first = one.start(one.submit().job_id)
    one.submit()
    one.slots(1, "w2")
    one.store.client.zadd(one.store.keys("workers"), {"w1": 1})
    assert finish(one, first) is None
    assert len(one.hints()) == 2


def test_a_job_for_another_class_goes_to_its_queue(one: Cell) -> None:
    nappers, both = WorkerClass.of(["nap"]), WorkerClass.of(["nap", "sleep"])
    one.store.announce("w1", 1, [], kind=both)
    one.store.announce("w2", 1, [], kind=nappers)
    one.client.set_limits("acme", TenantLimits(max_concurrent=1))
    first = one.start(one.submit(tenant_id="acme").job_id)
    nap = one.submit(tenant_id="acme", pipeline="nap")
    # The slot of a worker that knows less is used first, whoever ends a job.
    assert finish(one, first, pipelines={"sleep": None, "nap": None}) is None
    assert one.store.client.llen(f"jobs.{nappers.name}") == 1
    held = one.store.claim(nap.job_id, one.client.get(nap.job_id).fence, worker="w2", run="o")
    assert isinstance(held, Job)
    waiting = one.submit(tenant_id="acme", pipeline="nap")
    job = finish(one, held, run="r4", worker="w2", pipelines={"nap": None})
    assert job is not None
    assert job.job_id == waiting.job_id


def test_limits_hold_for_what_is_handed_over(one: Cell) -> None:
    one.slots(3)
    one.client.set_limits("acme", TenantLimits(max_concurrent=1, max_run_seconds=7))
    run = one.start(one.submit(tenant_id="acme").job_id)
    waiting = [one.submit(tenant_id="acme").job_id for _ in range(2)]
    job = finish(one, run, pipelines={"sleep": 3.0})
    assert job is not None
    assert job.job_id == waiting[0]
    until, began = int(field(one, job.job_id, "run_until") or 0), int(field(one, job.job_id, "started_at") or 0)
    assert until - began == 3000
    assert one.client.get(waiting[1]).status is JobStatus.QUEUED
    assert one.store.client.zcard(one.store.keys("hints")) == 0


def test_what_a_job_that_was_handed_over_was_charged_is_given_back_if_its_worker_dies(one: Cell) -> None:
    def clock() -> float:
        return float(client.hget(keys("share", "acme"), "time"))

    client, keys = one.store.client, one.store.keys
    first = one.start(one.submit(tenant_id="acme").job_id)
    one.submit(tenant_id="acme")
    job = finish(one, first)
    assert job is not None
    charged = clock()
    client.zadd(keys("workers"), {"w1": 1})
    client.zadd(keys("leases"), {job.job_id: 1})
    one.store.rescue()
    assert one.client.get(job.job_id).crashes == 1
    assert clock() < charged


def test_where_the_broker_is_another_server_only_what_is_not_handed_over_is_published(cell: Any) -> None:
    sent: list[str] = []
    apart = make_cell(cell, publish=lambda hints: sent.extend(hint.job_id for hint in hints))
    apart.slots(1)
    first = apart.start(apart.submit().job_id)
    second = apart.submit()
    apart.slots(2)
    third = apart.submit()
    job = finish(apart, first)
    assert (job and job.job_id, sent) == (third.job_id, [first.job_id, second.job_id])
    apart.cell.close()


def lost(cell: Cell, hint: Job, *runs: str, why: str = "crash") -> list[tuple[str, str]]:
    return [(one.job_id, one.became) for one in cell.store.process_lost("w1", hint.job_id, hint.fence, runs, why)]


def dispatched(cell: Cell) -> Job:
    """A job whose hint is with a worker."""
    return cell.client.get(cell.submit().job_id)


@pytest.mark.parametrize("asked", [(), ("r1",)], ids=["before it asked", "after it asked"])
def test_a_death_before_the_claim_takes_the_hint_back_and_counts_for_nobody(one: Cell, asked: tuple[str, ...]) -> None:
    job, behind = dispatched(one), one.submit()
    assert lost(one, job, *asked) == [(job.job_id, "hint")]
    after = one.client.get(job.job_id)
    # At its old place it is the next one, so it has a hint again, and the dead process's claim comes too late.
    assert (after.status, after.reason, after.crashes, after.fence) == (JobStatus.QUEUED, "dispatched", 0, job.fence + 1)
    assert one.store.claim(job.job_id, job.fence, worker="w1", run="r1") == ClaimRefused("stale")
    assert one.client.get(behind.job_id).reason != "dispatched"


def test_a_death_with_a_job_counts_for_that_job_and_the_late_finish_takes_nothing(one: Cell) -> None:
    job = dispatched(one)
    run = one.start(job.job_id, run="r1")
    behind = one.submit()
    assert lost(one, job, "r1", "r2") == [(job.job_id, "queued")]
    assert finish(one, run, run="r2") is None
    assert [one.client.get(each).crashes for each in (job.job_id, behind.job_id)] == [1, 0]
    assert one.store.client.zcard(one.store.keys("leases")) == 0


def test_a_death_after_the_finish_counts_for_the_job_that_was_handed_over(one: Cell) -> None:
    job = dispatched(one)
    run = one.start(job.job_id, run="r1")
    behind = one.submit()
    assert finish(one, run, run="r2") is not None
    # The reply was read or not: the nonce was noted before.
    assert lost(one, job, "r1", "r2") == [(behind.job_id, "queued")]
    assert [one.client.get(each).crashes for each in (job.job_id, behind.job_id)] == [0, 1]
    assert one.client.get(job.job_id).status is JobStatus.COMPLETED


def test_a_death_with_no_job_moves_nothing(one: Cell) -> None:
    job = dispatched(one)
    finish(one, one.start(job.job_id, run="r1"), run="r2")
    assert lost(one, job, "r1", "r2") == []
    assert lost(one, job) == []


def test_the_leases_of_other_processes_stay(one: Cell) -> None:
    one.slots(3)
    jobs = [dispatched(one) for _ in range(3)]
    one.start(jobs[0].job_id, run="r1")
    one.start(jobs[1].job_id, run="r2")
    one.start(jobs[2].job_id, run="r1", worker="w2")
    assert lost(one, jobs[0], "r1") == [(jobs[0].job_id, "queued")]
    assert lost(one, jobs[0], "r1") == []


@pytest.mark.parametrize(("why", "field_of"), [("handback", "handbacks"), ("fault", "faults")])
def test_what_is_not_the_jobs_fault_is_no_crash(one: Cell, why: str, field_of: str) -> None:
    job = dispatched(one)
    one.start(job.job_id, run="r1")
    assert lost(one, job, "r1", why=why) == [(job.job_id, "queued")]
    assert (field(one, job.job_id, field_of), one.client.get(job.job_id).crashes) == ("1", 0)


def test_the_third_crash_ends_a_job_that_was_handed_over_each_time(one: Cell) -> None:
    poison = one.submit()
    first = one.start(poison.job_id, run="r0")
    assert lost(one, first, "r0") == [(poison.job_id, "queued")]
    for number, became in ((1, "queued"), (2, "failed")):
        # It waits as one that crashed, and is handed over by whoever ends another job.
        run = one.start(poison.job_id, run=f"r{number}")
        assert lost(one, run, f"r{number}") == [(poison.job_id, became)]
    ended = one.client.get(poison.job_id)
    assert ((ended.error_detail or {})["code"], ended.crashes) == ("worker_lost", 3)


def test_of_two_jobs_that_may_start_at_once_the_process_has_one(one: Cell) -> None:
    one.slots(2)
    first = one.start(one.submit().job_id)
    waiting = [one.submit(depends_on=(first.job_id,)).job_id for _ in range(2)]
    job = finish(one, first)
    assert job is not None
    [other] = {*waiting} - {job.job_id}
    assert (one.client.get(other).status, one.client.get(other).reason) == (JobStatus.QUEUED, "dispatched")
