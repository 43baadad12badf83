"""The event log: each transition writes its event exactly once, numbered without a gap, and what a page gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.events import log as events
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.exceptions import InvalidInput, UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.states import TERMINAL, JobStatus
from tests.cases import each
from tests.integration.conftest import Cell


def log(jobs: Cell, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Types and data of a job's events."""
    page = events.read(jobs.store, job_id)
    assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1))
    assert page.last == len(page.events)
    return [(event.type.value.removeprefix("job."), dict(event.data)) for event in page.events]


def words(jobs: Cell, job_id: str) -> list[str]:
    return [word for word, _ in log(jobs, job_id)]


def test_the_log_tells_a_jobs_whole_life(jobs: Cell) -> None:
    run = jobs.running(tenant_id="acme")
    jobs.store.progress(run.job_id, run.fence, 12.5, "fetch", "fetching")
    jobs.store.progress(run.job_id, run.fence, 25, "fetch", "fetching")
    jobs.store.progress(run.job_id, run.fence, 30.0, "transcode", None)
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    at = {"attempt": 1, "message": None}
    assert log(jobs, run.job_id) == [
        ("created", {"status": "queued", "attempt": 0, "stage": None, "progress": 0, "message": None}),
        ("started", {"status": "running", "stage": None, "progress": 0, **at}),
        ("stage", {"status": "running", "stage": "fetch", "progress": 12.5, **at, "message": "fetching"}),
        ("progress", {"status": "running", "stage": "fetch", "progress": 25, **at, "message": "fetching"}),
        ("stage", {"status": "running", "stage": "transcode", "progress": 30, **at}),
        ("completed", {"status": "completed", "stage": "transcode", "progress": 100, **at}),
    ]


def test_an_event_is_one_envelope(jobs: Cell) -> None:
    job = jobs.submit(tenant_id="acme", workspace_id="lab")
    (event,) = events.read(jobs.store, job.job_id).events
    assert event.to_dict() == {
        "id": f"{job.job_id}.1", "seq": 1, "type": "job.created", "job_id": job.job_id, "tenant_id": "acme", "workspace_id": "lab",
        "created_at": job.to_dict()["created_at"],
        "data": {"status": "queued", "attempt": 0, "stage": None, "progress": 0, "message": None},
    }  # fmt: skip
    assert "\n" not in event.json


@pytest.mark.parametrize("of", ["this version", "the version before"])
@pytest.mark.parametrize("limit", [1, 2, 500])
def test_the_first_event_is_in_the_record(jobs: Cell, of: str, limit: int) -> None:
    """The version before wrote it into the log as a line; its jobs live on."""
    run = jobs.running(tenant_id="acme")
    key, record = jobs.store.keys("events", run.job_id), jobs.store.keys("job", run.job_id)
    assert jobs.store.client.llen(key) == 1, "not another copy of what the record has"
    if of == "the version before":
        jobs.store.client.lpush(key, f'["created",{jobs.store.client.hget(record, "created_at")}]')
        jobs.store.client.hdel(record, "events_cut")
    jobs.store.progress(run.job_id, run.fence, 12.5, "fetch", None)
    whole = [("job.created", 1), ("job.started", 2), ("job.stage", 3)]
    read = {after: events.read(jobs.store, run.job_id, after=after, limit=limit) for after in range(3)}
    for after, page in read.items():
        assert [(event.type.value, event.seq) for event in page.events] == whole[after : after + limit]
        assert page.last == 3
    assert read[0].events[0].created_at == jobs.client.get(run.job_id).created_at
    feed = events.feed(jobs.store, "acme", limit=limit).events
    assert [(event.type.value, event.seq) for event in feed] == whole[:limit]


def test_the_jobs_of_a_batch_have_their_first_event(jobs: Cell) -> None:
    made = jobs.cell.batches.create(NewBatch([NewJob(pipeline="sleep")] * 3, "acme"))
    assert [words(jobs, str(job_id)) for job_id in made.job_ids] == [["created"]] * 3
    jobs.slots(100)
    jobs.start(str(made.job_ids[0]))
    assert words(jobs, str(made.job_ids[0])) == ["created", "started"]


