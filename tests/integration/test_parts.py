"""A stage that runs in parts: what becomes of them, and of their job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.events.log import feed, read_all
from pipeline_jobs.exceptions import MediaDamaged
from pipeline_jobs.job import FOR_PARTS
from pipeline_jobs.jobs import part_runs
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.pool_gate import CellUpgrading
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.pipelines import Map, NoParams, Pipeline, RetryPolicy, Stage, TryAgain
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import parts_ran, presence
from pipeline_jobs.store.reader import mapping
from pipeline_jobs.store.runs import Taker
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell, tired_scripts
from tests.integration.fair_histories import pretend_it_took
from tests.integration.part_world import Parted
from tests.integration.recount import differences


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Parted:
    return Parted(jobs, tmp_path)


def test_a_stage_runs_in_parts_and_its_job_goes_on_with_what_they_gave(parted: Parted) -> None:
    parted.slots(4)
    job = parted.submit()
    outcome = parted.run_next()
    assert outcome is not None
    assert (outcome.ending, outcome.error) == (Ending.REQUEUED, "hear: 5 parts")
    waits = parted.seen(job)
    assert (waits.status, waits.reason, waits.attempt) == (JobStatus.QUEUED, "parts", 1)
    assert [job_id.rpartition(".")[2] for job_id, _ in parted.hints()] == ["0", "1"], "two are open at once"
    assert differences(parted.cell.store) == []
    parted.run_all()
    ended = parted.seen(job)
    assert ended.status is JobStatus.COMPLETED, ended.error
    assert ended.result["data"] == {"fetched": 5, "all": ["ONE", "TWO", "THREE", "FOUR", "FIVE"], "told": "ONE TWO THREE FOUR FIVE"}
    assert parted.ran == ["fetch", "split", *(f"part {n}" for n in range(5)), "join", "tell"]
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def test_parts_start_in_the_order_of_their_numbers_those_of_the_older_job_first(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, words=[f"word{n}" for n in range(23)], window=12)
    parted.slots(2)
    older, younger = parted.submit(), parted.submit()
    started = []
    while hints := parted.hints():
        started.append(hints[0][0])
        parted.run_next()
    parts = [(part.partition("~")[0], part.rpartition(".")[2]) for part in started if "~" in part]
    assert parts == [(job.job_id, str(number)) for job in (older, younger) for number in range(23)]
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_a_part_is_given_the_text_that_it_was_cut_with_also_if_that_looks_like_a_mark(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, words=["@workdir@/a", "@WORKDIR@/B"])
    parted.slots(1)
    job = parted.submit()
    parted.run_all()
    ended = parted.seen(job)
    assert ended.result["data"]["all"] == ["@WORKDIR@/A", "@WORKDIR@/B"]


def test_a_part_is_no_job_to_anybody(parted: Parted) -> None:
    store = parted.cell.store
    parted.slots(4)
    job = parted.submit(tags=("films",), webhook={"url": "https://hooks.example/x"})
    parted.run_next()
    parted.start_next()
    assert [one.job_id for one in parted.cell.client.list(JobQuery(tenant_id="acme")).items] == [job.job_id]
    parted.cell.let_leases_end()
    store.rescue()
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    counters = store.record("counters")
    assert [counters[name] for name in ("created|acme|main", "completed|acme|main|completed")] == ["1", "1"]
    for histogram in ("wait|acme|main|", "duration|acme|main|"):
        assert sum(int(n) for name, n in counters.items() if name.startswith(histogram)) == 1
    assert parted.left() == []
    day = store.now() // 86_400_000
    assert store.fields(["created", "completed"], "usage_day", "acme", str(day)) == ["1", "1"]
    assert len(store.members("deliveries", "acme")) == 1
    assert {event.job_id for event in feed(store, "acme").events} == {job.job_id}


def test_the_events_of_a_job_tell_what_went_wrong_with_its_parts_and_how_far_they_are(parted: Parted) -> None:
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    parted.start_next()
    parted.cell.let_leases_end()
    parted.cell.store.rescue()
    parted.run_all()
    events = read_all(parted.cell.store, job.job_id)
    told = [(event.data["message"], event.data["status"]) for event in events if (event.data.get("message") or "").startswith("part ")]
    assert told == [("part 0 goes back to the queue: crash", "queued")]
    waits = next(n for n, event in enumerate(events) if event.data.get("reason") == "parts")
    percents = [event.data["progress"] for event in events[waits:] if event.type is EventType.PROGRESS]
    assert len(percents) >= 6
    assert percents == sorted(percents)
    assert max(percents) <= 66.7


def test_a_part_that_fails_ends_its_job_and_the_other_parts(parted: Parted) -> None:
    parted.slots(4)
    job = parted.submit()
    parted.run_next()
    running = parted.start_next()
    parted.meanwhile["part 1"] = raises(MediaDamaged("broken"))
    parted.run_next()
    ended = parted.seen(job)
    assert (ended.status, ended.error) == (JobStatus.FAILED, "part 1: broken")
    assert ended.error_detail == {"code": "media_damaged", "message": "part 1: broken", "stage": "hear", "retryable": False}
    assert parted.slots(4, runs=(running,)) == ["cancel"]
    assert parted.hints() == []
    assert parted.cell.store.finish(running.job_id, running.fence, JobStatus.COMPLETED, result={}) is JobStatus.CANCELLED
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def test_a_part_is_tried_again_as_often_as_its_stage_says(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, retry=RetryPolicy(2, 0))
    parted.slots(4)
    job = parted.submit()
    parted.meanwhile["part 1"] = lambda context: raises(TryAgain("later"))(context) if context.attempt == 1 else None
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert (parted.seen(job).attempt, parted.ran.count("part 1"), parted.ran.count("part 0")) == (1, 2, 1)
    parted.meanwhile["part 3"] = raises(TryAgain("always later"))
    again = parted.submit()
    parted.run_all()
    assert parted.seen(again).error == "part 3: always later"
    assert parted.ran.count("part 3") == 3
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_errors_of_parts_are_collected(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, on_part_error="collect")
    parted.slots(4)
    job = parted.submit()
    parted.meanwhile["part 2"] = raises(MediaDamaged("broken"))
    parted.run_all()
    ended = parted.seen(job)
    assert ended.result["data"]["all"] == ["ONE", "TWO", "media_damaged", "FOUR", "FIVE"]
    assert "part 2 failed: broken" in [event.data.get("message") for event in read_all(jobs.store, job.job_id)]
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_a_cancel_ends_the_job_at_once_and_its_parts_with_it(parted: Parted) -> None:
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    running = parted.start_next()
    assert parted.cell.client.cancel(running.job_id).job_id == job.job_id, "who means a part means its job"
    assert parted.seen(job).status is JobStatus.CANCELLED
    assert differences(parted.cell.store) == []
    assert parted.cell.store.delete(job.job_id)
    assert parted.cell.store.progress(running.job_id, running.fence, 50.0, "hear") == "cancel"
    assert parted.cell.store.finish(running.job_id, running.fence, JobStatus.CANCELLED) is JobStatus.CANCELLED
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def test_a_deadline_ends_the_job_and_its_parts(parted: Parted) -> None:
    parted.slots(1)
    job = parted.submit(deadline_seconds=3600)
    parted.run_next()
    running = parted.start_next()
    parted.cell.store.client.zadd(parted.cell.store.keys("deadlines"), {job.job_id: 1})
    parted.cell.store.rescue()
    assert (parted.seen(job).error_detail or {})["code"] == "deadline_exceeded"
    parted.cell.let_leases_end()
    parted.cell.store.rescue()
    assert parted.cell.store.finish(running.job_id, running.fence, JobStatus.COMPLETED, result={}) is JobStatus.CANCELLED
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def test_what_one_script_does_not_come_to_the_next_ends(jobs: Cell, tmp_path: Path) -> None:
    with tired_scripts():
        parted = Parted(jobs, tmp_path, words=[f"w{n}" for n in range(30)], window=20)
        parted.slots(5)
        job = parted.submit()
        parted.run_next()
        jobs.client.cancel(job.job_id)
        assert jobs.store.exists("ended_splits")
        for _ in range(100):
            parted.slots(5)
        assert (parted.left(), parted.hints(), differences(jobs.store)) == ([], [], [])


def test_an_erasure_waits_for_the_parts_that_run(parted: Parted) -> None:
    parted.slots(1)
    parted.submit()
    parted.run_next()
    running = parted.start_next()
    store = parted.cell.store
    pretend_it_took(parted.cell, running.job_id, 60_000)
    assert erase_tenant(store, parted.artifacts, "acme", dry_run=False).still_live == 1
    store.finish(running.job_id, running.fence, JobStatus.CANCELLED)
    assert [one.tenant_id for one in parts_ran.ended(store)[0]] == ["acme"]
    assert erase_tenant(store, parted.artifacts, "acme", dry_run=False).done
    assert not store.exists("parts_ran_tenants")
    assert (parted.left(), [key for key in store.client.scan_iter("*acme*") if "audit" not in key]) == ([], [])


def test_the_reconciler_and_the_recount_find_nothing_to_do_and_put_right_what_is_wrong(parted: Parted) -> None:
    store = parted.cell.store
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    running = parted.start_next()
    while (found := store.reconcile()).more:
        assert (found.jobs, found.counters) == (0, 0)
    assert (found.jobs, found.counters, store.recount()) == (0, 0, 0)
    store.client.zrem(store.keys("leases"), running.job_id)
    store.client.zrem(store.keys("delayed"), job.job_id)
    waiting = f"{running.job_id.rpartition('.')[0]}.1"
    (lane,) = store.client.scan_iter(store.keys("ready", "acme", "main", "film"))
    store.client.delete(lane)
    assert store.client.hget(store.keys("job", waiting), "status") == "queued"
    put_right = 0
    while (found := store.reconcile()).more:
        put_right += found.jobs
    assert (put_right + found.jobs, store.recount()) == (3, 1)
    parted.cell.let_leases_end()
    store.rescue()
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert (parted.left(), differences(store)) == ([], [])


def test_parts_run_in_their_pool_and_the_job_goes_on_in_its_own(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, pool="gpu")
    parted.slots(1)
    parted.slots(3, "gpu")
    job, other = parted.submit(), parted.submit(tenant_id="other")
    parted.run_next()
    assert (len(parted.hints()), len(parted.hints("gpu"))) == (1, 2)
    assert parted.hints()[0][0] == other.job_id, "the slot is free for others"
    claimed = parted.start_next("gpu")
    assert (claimed.pool, claimed.part) == ("gpu", {"stage": "hear", "number": 0, "of": 5})
    assert jobs.store.record("share", "acme")["others"] == "2", "each part is one of its tenant's slots"
    assert differences(jobs.store) == []
    jobs.let_leases_end()
    jobs.store.client.zadd(jobs.store.keys_of_pools()[1]("leases"), {claimed.job_id: 1})
    jobs.store.rescue()
    parted.run_all()
    assert {parted.seen(one).status for one in (job, other)} == {JobStatus.COMPLETED}
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_what_waits_is_counted_parts_among_it(parted: Parted) -> None:
    parted.slots(1)
    parted.submit()
    parted.run_next()
    reasons = mapping(parted.cell.store.run("waiting").reasons)
    assert {reason: n for reason, n in reasons.items() if n != "0"} == {"parts": "1", "dispatched": "1", "fair_share": "1"}


def test_what_the_stages_before_the_parts_gave_is_kept_for_the_join_whatever_else_is(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs.with_settings(keep_stage_bytes=0), tmp_path)
    parted.slots(1)
    job = parted.submit()
    parted.run_all()
    assert (parted.seen(job).status, parted.ran.count("fetch")) == (JobStatus.COMPLETED, 1)


def test_one_slot_is_enough_for_any_number_of_jobs_in_parts(parted: Parted) -> None:
    parted.slots(1)
    parted.cell.client.set_limits("acme", TenantLimits(max_concurrent=1))
    made = [parted.submit() for _ in range(3)]
    parted.run_all()
    assert {parted.seen(job).status for job in made} == {JobStatus.COMPLETED}


def test_a_finish_hands_over_the_next_part(parted: Parted) -> None:
    parted.slots(1)
    parted.submit()
    parted.run_next()
    first = parted.start_next()
    taken = []
    for _ in range(2):
        taker = Taker("c1", "next", {"film": None})
        parted.cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={}, outputs=("[]", ""), taker=taker)
        taken.append(taker.job)
    assert taken[0] is not None
    assert (taken[0].part, taken[0]) == ({"stage": "hear", "number": 1, "of": 5}, taken[1])
    assert '"word":"two"' in (taken[0].outputs or "")


def test_a_job_has_no_more_parts_than_it_may_and_no_longer_inputs(jobs: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parted = Parted(jobs, tmp_path, words=["x" * 3000])
    parted.slots(1)
    long = parted.submit()
    parted.run_all()
    assert (parted.seen(long).error_detail or {})["code"] == "part_too_large"
    monkeypatch.setattr(part_runs, "MAX_PARTS", 4)
    parted.words = ["a", "b", "c", "d", "e"]
    many = parted.submit()
    parted.run_all()
    assert (parted.seen(many).error_detail or {})["code"] == "too_many_parts"
    parted.words = []
    none = parted.submit()
    parted.run_all()
    assert parted.seen(none).result["data"]["all"] == []
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_a_large_result_of_a_part_is_a_file(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, words=["one"])
    hear = Map(
        "hear", parted.split, lambda context, part: {"long": "x" * 20_000}, lambda context, results: {"all": [results[0]["long"][:3]]}
    )
    jobs.client.registry.register(Pipeline("long", (Stage("fetch", parted.fetch), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="long")
    parted.run_next()
    parted.run_next()
    (split,) = (key for key in parted.left() if ":parts:" in key)
    assert len(jobs.store.client.hget(split, "r:0")) < 1000
    assert differences(jobs.store) == []
    parted.run_all()
    assert parted.seen(job).result["data"]["all"] == ["xxx"]
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_workers_of_the_version_before_get_no_job_that_runs_in_parts(parted: Parted) -> None:
    presence.announce(parted.cell.store, "old@host/1", replace(presence.About("maintenance"), schema=FOR_PARTS - 1))
    with pytest.raises(CellUpgrading, match="know of no parts"):
        parted.submit()


def raises(error: Exception) -> Callable[[JobContext], None]:
    """What raises it whenever a stage comes to it."""

    def meanwhile(context: JobContext) -> None:
        raise error

    return meanwhile
