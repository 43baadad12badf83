"""What is seen of a job in parts: its log, its place in the queue, what is counted, what it counts for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.events.job_log import read_one
from pipeline_jobs.exceptions import QueueFull
from pipeline_jobs.job import Job
from pipeline_jobs.jobs import job_logs
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.operation.scaling import scaling
from pipeline_jobs.operation.who_ran import last_hour
from pipeline_jobs.runlog.lines import Line
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import parts_ran
from pipeline_jobs.store.figures import scrape
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.app import create_app
from tests.integration.conftest import Cell
from tests.integration.fair_histories import pretend_it_took
from tests.integration.part_world import Parted
from tests.integration.recount import differences
from tests.integration.test_cli_operator import runner


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Parted:
    return Parted(jobs, tmp_path)


def lines_of(parted: Parted, job_id: str) -> list[Line]:
    return list(job_logs.page(read_one(parted.cell.store, job_id, 0), parted.artifacts, 1000).lines)


def test_what_parts_say_is_in_the_log_of_their_job(parted: Parted) -> None:
    parted.slots(4)
    job = parted.submit()
    for name in ("fetch", "join"):
        parted.meanwhile[name] = lambda context: print(f"{context.stage} says this")
    parted.run_all()
    lines = lines_of(parted, job.job_id)
    assert [(line.number, line.stage) for line in lines] == [
        (1, "fetch"), *((n + 2, f"hear part {n}") for n in range(5)), (7, "hear")
    ]  # fmt: skip
    assert {line.attempt for line in lines} == {1}
    assert differences(parted.cell.store) == []


def test_lines_of_parts_that_run_side_by_side_have_numbers_of_their_own_and_are_there_once(parted: Parted) -> None:
    parted.slots(4)
    job = parted.submit()
    parted.run_next()
    store, parts = parted.cell.store, [parted.start_next(), parted.start_next()]
    for sent, (part, number, text) in enumerate([(parts[0], 1, "a"), (parts[1], 1, "b"), (parts[1], 4, "c"), (parts[0], 2, "d")]):
        for _ in range(2):
            said = f'[{number},0,7,"INFO","x","hear part {sent}","{text}\\n[1,2,3,"]'
            assert store.append_log(part.job_id, part.fence, number, [said])
    assert [(line.number, line.attempt, line.message[0], line.dropped) for line in lines_of(parted, job.job_id)] == [
        (1, 1, "a", 0), (2, 1, "b", 0), (4, 1, "2", 2), (5, 1, "c", 0), (6, 1, "d", 0)
    ]  # fmt: skip
    for number in (1, 2):
        assert store.append_log(parts[0].job_id, parts[0].fence, number, [f'[{number},0,7,"INFO","x","hear","late"]'])
    assert not store.append_log(parts[0].job_id, parts[0].fence + 1, 9, ["[9]"]), "another run has the part"
    parted.cell.client.cancel(job.job_id)
    assert not store.append_log(parts[0].job_id, parts[0].fence, 9, ["[9]"]), "its job is over"
    assert len(lines_of(parted, job.job_id)) == 5
    for part in parts:
        store.finish(part.job_id, part.fence, JobStatus.CANCELLED)
    assert (parted.left(), differences(store)) == ([], [])


def test_what_many_parts_say_is_bounded_as_the_log_of_one_job(parted: Parted) -> None:
    parted.slots(4)
    job = parted.submit()
    for number in range(5):
        parted.meanwhile[f"part {number}"] = lambda context: print("\n".join("x" * 1000 for _ in range(60)))
    parted.run_all()
    store = parted.cell.store
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert sum(map(len, store.client.lrange(store.keys("logs", job.job_id), 0, -1))) <= 40_000
    assert store.client.hget(store.keys("job", job.job_id), "log_files") is None, "a part's file would have others' numbers"
    lines = lines_of(parted, job.job_id)
    assert (lines[-1].number, sum(line.dropped or 1 for line in lines)) == (5 * 61, 5 * 61)
    assert differences(store) == []


def test_it_is_said_how_many_parts_have_ended(parted: Parted) -> None:
    parted.slots(1)
    job = parted.submit()
    for _ in range(3):
        parted.run_next()
    queue = parted.cell.client.describe(job.job_id).queue or {}
    assert (queue["reason"], queue["limit"], queue["current"], queue["position"]) == ("parts", 5, 2, None)
    assert queue["parts"] == {"total": 5, "done": 2, "running": 0, "queued": 2, "reason": "fair_share", "pool": "default"}
    parted.start_next()
    run = runner(parted.cell)
    told = run("explain", job.job_id).output
    assert "2 of 5 have ended. It is freed by the end of its parts. Running now: 1, waiting for a slot: 1." in told


def test_the_answer_about_a_job_says_how_many_of_its_parts_run_and_why_others_wait(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, pool="gpu")
    client = create_app(jobs.cell).test_client()
    parted.slots(1)
    job = parted.submit()

    def told() -> tuple[Any, ...]:
        parts = client.get(f"/pipeline/jobs/{job.job_id}").get_json()["queue"]["parts"]
        return tuple(parts[name] for name in ("total", "done", "running", "queued", "reason", "pool"))

    assert "parts" not in client.get(f"/pipeline/jobs/{job.job_id}").get_json()["queue"]
    parted.run_next()
    assert told() == (5, 0, 0, 2, "no_worker_for_pool", "gpu")
    parted.slots(2, "gpu")
    assert told() == (5, 0, 0, 2, "dispatched", "gpu")
    parted.start_next("gpu")
    jobs.client.set_limits("acme", TenantLimits(paused=True))
    parted.run_next("gpu")
    assert told() == (5, 1, 1, 1, "tenant_paused", "gpu")
    jobs.client.set_limits("acme", TenantLimits())
    parted.start_next("gpu")
    assert told() == (5, 1, 2, 0, None, "gpu"), "the others come as these end"


def test_it_is_explained_why_parts_do_not_start(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, pool="gpu")
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    run = runner(jobs)
    assert "Parts of it wait in the pool gpu: No worker of its pool is running at the moment. Start" in run("explain", job.job_id).output
    parted.slots(2, "gpu")
    assert "Parts of it wait" not in run("explain", job.job_id).output, "both that are open were sent to a worker"
    parted.start_next("gpu")
    jobs.client.set_limits("acme", TenantLimits(paused=True))
    parted.run_next("gpu")
    assert "Parts of it wait in the pool gpu: Its tenant is paused. jobs limits" in run("explain", job.job_id).output


def test_a_job_that_waits_for_its_parts_waits_for_no_slot(parted: Parted) -> None:
    parted.slots(1)
    parted.submit()
    parted.run_next()
    cell = parted.cell
    text = StoreMetrics(cell.store, cell.settings).text().decode()
    assert {reason: n for reason, n in scrape(cell.store).reasons.items() if n} == {"parts": 1, "dispatched": 1, "fair_share": 1}
    assert 'pipeline_jobs_waiting{reason="parts"} 1.0' in text
    for figure in ("pipeline_jobs_queued 2.0", 'pipeline_pool_queued{pool="default"} 2.0', 'pipeline_parts_total{status="completed"} 0.0'):
        assert figure in text
    assert scaling(cell.store, cell.settings).ready == 2
    parted.run_all()
    assert 'pipeline_parts_total{status="completed"} 5.0' in StoreMetrics(cell.store, cell.settings).text().decode()


def test_a_job_in_parts_is_one_of_those_that_its_tenant_may_have_waiting_and_its_parts_are_none(parted: Parted) -> None:
    parted.slots(1)
    parted.submit()
    parted.run_next()
    parted.cell.client.set_limits("acme", TenantLimits(max_queued=2))
    parted.submit()
    with pytest.raises(QueueFull):
        parted.submit()
    parted.run_all()
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def part_that_took(parted: Parted, minutes: int) -> Job:
    """The next part, which began so long ago."""
    part = parted.start_next()
    pretend_it_took(parted.cell, part.job_id, minutes * 60_000)
    return part


def test_who_ran_when_has_the_parts_of_a_job_under_its_id_and_tenant(parted: Parted) -> None:
    parted.slots(2)
    job = parted.submit()
    parted.run_next()
    store, part, _ = parted.cell.store, part_that_took(parted, 25), part_that_took(parted, 30)
    store.finish(part.job_id, part.fence, JobStatus.COMPLETED)
    (ran,) = last_hour(parted.cell.client, store.now()).tenants
    assert (ran.tenant_id, ran.jobs, ran.minutes // 10) == ("acme", 1, 5)
    ((was,), more), (runs,) = parts_ran.ended(store), parts_ran.running(store)
    assert not more
    assert (was.tenant_id, was.job_id, runs.tenant_id, runs.job_id, runs.end) == ("acme", job.job_id, "acme", job.job_id, None)
    assert ((was.end or 0) - was.begin) // 60_000 // 10 == 2
    parts_ran.forget(store, "other")
    assert parts_ran.ended(store) == ([was], False)


def test_a_tenant_with_very_many_short_parts_takes_no_others_place_in_who_ran_when(parted: Parted, monkeypatch: pytest.MonkeyPatch) -> None:
    parted.slots(2)
    store, keys = parted.cell.store, parted.cell.store.keys
    for tenant in ("quiet", "greedy"):
        for n in range(3_000) if tenant == "greedy" else ():
            store.client.xadd(keys("parts_ran", tenant), {"job": f"job_{n}", "begin": n, "end": n + 1})
        parted.submit(tenant_id=tenant)
        parted.run_next()
        part = part_that_took(parted, 25)
        store.finish(part.job_id, part.fence, JobStatus.COMPLETED)
        parted.cell.client.cancel(part.part_of or "")
    assert store.client.xlen(keys("parts_ran", "greedy")) < 2 * parts_ran.MOST_OF_TENANT
    assert 0 < store.client.ttl(keys("parts_ran", "greedy")) <= 3_600
    held, more = parts_ran.ended(store)
    assert [held[0].tenant_id, *{one.tenant_id for one in held[1:-1]}, held[-1].tenant_id] == ["greedy", "greedy", "quiet"]
    assert more, "not all of the greedy one's are kept"
    assert not parts_ran.ended(store, held[1].end or 0)[1], "what is not kept is older"
    monkeypatch.setattr(parts_ran, "MOST_ROWS", 4)
    assert [one.tenant_id for one in parts_ran.ended(store)[0]] == ["greedy", "greedy", "quiet"], "each has half of them"
    monkeypatch.setattr(parts_ran, "MOST_TENANTS", 1)
    held, more = parts_ran.ended(store, store.now())
    assert ({one.tenant_id for one in held}, more) == ({"greedy"}, True)


def test_whose_parts_ended_an_hour_ago_is_forgotten(parted: Parted) -> None:
    parted.slots(1)
    store, tenants = parted.cell.store, parted.cell.store.keys("parts_ran_tenants")
    store.client.zadd(tenants, {"old": store.now() - 3_600_000, "late": store.now() - 3_500_000})
    parted.submit()
    parted.run_next()
    part = part_that_took(parted, 1)
    store.finish(part.job_id, part.fence, JobStatus.COMPLETED)
    assert store.client.zrange(tenants, 0, -1) == ["late", "acme"]