def test_a_failure_tells_its_error_and_where_it_was(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.progress(run.job_id, run.fence, 40.5, "fetch", "half")
    detail = {"code": "source_not_found", "message": "gone", "stage": "fetch", "retryable": False}
    jobs.store.finish(run.job_id, run.fence, JobStatus.FAILED, error='gone: "\n\u2028\x00', error_detail=detail)
    assert log(jobs, run.job_id)[-1] == (
        "failed",
        {
            "status": "failed", "attempt": 1, "stage": "fetch", "progress": 40.5, "error": 'gone: "\n\u2028\x00',
            "error_code": "source_not_found",
        },
    )  # fmt: skip


def test_stages_that_went_by_are_told_in_their_order(jobs: Cell) -> None:
    run = jobs.running()
    for _ in range(2):
        jobs.store.progress(run.job_id, run.fence, 33.3, "c", "now", [("a", 0.0), ("b", 11.1)])
    told = [(word, data["stage"], data["progress"]) for word, data in log(jobs, run.job_id)[2:]]
    assert told == [("stage", "a", 0), ("stage", "b", 11.1), ("stage", "c", 33.3)]


@pytest.mark.parametrize(("why", "attempts"), [("retry", 2), ("handback", 1), ("crash", 1)])
def test_a_requeue_says_why(jobs: Cell, why: str, attempts: int) -> None:
    run = jobs.running()
    jobs.store.progress(run.job_id, run.fence, 40, "fetch", "half")
    jobs.store.requeue(run.job_id, run.fence, why)
    again = jobs.start(run.job_id)
    assert log(jobs, run.job_id)[-2:] == [
        ("requeued", {"status": "queued", "attempt": 1, "stage": "fetch", "progress": 40, "message": "half", "reason": why}),
        (
            "started",
            {
                "status": "running", "attempt": attempts, "stage": None, "progress": 0 if why == "retry" else 40, "message": None,
            },
        ),
    ]  # fmt: skip
    assert again.attempt == attempts


@pytest.mark.parametrize("why", ["handback", "fault"])
def test_from_the_tenth_time_on_that_it_is_handed_back_its_log_warns(jobs: Cell, why: str) -> None:
    run = jobs.running()
    for _ in range(11):
        jobs.store.requeue(run.job_id, run.fence, why)
        # Sent twice: said and counted once.
        jobs.store.requeue(run.job_id, run.fence, why)
        jobs.store.client.zadd(jobs.store.keys("delayed"), {run.job_id: 1}, xx=True)
        jobs.slots(100)
        run = jobs.start(run.job_id)
    told = [data["message"] for word, data in log(jobs, run.job_id) if word == "requeued"]
    assert told == [None] * 9 + ["warning: handed back 10 times", "warning: handed back 11 times"]
    assert jobs.store.client.hget(jobs.store.keys("counters"), f"handbacks|{why}") == "11"


def test_a_rescue_and_the_last_crash_are_events(jobs: Cell) -> None:
    run = jobs.running()
    for _ in range(4):
        jobs.let_worker_die()
        jobs.store.rescue()
        jobs.slots(100)
        if jobs.client.get(run.job_id).status is JobStatus.QUEUED:
            jobs.start(run.job_id)
    assert words(jobs, run.job_id) == ["created", *["started", "requeued"] * 3, "started", "failed"]
    assert log(jobs, run.job_id)[-1][1]["error_code"] == "worker_lost"


def test_a_cancel_is_an_event_once_and_the_end_another(jobs: Cell) -> None:
    run = jobs.running()
    for _ in range(3):
        jobs.client.cancel(run.job_id)
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert words(jobs, run.job_id) == ["created", "started", "cancel_requested", "cancelled"]
    waiting = jobs.with_settings(max_concurrent_jobs=1)
    waiting.slots(0)
    queued = waiting.submit()
    for _ in range(2):
        waiting.client.cancel(queued.job_id)
    assert words(waiting, queued.job_id) == ["created", "cancelled"]


def test_a_change_is_an_event_if_it_changes_something(jobs: Cell) -> None:
    job = jobs.submit()
    for _ in range(2):
        jobs.client.change(job.job_id, priority=7)
    for _ in range(2):
        jobs.client.change(job.job_id, run_at=4_102_444_800_000)
    jobs.client.change(job.job_id, priority=-7, run_at=0)
    jobs.client.change(job.job_id, priority=-7, run_at=0)
    assert [data["changes"] for _, data in log(jobs, job.job_id)[1:]] == [
        {"priority": 7},
        {"run_at": "2100-01-01T00:00:00.000Z"},
        {"priority": -7, "run_at": None},
    ]


def test_what_is_sent_again_writes_no_second_event(jobs: Cell) -> None:
    jobs.slots(5)
    job = jobs.client.prepare(NewJob(pipeline="sleep"))
    for _ in range(2):
        jobs.store.submit(job, nonce="n")
    for _ in range(2):
        fence = jobs.start(job.job_id).fence
    for _ in range(2):
        jobs.store.progress(job.job_id, fence, 50.0, "fetch", "half")
    for _ in range(2):
        jobs.store.finish(job.job_id, fence, JobStatus.FAILED, error="x")
        jobs.store.requeue(job.job_id, fence, "crash")
    assert words(jobs, job.job_id) == ["created", "started", "stage", "failed"]


def test_a_run_without_a_say_writes_nothing(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.requeue(run.job_id, run.fence, "handback")
    before = words(jobs, run.job_id)
    assert jobs.store.progress(run.job_id, run.fence, 99, "late") == "fenced"
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    jobs.store.claim(run.job_id, run.fence, worker="w", run="other")
    assert words(jobs, run.job_id) == before


def test_only_the_last_event_is_an_end(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    ends = {EventType(f"job.{status}") for status in TERMINAL}
    page = events.read(jobs.store, run.job_id)
    assert page.complete
    assert [event.type in ends for event in page.events] == [False] * (len(page.events) - 1) + [True]


def test_a_page_goes_on_where_the_one_before_ended(jobs: Cell) -> None:
    run = jobs.running()
    for percent in range(1, 11):
        jobs.store.progress(run.job_id, run.fence, percent, "s")
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    seen: list[int] = []
    while True:
        page = events.read(jobs.store, run.job_id, after=len(seen), limit=4)
        seen += [event.seq for event in page.events]
        if page.complete:
            break
    assert seen == list(range(1, 14))
    assert events.read(jobs.store, run.job_id, after=99).events == ()
    with pytest.raises(UnknownJob):
        events.read(jobs.store, "job_1_00000000")


def test_a_log_keeps_the_newest_and_its_numbers(jobs: Cell) -> None:
    small = jobs.with_settings(events_per_job=10)
    run = small.running()
    for percent in range(50):
        small.store.progress(run.job_id, run.fence, percent, "s", str(percent))
    # A process with another setting goes on with the same numbers.
    jobs.store.progress(run.job_id, run.fence, 60, "s", "sixty")
    small.store.progress(run.job_id, run.fence, 61, "s", "sixty-one")
    page = events.read(small.store, run.job_id)
    assert [event.seq for event in page.events] == list(range(45, 55))
    assert (page.events[-1].data["progress"], page.last) == (61, 54)
    assert [event.seq for event in events.read(small.store, run.job_id, after=52).events] == [53, 54]


def test_the_log_goes_with_its_job(jobs: Cell) -> None:
    short = jobs.with_settings(job_ttl_seconds=0)
    run = short.running()
    short.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    kept = jobs.running()
    jobs.store.finish(kept.job_id, kept.fence, JobStatus.COMPLETED, result={})
    assert short.store.purge() == 1
    jobs.client.delete(kept.job_id)
    assert jobs.store.client.keys(jobs.store.keys("events", "*")) == []


# -- the feed


def test_the_feed_has_every_event_of_the_tenants_jobs_in_their_order(jobs: Cell) -> None:
    first, second = jobs.running(tenant_id="acme"), jobs.running(tenant_id="acme", workspace_id="lab")
    jobs.running(tenant_id="other")
    for percent in (10, 20):
        for run in (first, second):
            jobs.store.progress(run.job_id, run.fence, percent, "s")
    page = events.feed(jobs.store, "acme")
    assert [(event.job_id, event.seq) for event in page.events] == [
        (first.job_id, 1), (first.job_id, 2), (second.job_id, 1), (second.job_id, 2),
        (first.job_id, 3), (second.job_id, 3), (first.job_id, 4), (second.job_id, 4),
    ]  # fmt: skip
    assert {event.tenant_id for event in page.events} == {"acme"}
    of_jobs = {event.id: event.to_dict() for run in (first, second) for event in events.read(jobs.store, run.job_id).events}
    assert {event.id: event.to_dict() for event in page.events} == of_jobs
    lab = events.feed(jobs.store, "acme", workspace_id="lab")
    assert [event.seq for event in lab.events] == [1, 2, 3, 4]


def test_the_feed_is_paged_by_its_own_ids(jobs: Cell) -> None:
    for _ in range(5):
        jobs.submit(tenant_id="acme")
        jobs.submit(tenant_id="acme", workspace_id="lab")
    seen: list[str] = []
    place, pages = events.FEED_START, 0
    while True:
        page = events.feed(jobs.store, "acme", place, limit=3, workspace_id="lab")
        seen += [event.id for event in page.events]
        place, pages = page.after, pages + 1
        if not page.more:
            break
    assert (len(seen), len(set(seen)), pages) == (5, 5, 4)
    assert place == events.feed_end(jobs.store, "acme")
    assert events.feed(jobs.store, "acme", place).events == ()
    assert events.feed(jobs.store, "acme", place).after == place
    job = jobs.submit(tenant_id="acme")
    assert [event.job_id for event in events.feed(jobs.store, "acme", place).events] == [job.job_id]


def test_the_feed_leaves_out_what_is_gone_and_is_capped(jobs: Cell) -> None:
    gone, stays = jobs.submit(tenant_id="acme"), jobs.submit(tenant_id="acme")
    jobs.client.cancel(gone.job_id)
    jobs.client.delete(gone.job_id)
    assert [event.job_id for event in events.feed(jobs.store, "acme").events] == [stays.job_id]
    small = jobs.with_settings(events_per_tenant=100)
    for _ in range(400):
        small.submit(tenant_id="acme")
    # The server cuts whole nodes of its stream: about so many stay.
    for _ in range(200):
        small.cell.batches.create(NewBatch([NewJob(pipeline="sleep")] * 3, "lab"))
    assert all(100 <= jobs.store.client.xlen(jobs.store.keys("feed", tenant)) <= 300 for tenant in ("acme", "lab"))
    none = jobs.with_settings(events_per_tenant=0)
    none.submit(tenant_id="b")
    assert events.feed(jobs.store, "b").events == ()
    assert events.feed_end(jobs.store, "b") == events.FEED_START


def test_the_feed_of_an_idle_tenant_goes_after_a_week_and_with_the_tenant(jobs: Cell, tmp_path: Path) -> None:
    run = jobs.running(tenant_id="acme")
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    feed = jobs.store.keys("feed", "acme")
    assert 7 * 86_400 < jobs.store.client.ttl(feed) <= 8 * 86_400
    assert erase_tenant(jobs.store, ArtifactStore(tmp_path.as_uri(), "", lambda: "s"), "acme", dry_run=False).done
    assert not jobs.store.client.exists(feed)


@each("text", ["", "x", "1", "-1", "1-", "1-2-3", "$", "+", "(1-1", "1-١", "9" * 16 + "-0"])
def test_a_place_that_no_feed_gave_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        events.feed_place(text)


def test_who_listens_is_told_of_each_event(jobs: Cell) -> None:
    with jobs.store.client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(jobs.store.keys("news", "acme"))
        channel.get_message(timeout=60)
        run = jobs.running(tenant_id="acme")
        jobs.running(tenant_id="other")
        jobs.store.progress(run.job_id, run.fence, 1, "s")
        heard = [channel.get_message(timeout=60) for _ in range(3)]
        assert [message and message["data"] for message in heard] == [run.job_id] * 3
        assert channel.get_message(timeout=0.05) is None
