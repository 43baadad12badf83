"""Batches on a real server: all or nothing, counted by the transitions, ended once, gone with their last job."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from redis import ResponseError

from pipeline_jobs.events import log as events
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.exceptions import InvalidInput, InvalidItems, KeyReused, QueueFull, RateLimited, UnknownBatch
from pipeline_jobs.job import NewJob, rfc3339
from pipeline_jobs.jobs.batches import MAX_JOBS, Batch, Batches, BatchQuery, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.maintenance import Rescue
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.recount import differences

SLEEP = NewJob(pipeline="sleep")
#: Arguments of the script for a batch that is no workflow.
PLAIN: dict[str, Any] = {"workflow": False, "needed": ()}
BAD = NewJob(pipeline="sleep", params={"seconds": -1})


@pytest.fixture
def batches(jobs: Cell) -> Batches:
    return Batches(jobs.client)


def of(*jobs: NewJob, **fields: object) -> NewBatch:
    return NewBatch(jobs, **{"tenant_id": "acme", **fields})  # type: ignore[arg-type]


def counts(batch: Batch) -> dict[str, int]:
    return {status.value: n for status, n in batch.counts.items() if n}


def test_a_batch_makes_the_records_that_single_jobs_would_have(jobs: Cell, batches: Batches) -> None:
    news = [
        SLEEP,
        replace(SLEEP, params={"seconds": 1}, priority=7, tags=("a", 'q"'), metadata={"x": [1]}, max_attempts=3),
        replace(SLEEP, run_at=4_000_000_000_000, deadline_seconds=5, start_within_seconds=6),
    ]
    made = batches.create(of(*news, workspace_id="w"))
    for new, job_id in zip(news, made.job_ids, strict=True):
        single = jobs.client.submit(replace(new, tenant_id="acme", workspace_id="w"))
        mine, other = jobs.client.get(str(job_id)), jobs.client.get(single.job_id)
        assert mine.batch_id == made.batch.batch_id
        assert (mine.deadline_at is None) == (other.deadline_at is None)
        same = {name: getattr(mine, name) for name in ("job_id", "batch_id", "order", "created_at", "deadline_at")}
        assert replace(other, **same) == mine
        held = jobs.store.client.zscore(jobs.store.keys("waits"), mine.job_id)
        assert (held is None) == (new.start_within_seconds is None)
    assert differences(jobs.store) == []


def test_jobs_of_a_batch_start_as_slots_are_free_in_the_order_of_the_request(jobs: Cell, batches: Batches) -> None:
    jobs.slots(2)
    made = batches.create(of(SLEEP, SLEEP, replace(SLEEP, priority=1), SLEEP))
    assert [json.loads(hint)["id"] for hint in jobs.hints()] == [made.job_ids[2], made.job_ids[0]]
    assert differences(jobs.store) == []


def test_counts_follow_the_jobs_and_the_end_is_noted_once(jobs: Cell, batches: Batches) -> None:
    jobs.slots(2)
    made = batches.create(of(SLEEP, SLEEP, SLEEP))
    batch_id = made.batch.batch_id
    assert (made.batch.status, counts(made.batch)) == ("queued", {"queued": 3})
    first, second = (jobs.start(json.loads(hint)["id"]) for hint in jobs.hints())
    assert (batches.get(batch_id).status, counts(batches.get(batch_id))) == ("running", {"queued": 1, "running": 2})
    jobs.store.requeue(second.job_id, second.fence, "crash")
    assert counts(batches.get(batch_id)) == {"queued": 2, "running": 1}
    jobs.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={})
    jobs.client.cancel(second.job_id)
    assert batches.get(batch_id).completed_at is None
    jobs.client.cancel(str(made.job_ids[2]))
    ended = batches.get(batch_id)
    assert (ended.status, counts(ended)) == ("cancelled", {"completed": 1, "cancelled": 2})
    assert ended.completed_at is not None
    assert differences(jobs.store) == []


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (("completed", "completed"), "completed"),
        (("completed", "failed"), "failed"),
        (("cancelled", "failed"), "failed"),
        (("cancelled", "completed"), "cancelled"),
    ],
)
def test_the_status_of_a_batch_that_has_ended(jobs: Cell, batches: Batches, ends: tuple[str, str], status: str) -> None:
    jobs.slots(2)
    made = batches.create(of(SLEEP, SLEEP))
    for hint, end in zip(jobs.hints(), ends, strict=True):
        job = jobs.start(json.loads(hint)["id"])
        jobs.store.finish(job.job_id, job.fence, JobStatus(end), result={}, error="x")
    assert batches.get(made.batch.batch_id).status == status


def test_an_atomic_batch_with_one_wrong_job_makes_none_and_names_each(jobs: Cell, batches: Batches) -> None:
    with pytest.raises(InvalidItems) as refused:
        batches.create(of(SLEEP, BAD, replace(SLEEP, pipeline="nope"), replace(SLEEP, depends_on=("job_1_00000000",))))
    fields = [(error["field"], error["code"]) for error in refused.value.errors]
    assert fields == [("jobs.1.params.seconds", "invalid_input"), ("jobs.2.pipeline", "unknown_pipeline")]
    with pytest.raises(InvalidItems) as refused:
        batches.create(of(SLEEP, replace(SLEEP, depends_on=("job_1_00000000",)), SLEEP, replace(SLEEP, depends_on=("job_1_00000001",))))
    assert [error["field"] for error in refused.value.errors] == ["jobs.1.depends_on.0", "jobs.3.depends_on.0"]
    assert jobs.client.list(JobQuery()).items == ()
    assert differences(jobs.store) == []


def test_a_partial_batch_leaves_out_the_wrong_ones_and_says_which(jobs: Cell, batches: Batches) -> None:
    gone = replace(SLEEP, depends_on=("job_1_00000000",))
    made = batches.create(of(BAD, SLEEP, gone, SLEEP), partial=True)
    assert [error["field"] for error in made.errors] == ["jobs.0.params.seconds", "jobs.2.depends_on.0"]
    assert [job_id is None for job_id in made.job_ids] == [True, False, True, False]
    assert made.batch.total == 2
    assert [job.job_id for job in jobs.client.list(JobQuery(batch_id=made.batch.batch_id)).items] == [made.job_ids[3], made.job_ids[1]]
    with pytest.raises(InvalidItems):
        batches.create(of(BAD, BAD), partial=True)
    assert differences(jobs.store) == []


@pytest.mark.parametrize("n", [0, MAX_JOBS + 1])
def test_a_batch_has_its_bounds(batches: Batches, n: int) -> None:
    with pytest.raises(InvalidInput, match=r"1\.\.1000"):
        batches.create(of(*[SLEEP] * n))


def test_a_thousand_jobs_in_one_call(jobs: Cell, batches: Batches) -> None:
    made = batches.create(of(*[SLEEP] * MAX_JOBS))
    assert len(set(made.job_ids)) == MAX_JOBS
    assert counts(batches.get(made.batch.batch_id)) == {"queued": MAX_JOBS}
    assert differences(jobs.store) == []


def in_the_same_second(jobs: Cell, make: Callable[[], object]) -> None:
    """Make a large batch; the second after it lasts for a minute, so that a slow machine is no other one."""
    key = jobs.store.keys("large_batch", "acme")
    for _ in range(5):
        make()
        with jobs.store.client.pipeline() as pipe:
            pipe.execute_command("PTTL", key)
            pipe.execute_command("EXPIRE", key, 60)
            left, there = pipe.execute()
        if there:
            assert 0 < left <= 1000
            return
    pytest.fail("no large batch was noted")


def test_a_tenant_makes_one_large_batch_a_second(jobs: Cell, batches: Batches) -> None:
    large = [SLEEP] * 201
    batches.create(of(*large[:200]))
    assert not jobs.store.client.exists(jobs.store.keys("large_batch", "acme"))
    in_the_same_second(jobs, lambda: batches.create(of(*large)))
    before = jobs.store.client.zcard(jobs.store.keys("status", "queued"))
    with pytest.raises(RateLimited, match="200 jobs") as refused:
        batches.create(of(*large))
    assert (0 < refused.value.retry_after <= 60, refused.value.whose) == (True, "batch")
    assert jobs.store.client.zcard(jobs.store.keys("status", "queued")) == before
    # Others may, and smaller ones come in.
    batches.create(NewBatch(large, "other"))
    batches.create(of(*large[:200]))
    # As if the second had passed.
    jobs.store.client.delete(jobs.store.keys("large_batch", "acme"))
    batches.create(of(*large))
    assert differences(jobs.store) == []


def test_a_large_batch_that_is_sent_twice_is_not_refused_for_itself(jobs: Cell, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    run = jobs.store.run

    def twice(script: str, /, **arguments: Any) -> Any:
        if script == "submit_batch":
            assert run(script, **arguments).became == "ok"
        return run(script, **arguments)

    monkeypatch.setattr(jobs.store, "run", twice)
    made = batches.create(of(*[SLEEP] * 201), idempotency_key="k")
    jobs.store.client.set(jobs.store.keys("large_batch", "acme"), "1", ex=60)
    monkeypatch.setattr(jobs.store, "run", run)
    assert batches.create(of(*[SLEEP] * 201), idempotency_key="k").batch == made.batch
    assert jobs.store.client.zcard(jobs.store.keys("status", "queued")) == 201


def tagged(n: int) -> list[NewJob]:
    return [replace(SLEEP, tags=("all", *(f"{number}-{tag}" for tag in range(19)))) for number in range(n)]


def test_jobs_of_a_batch_are_found_by_very_many_tags_when_it_is_made(jobs: Cell, batches: Batches) -> None:
    batches.create(of(*tagged(150)))
    assert len(jobs.client.list(JobQuery(tenant_id="acme", tag="all", limit=100)).items) == 100
    assert not jobs.store.client.exists(jobs.store.keys("untagged"))
    assert differences(jobs.store) == []


def test_a_process_that_dies_before_the_tags_are_written_leaves_them_to_the_duties(
    jobs: Cell, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batches, "_settle", lambda self: None)
    made = batches.create(of(*tagged(150)))
    left = jobs.store.client.lrange(jobs.store.keys("untagged"), 0, -1)
    assert 0 < len(left) < 150
    # One that goes meanwhile leaves no trace.
    jobs.client.cancel(left[-1])
    jobs.client.delete(left[-1])
    jobs.slots(0)
    Rescue(jobs.store, jobs.settings).run_once()
    assert jobs.store.client.zcard(jobs.store.keys("tag", "acme", "all")) == 149
    assert made.job_ids.index(left[-1]) >= 0
    assert differences(jobs.store) == []


def test_the_jobs_of_a_batch_have_not_very_many_dependencies(jobs: Cell, batches: Batches) -> None:
    needs = tuple(jobs.submit(tenant_id="acme").job_id for _ in range(20))
    one = replace(SLEEP, depends_on=needs)
    with pytest.raises(InvalidInput, match="2000 others"):
        batches.create(of(*[one] * 101))
    batches.create(of(*[one] * 100))
    assert differences(jobs.store) == []


def test_an_id_that_is_taken_is_drawn_again(jobs: Cell, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    known = jobs.submit()
    drawn = iter([[known.job_id, "job_1_00000001"], ["job_1_00000002", "job_1_00000003"]])
    monkeypatch.setattr("pipeline_jobs.jobs.batches._draw_ids", lambda *_: next(drawn))
    assert batches.create(of(SLEEP, SLEEP)).job_ids == ("job_1_00000002", "job_1_00000003")
    assert len(jobs.client.list(JobQuery()).items) == 3


def test_a_batch_sent_twice_is_one(jobs: Cell) -> None:
    common = json.dumps(["pipeline", "sleep", "tenant_id", "acme", "workspace_id", "main", "batch_id", "batch_1_00000001"])
    items = json.dumps([["job_1_00000001", -1, -1]])

    def send(nonce: str) -> list[object]:
        accepted = jobs.store.acceptance(None, None)
        return list(
            jobs.store.run("submit_batch", id="batch_1_00000001", nonce=nonce, common=common, size=1, jobs=items, **PLAIN, **accepted)
        )

    first = send("same")
    assert first[0] == "ok"
    assert send("same") == first
    assert send("other") == ["taken"]
    assert len(jobs.client.list(JobQuery()).items) == 1
    assert differences(jobs.store) == []


def test_a_large_batch_that_comes_too_soon_is_refused_before_its_jobs_are_read(jobs: Cell) -> None:
    jobs.store.client.set(jobs.store.keys("large_batch", "acme"), "1", ex=60)
    common = json.dumps(["pipeline", "sleep", "tenant_id", "acme", "workspace_id", "main"])

    def send(size: int) -> list[object]:
        accepted = jobs.store.acceptance(None, None)
        return list(
            jobs.store.run("submit_batch", id="batch_1_00000001", nonce="n", common=common, size=size, jobs="[no list", **PLAIN, **accepted)
        )

    assert send(201)[:2] == ["rate", "batch"]
    with pytest.raises(ResponseError):
        send(200)


def test_an_idempotency_key_makes_one_batch_and_the_repetition_has_the_same_answer(jobs: Cell, batches: Batches) -> None:
    news = of(SLEEP, replace(SLEEP, depends_on=("job_1_00000000",)), BAD, SLEEP)
    first = batches.create(news, partial=True, idempotency_key="k")
    again = batches.create(news, partial=True, idempotency_key="k")
    assert again.replayed
    assert not first.replayed
    assert replace(again, replayed=False) == first
    with pytest.raises(KeyReused):
        batches.create(of(SLEEP), idempotency_key="k")
    # Of single jobs and of other tenants the key is another one.
    jobs.client.submit(replace(SLEEP, tenant_id="acme"), idempotency_key="k")
    batches.create(replace(of(SLEEP), tenant_id="other"), idempotency_key="k")
    for job in jobs.client.list(JobQuery(batch_id=first.batch.batch_id)).items:
        jobs.client.cancel(job.job_id)
        jobs.client.delete(job.job_id)
    with pytest.raises(UnknownBatch):
        batches.create(news, partial=True, idempotency_key="k")


def test_limits_count_each_job_and_hold_for_the_batch_as_a_whole(jobs: Cell) -> None:
    capped = jobs.with_settings(max_queued_per_tenant=5)
    batches = Batches(capped.client)
    batches.create(of(*[SLEEP] * 3))
    with pytest.raises(QueueFull):
        batches.create(of(*[SLEEP] * 3), partial=True)
    batches.create(of(*[SLEEP] * 2))
    capped.store.set_limits("other", {"submit_rate": 5})
    batches.create(of(*[SLEEP] * 5, tenant_id="other"))
    with pytest.raises(RateLimited):
        batches.create(of(SLEEP, tenant_id="other"))
    assert differences(capped.store) == []


def test_a_batch_takes_a_token_for_each_job_and_owes_what_is_missing(jobs: Cell, batches: Batches) -> None:
    jobs.store.set_limits("acme", {"submit_rate": 0.5})
    batches.create(of(*[SLEEP] * 100))
    with pytest.raises(RateLimited) as refused:
        batches.create(of(SLEEP))
    # 99 are owed and one is needed, at one in two seconds.
    assert 100 <= refused.value.retry_after <= 200
    assert float(jobs.store.client.ttl(jobs.store.keys("rate", "acme"))) > 200


def test_a_batch_is_cancelled_as_one_and_ended_jobs_stay_as_they_are(jobs: Cell, batches: Batches) -> None:
    jobs.slots(2)
    made = batches.create(of(*[SLEEP] * 250))
    first, second = (jobs.start(json.loads(hint)["id"]) for hint in jobs.hints())
    jobs.slots(0)
    jobs.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={})
    done = batches.cancel(made.batch.batch_id)
    assert (done.matched, done.cancelled, done.stopping, done.next_cursor) == (249, 248, 1, None)
    assert counts(batches.get(made.batch.batch_id)) == {"completed": 1, "running": 1, "cancelled": 248}
    assert jobs.client.get(second.job_id).cancel_requested
    assert jobs.store.finish(second.job_id, second.fence, JobStatus.COMPLETED, result={}) is JobStatus.CANCELLED
    assert batches.cancel(made.batch.batch_id).matched == 0
    with pytest.raises(UnknownBatch):
        batches.cancel("batch_1_00000000")
    assert differences(jobs.store) == []


def test_its_end_is_told_once_in_the_tenants_feed(jobs: Cell, batches: Batches) -> None:
    made = batches.create(of(SLEEP, SLEEP, workspace_id="w"))
    other = batches.create(of(SLEEP))
    batch_id = made.batch.batch_id

    def told(workspace: str | None = None) -> list[events.Event]:
        page = events.feed(jobs.store, "acme", workspace_id=workspace)
        return [event for event in page.events if event.type is EventType.BATCH_COMPLETED]

    jobs.client.cancel(str(made.job_ids[0]))
    assert told() == []
    batches.cancel(batch_id)
    batches.cancel(batch_id)
    (event,) = told()
    ended = batches.get(batch_id)
    assert event.to_dict() == {
        "id": f"{batch_id}.1", "seq": 1, "type": "batch.completed", "job_id": None, "batch_id": batch_id, "tenant_id": "acme",
        "workspace_id": "w", "created_at": rfc3339(ended.completed_at),
        "data": {"total": 2, "counts": {"completed": 0, "failed": 0, "cancelled": 2}},
    }  # fmt: skip
    assert (len(told("w")), told("main")) == (1, [])
    assert events.feed(jobs.store, "acme").events[-1].type is EventType.BATCH_COMPLETED
    batches.cancel(other.batch.batch_id)
    assert [event.job_id for event in told()] == [batch_id, other.batch.batch_id]
    for job_id in made.job_ids:
        jobs.client.delete(str(job_id))
    assert [event.job_id for event in told()] == [other.batch.batch_id]


def test_its_end_is_told_once_even_where_its_counts_are_too_low(jobs: Cell, batches: Batches) -> None:
    """As after a record was lost: two of its jobs then end when nobody seems to be left."""
    made = batches.create(of(SLEEP, SLEEP))
    jobs.store.client.hincrby(jobs.store.keys("batch", made.batch.batch_id), "queued", -1)
    jobs.client.cancel(str(made.job_ids[0]))
    at = batches.get(made.batch.batch_id).completed_at
    jobs.client.cancel(str(made.job_ids[1]))
    assert at is not None
    assert batches.get(made.batch.batch_id).completed_at == at
    assert [event.type for event in events.feed(jobs.store, "acme").events].count(EventType.BATCH_COMPLETED) == 1


def test_a_batch_goes_with_the_last_of_its_jobs_and_counts_those_that_went_before(jobs: Cell, batches: Batches) -> None:
    made = batches.create(of(SLEEP, SLEEP, metadata={"x": 1}))
    batches.cancel(made.batch.batch_id)
    jobs.client.delete(str(made.job_ids[0]))
    left = batches.get(made.batch.batch_id)
    assert (left.total, counts(left), left.metadata) == (2, {"cancelled": 2}, {"x": 1})
    jobs.store.client.zadd(jobs.store.keys("ended"), {str(made.job_ids[1]): 1})
    jobs.store.purge()
    with pytest.raises(UnknownBatch):
        batches.get(made.batch.batch_id)
    assert [key for key in jobs.store.client.keys("*") if "batch" in key] == []


def test_lists_of_batches(jobs: Cell, batches: Batches) -> None:
    ids = [batches.create(of(SLEEP, workspace_id=f"w{n % 2}")).batch.batch_id for n in range(5)]
    other = batches.create(of(SLEEP, tenant_id="other")).batch.batch_id

    def listed(**query: object) -> list[str]:
        found, cursor = [], None
        while True:
            page = batches.list(BatchQuery(**query, cursor=cursor))  # type: ignore[arg-type]
            found += [batch.batch_id for batch in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found

    assert listed() == [other, *ids[::-1]]
    assert listed(tenant_id="acme", limit=2) == ids[::-1]
    assert listed(tenant_id="acme", limit=5) == ids[::-1]
    assert listed(tenant_id="acme", workspace_id="w1") == [ids[3], ids[1]]
    assert listed(tenant_id="ghost") == []
    for wrong in ({"workspace_id": "w1"}, {"cursor": "x"}):
        with pytest.raises(InvalidInput):
            batches.list(BatchQuery(**wrong))  # type: ignore[arg-type]


def test_a_batchs_jobs_are_listed_by_status_too(jobs: Cell, batches: Batches) -> None:
    made = batches.create(of(*[SLEEP] * 5))
    jobs.client.cancel(str(made.job_ids[2]))
    ids = [job.job_id for job in jobs.client.list(JobQuery(batch_id=made.batch.batch_id, statuses=(JobStatus.CANCELLED,))).items]
    assert ids == [made.job_ids[2]]
    # Of another tenant it is an unknown one: an empty page.
    assert jobs.client.list(JobQuery(tenant_id="other", batch_id=made.batch.batch_id)).items == ()
    assert jobs.client.list(JobQuery(batch_id=made.batch.batch_id, within="other")).items == ()


def test_a_job_whose_id_looks_like_a_batchs_is_in_the_feed_beside_a_batch_of_that_id(jobs: Cell, batches: Batches) -> None:
    made = batches.create(of(SLEEP))
    jobs.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id=made.batch.batch_id)
    jobs.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id="batch_of_mine")
    batches.cancel(made.batch.batch_id)
    jobs.client.cancel(made.batch.batch_id)
    told = [(event.job_id, event.type.value) for event in events.feed(jobs.store, "acme").events]
    assert told == [
        (str(made.job_ids[0]), "job.created"), (made.batch.batch_id, "job.created"), ("batch_of_mine", "job.created"),
        (str(made.job_ids[0]), "job.cancelled"), (made.batch.batch_id, "batch.completed"), (made.batch.batch_id, "job.cancelled"),
    ]  # fmt: skip


def test_the_end_of_a_batch_that_the_version_before_wrote_is_in_the_feed(jobs: Cell, batches: Batches) -> None:
    made = batches.create(of(SLEEP))
    batches.cancel(made.batch.batch_id)
    key = jobs.store.keys("feed", "acme")
    place, _ = jobs.store.client.xrevrange(key, count=1)[0]
    jobs.store.client.execute_command("XDEL", key, place)
    jobs.store.client.xadd(key, {"e": f"{made.batch.batch_id}:1"})
    assert events.feed(jobs.store, "acme").events[-1].type is EventType.BATCH_COMPLETED
