"""Callbacks, chains, chords and errbacks of jobs, whoever ends these: told once where a run tells them, at least once in every case."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Task, chain, chord
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError
from celery.worker import state
from kombu.exceptions import OperationalError

from pipeline_jobs.exceptions import QueueFull, StoreUnavailable
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.backend import celery_state
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.result import JobFailed
from tests.celery_apps import REAL_WORKERS, celery_app
from tests.clock import set_clock
from tests.waiting import until


class Away(Task):
    """A task whose message cannot be sent while there is an error."""

    abstract = True
    error: Exception | None = None

    def apply_async(self, *args: Any, **options: Any) -> Any:
        if self.error:
            raise self.error
        return super().apply_async(*args, **options)


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    with celery_app(cell.model_copy(update={"max_crashes": 1})) as app:

        @app.task(name="t.note", shared=False)
        def note(*given: Any) -> Any:
            return list(given)

        # With one argument it is sent as a task; one with more would be called in the process that tells.
        @app.task(name="t.failed", shared=False)
        def failed(job_id: str) -> str:
            return job_id

        @app.task(name="t.late", shared=False, base=Away)
        def late(result: Any) -> Any:
            return result["success"]

        yield app


def job(app: JobsCelery, **fields: Any) -> Any:
    return app.tasks[JOB_TASK].si(pipeline="sleep", **fields)


def note(app: JobsCelery, task_id: str) -> Any:
    return app.tasks["t.note"].s().set(task_id=task_id)


def failed(app: JobsCelery, task_id: str) -> Any:
    return app.tasks["t.failed"].s().set(task_id=task_id)


def sent(app: JobsCelery) -> dict[str, list[Any]]:
    """What waits for a worker of plain tasks: the arguments of each task, by its id."""
    found: dict[str, list[Any]] = {}
    for text in app.cell.store.client.lrange("stages", 0, -1):
        message = json.loads(text)
        args, _, _ = json.loads(base64.b64decode(message["body"]))
        task_id = message["headers"]["id"]
        assert task_id not in found, "sent twice"
        found[task_id] = args
    return found


def tell(app: JobsCelery) -> int:
    return int(app.cell.duties["continue"]()["continued"])


def rows(app: JobsCelery) -> list[str]:
    return app.cell.store.members("continuations")


def time_passes(app: JobsCelery) -> None:
    """As if ten seconds had passed for every row."""
    for job_id in rows(app):
        app.cell.store.client.zadd(app.cell.store.keys("continuations"), {job_id: 1})


def claim(app: JobsCelery, result: Any) -> Job:
    app.cell.store.announce("w1", 100, [])
    record = app.cell.client.get(result.id)
    claimed = app.cell.store.claim(record.job_id, record.fence, worker="w1", run="run")
    assert isinstance(claimed, Job), claimed
    return claimed


def expire(app: JobsCelery, index: str, job_id: str) -> None:
    """As if a time of the job had come."""
    app.cell.store.client.zadd(app.cell.store.keys(index), {job_id: 1})
    app.cell.rescue.run_once()


def end_by_cancel(app: JobsCelery, result: Any) -> None:
    app.cell.client.cancel(result.id)


def end_by_lost_worker(app: JobsCelery, result: Any) -> None:
    claim(app, result)
    expire(app, "leases", result.id)


def end_by_dead_child(app: JobsCelery, result: Any) -> None:
    app.cell.store.requeue(result.id, claim(app, result).fence, "crash")


def end_by_cancel_of_a_lost_run(app: JobsCelery, result: Any) -> None:
    claim(app, result)
    app.cell.client.cancel(result.id)
    expire(app, "leases", result.id)


def end_by_deadline(app: JobsCelery, result: Any) -> None:
    expire(app, "deadlines", result.id)


def end_by_wait(app: JobsCelery, result: Any) -> None:
    expire(app, "waits", result.id)


def end_by_dependency(app: JobsCelery, result: Any) -> None:
    app.cell.client.cancel(app.cell.client.get(result.id).depends_on[0])


#: Ways to an end in which no run tells of it; what the job needs for it, and what its errback's chord is told.
ENDS: list[tuple[Callable[[JobsCelery, Any], None], dict[str, Any], str]] = [
    (end_by_cancel, {}, "cancelled"),
    (end_by_lost_worker, {}, "worker process died"),
    (end_by_dead_child, {}, "worker process died"),
    (end_by_cancel_of_a_lost_run, {}, "cancelled"),
    (end_by_deadline, {"deadline_seconds": 600}, "deadline"),
    (end_by_wait, {"start_within_seconds": 600}, "start_within_seconds"),
    (end_by_dependency, {}, "depends"),
    (end_by_dependency, {"on_dependency_failure": "cancel"}, "cancelled"),
]
every_end = pytest.mark.parametrize(
    ("end", "fields", "why"), ENDS, ids=[f"{end.__name__}{'_cancel' if 'on_dependency_failure' in f else ''}" for end, f, _ in ENDS]
)


def needs(app: JobsCelery, end: Any, fields: dict[str, Any]) -> dict[str, Any]:
    if end is not end_by_dependency:
        return fields
    return {**fields, "depends_on": [app.cell.client.submit(NewJob(pipeline="sleep")).job_id]}


@every_end
def test_an_errback_is_sent_once_whatever_ends_the_job(app: JobsCelery, end: Any, fields: dict[str, Any], why: str) -> None:
    result = job(app, **needs(app, end, fields)).apply_async(link=note(app, "good"), link_error=failed(app, "bad"))
    assert (tell(app), sent(app)) == (0, {})
    end(app, result)
    assert app.cell.client.get(result.id).ended
    assert tell(app) == 1
    assert sent(app) == {"bad": [result.id]}
    assert (tell(app), rows(app), app.cell.store.record("continuation", result.id)) == (0, [], {})


@every_end
def test_a_chord_hears_of_a_member_whatever_ends_it(app: JobsCelery, end: Any, fields: dict[str, Any], why: str) -> None:
    body = app.tasks["t.note"].s().on_error(failed(app, "bad"))
    result = chord([job(app), job(app, **needs(app, end, fields))], body)()
    first, second = result.parent.results
    app.cell.store.finish(first.id, claim(app, first).fence, JobStatus.COMPLETED, result=1)
    end(app, second)
    time_passes(app)
    assert tell(app) == 2
    with pytest.raises(ChordError, match=why):
        app.AsyncResult(result.id).get(timeout=60)
    assert sent(app) == {"bad": [result.id]}


@every_end
def test_those_who_wait_for_the_end_of_a_chain_hear_of_the_link_that_broke(
    app: JobsCelery, end: Any, fields: dict[str, Any], why: str
) -> None:
    last = chain(job(app, **needs(app, end, fields)), app.tasks["t.note"].s(), job(app)).apply_async()
    end(app, last.parent.parent)
    tell(app)
    for waiter in (last, last.parent):
        with pytest.raises(Exception, match=why):
            app.AsyncResult(waiter.id).get(timeout=60)
    assert sent(app) == {}


def test_what_a_child_did_not_live_to_send_is_sent_after_ten_seconds(app: JobsCelery) -> None:
    result = chain(job(app).set(link=note(app, "linked")), app.tasks["t.note"].s().set(task_id="next"), job(app)).apply_async()
    first = result.parent.parent
    app.cell.store.finish(first.id, claim(app, first).fence, JobStatus.COMPLETED, result={"data": 5})
    # The child has its chance first; and a record that is deleted meanwhile breaks no chain.
    assert (tell(app), sent(app)) == (0, {})
    app.cell.client.delete(first.id)
    time_passes(app)
    assert tell(app) == 1
    assert sent(app) == {"linked": [{"data": 5}], "next": [{"data": 5}]}
    assert tell(app) == 0


def test_a_chord_counts_a_member_once_that_is_told_twice(app: JobsCelery) -> None:
    result = chord([job(app), job(app)], app.tasks["t.note"].s().set(task_id="body"))()
    first, second = result.parent.results
    for member in (first, second):
        app.cell.store.finish(member.id, claim(app, member).fence, JobStatus.COMPLETED, result=member.id)
    row = app.cell.store.record("continuation", first.id)
    time_passes(app)
    assert tell(app) == 2
    # The teller died before it could remove the row.
    app.cell.store.client.hset(app.cell.store.keys("continuation", first.id), mapping=row)
    app.cell.store.client.zadd(app.cell.store.keys("continuations"), {first.id: 1})
    assert tell(app) == 1
    assert sent(app) == {"body": [[first.id, second.id]]}


class Died(BaseException):
    """A process ends here: what it would have tidied up stays."""


def test_a_chord_is_not_lost_with_the_process_that_had_claimed_its_body(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_args: Any, **_options: Any) -> None:
        raise Died

    result = chord([job(app), job(app)], app.tasks["t.note"].s().set(task_id="body"))()
    first, second = result.parent.results
    for member in (first, second):
        app.cell.store.finish(member.id, claim(app, member).fence, JobStatus.COMPLETED, result=member.id)
    time_passes(app)
    [_, last] = rows(app)
    with monkeypatch.context() as patched:
        patched.setattr(app.backend, "_chord_claim_extend_script", dies)
        with pytest.raises(Died):
            tell(app)
    claim_key = app.backend.get_key_for_group(result.parent.id, ".c")
    assert app.backend.client.pttl(claim_key) > 0
    # Ten seconds later its claim still stands, and Celery does nothing. The other member was only counted: its row is gone.
    time_passes(app)
    tell(app)
    assert (rows(app), sent(app)) == ([last], {})
    app.backend.client.pexpire(claim_key, 0)
    time_passes(app)
    assert tell(app) == 1
    assert sent(app) == {"body": [[first.id, second.id]]}


def test_a_claim_from_before_the_clock_was_set_back_ends_as_soon_as_any(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_args: Any, **_options: Any) -> None:
        raise Died

    result = chord([job(app)], job(app).set(task_id="the-body"))()
    [member] = result.parent.results
    app.cell.store.finish(member.id, claim(app, member).fence, JobStatus.COMPLETED, result=member.id)
    time_passes(app)
    with monkeypatch.context() as patched:
        patched.setattr(app.backend, "_chord_claim_extend_script", dies)
        with pytest.raises(Died):
            tell(app)
    claim_key = app.backend.get_key_for_group(result.parent.id, ".c")
    app.backend.client.pexpire(claim_key, 14 * 3_600_000)
    time_passes(app)
    tell(app)
    assert 0 < app.backend.client.pttl(claim_key) <= 60_000
    # One that ends earlier is left as it is.
    app.backend.client.pexpire(claim_key, 100)
    time_passes(app)
    tell(app)
    assert app.backend.client.pttl(claim_key) <= 100


@pytest.mark.parametrize("step", ["_chord_claim_extend_script", "_chord_cleanup_script", "decode", "body", "connection"])
def test_a_chord_outlives_a_store_that_goes_away_as_it_is_joined(app: JobsCelery, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def away(*_args: Any, **_options: Any) -> None:
        raise (StoreUnavailable if step in ("decode", "body") else redis.ConnectionError)("the store cannot be reached")

    body = job(app).set(task_id="the-body").on_error(failed(app, "bad"))
    result = chord([job(app), job(app)], body)()
    for member in result.parent.results:
        app.cell.store.finish(member.id, claim(app, member).fence, JobStatus.COMPLETED, result=member.id)
    time_passes(app)
    [_, last] = rows(app)
    with monkeypatch.context() as patched:
        if step == "connection":
            patched.setattr("redis.client.Pipeline.zrange", away)
        elif step == "body":
            patched.setattr(app.cell.client, "accept", away)
        else:
            patched.setattr(app.backend, step, away)
        tell(app)
    assert rows(app) == [last]
    # The body was sent before the last step.
    assert app.cell.client.is_job("the-body") is (step == "_chord_cleanup_script")
    app.backend.client.pexpire(app.backend.get_key_for_group(result.parent.id, ".c"), 0)
    time_passes(app)
    assert tell(app) == 1
    assert app.cell.client.get("the-body").status is JobStatus.QUEUED
    assert (rows(app), sent(app)) == ([], {})


def test_a_claim_that_ends_while_celery_is_told_loses_no_chord(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    result = chord([job(app), job(app)], app.tasks["t.note"].s().set(task_id="body"))()
    first, second = result.parent.results
    for member in (first, second):
        app.cell.store.finish(member.id, claim(app, member).fence, JobStatus.COMPLETED, result=member.id)
        time_passes(app)
        if member is first:
            assert tell(app) == 1
    claim_key = app.backend.get_key_for_group(result.parent.id, ".c")
    app.backend.client.set(claim_key, "of a process that died", ex=21)
    done = app.backend.mark_as_done

    def slow(*args: Any, **options: Any) -> None:
        done(*args, **options)
        app.backend.client.delete(claim_key)

    monkeypatch.setattr(app.backend, "mark_as_done", slow)
    tell(app)
    assert (rows(app), sent(app)) == ([second.id], {})
    time_passes(app)
    tell(app)
    assert (rows(app), sent(app)) == ([], {"body": [[first.id, second.id]]})


def test_what_one_maintenance_worker_has_taken_another_leaves_for_ten_seconds(app: JobsCelery) -> None:
    result = job(app).apply_async(link_error=failed(app, "bad"))
    app.cell.client.cancel(result.id)
    # The first one dies here.
    assert app.cell.store.run("continue", limit=10) == [result.id]
    assert (tell(app), sent(app)) == (0, {})
    time_passes(app)
    assert (tell(app), sent(app)) == (1, {"bad": [result.id]})


def untold(app: JobsCelery, job_id: str, errback: str) -> str:
    """A job with this id fails, and is deleted before anybody told of that. :return: its fence."""
    result = job(app).apply_async(task_id=job_id, link_error=failed(app, errback))
    run = claim(app, result)
    app.cell.store.finish(result.id, run.fence, JobStatus.FAILED, error="no luck")
    app.cell.client.delete(result.id)
    return str(run.fence)


def test_an_id_that_is_used_again_loses_no_errback_of_the_job_before(app: JobsCelery) -> None:
    fences = [untold(app, "one", errback) for errback in ("first", "second", "third")]
    app.cell.client.cancel(job(app).apply_async(task_id="one", link_error=failed(app, "fourth")).id)
    assert len(rows(app)) == 4
    # The process of the third says that it told its own end, not that of the first.
    assert app.cell.store.run("continued", id="one", outcome="failed", fence=fences[2]) == 1
    time_passes(app)
    assert tell(app) == 3
    assert sent(app) == {name: ["one"] for name in ("first", "second", "fourth")}
    assert (tell(app), rows(app)) == (0, [])
    assert [app.cell.store.record("later_continuation", "one", fence) for fence in fences] == [{}, {}, {}]


def test_a_row_of_the_release_before_is_told_once_and_is_no_later_jobs(app: JobsCelery) -> None:
    untold(app, "one", "first")
    app.cell.store.client.hdel(app.cell.store.keys("continuation", "one"), "fence")
    fence = untold(app, "one", "second")
    # A worker of the release before takes the names of rows, finds none under this one, and leaves it.
    assert sorted(rows(app)) == ["one", f"one@{fence}"]
    assert app.cell.store.record("continuation", f"one@{fence}") == {}
    assert app.cell.store.run("continued", id="one", outcome="failed", fence=fence) == 1
    time_passes(app)
    assert (tell(app), sent(app), rows(app)) == (1, {"first": ["one"]}, [])


def test_who_told_of_an_end_removes_no_row_of_a_later_job(app: JobsCelery) -> None:
    first = untold(app, "one", "first")
    assert app.cell.store.run("continued", id="one", fence=first) == 1
    untold(app, "one", "second")
    assert app.cell.store.run("continued", id="one", fence=first) == 0
    assert rows(app) == ["one"]


def test_after_the_clock_was_set_back_no_row_waits_for_the_time_before(app: JobsCelery) -> None:
    result = chain(job(app), app.tasks["t.note"].s().set(task_id="next")).apply_async()
    app.cell.store.finish(result.parent.id, claim(app, result.parent).fence, JobStatus.COMPLETED, result=1)
    set_clock(app.cell.store, -3_600_000)
    assert (tell(app), sent(app), rows(app)) == (1, {"next": [1]}, [])


def test_a_job_of_a_chain_is_made_once_that_is_told_twice(app: JobsCelery) -> None:
    result = chain(job(app), job(app)).apply_async(link_error=failed(app, "bad"))
    first = claim(app, result.parent)
    app.cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result=1)
    row = app.cell.store.record("continuation", first.job_id)
    time_passes(app)
    assert tell(app) == 1
    made = app.cell.client.get(result.id)
    # The teller died before it could remove the row.
    app.cell.store.client.hset(app.cell.store.keys("continuation", first.job_id), mapping=row)
    app.cell.store.client.zadd(app.cell.store.keys("continuations"), {first.job_id: 1})
    assert (tell(app), rows(app), sent(app)) == (1, [], {})
    assert (app.cell.client.get(result.id), app.AsyncResult(result.id).state) == (made, celery_state(made))


def test_a_job_of_a_chain_that_a_limit_refuses_now_is_made_later(app: JobsCelery) -> None:
    app.cell.client.set_limits("full", TenantLimits(max_queued=1))
    waits = app.cell.client.submit(NewJob(pipeline="sleep", tenant_id="full"))
    with pytest.raises(QueueFull):
        app.cell.client.submit(NewJob(pipeline="sleep", tenant_id="full"))
    result = chain(job(app), job(app, tenant_id="full")).apply_async(link_error=failed(app, "bad"))
    first = claim(app, result.parent)
    app.cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result=1)
    time_passes(app)
    assert (tell(app), rows(app)) == (0, [first.job_id])
    app.cell.client.cancel(waits.job_id)
    time_passes(app)
    assert (tell(app), sent(app)) == (1, {})
    assert app.cell.client.get(result.id).status is JobStatus.QUEUED


def test_a_job_of_a_chain_that_can_never_be_made_breaks_it_loudly(app: JobsCelery) -> None:
    result = chain(job(app), job(app, max_attempts=99)).apply_async(link_error=failed(app, "bad"))
    first = claim(app, result.parent)
    app.cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result=1)
    time_passes(app)
    assert (tell(app), rows(app)) == (1, [])
    with pytest.raises(Exception, match="max_attempts"):
        app.AsyncResult(result.id).get(timeout=60)
    assert app.cell.client.get(first.job_id).status is JobStatus.COMPLETED


class TestWithAWorker:
    @pytest.fixture
    def cell(self, cell: Settings) -> Settings:
        return cell.model_copy(update=REAL_WORKERS)

    @pytest.fixture(autouse=True)
    def worker(self, app: JobsCelery) -> Iterator[Any]:
        with start_worker(app, pool="threads", concurrency=4, queues=["jobs", "stages"], perform_ping_check=False, shutdown_timeout=60):
            yield

    @pytest.mark.parametrize("fields", [{}, {"params": {"fail": "no luck"}}], ids=["completed", "failed"])
    def test_a_run_that_told_of_its_end_leaves_no_row(self, app: JobsCelery, fields: dict[str, Any]) -> None:
        result = job(app, **fields).apply_async(link=note(app, "told"), link_error=failed(app, "told"))
        until(lambda: app.AsyncResult("told").ready() and not rows(app), "told")
        assert app.cell.store.record("continuation", result.id) == {}
        assert tell(app) == 0

    @pytest.mark.parametrize("ends", ["failed", "cancelled"])
    def test_a_run_tells_of_its_own_end_though_an_earlier_job_with_its_id_is_untold(self, app: JobsCelery, ends: str) -> None:
        app.cell.client.set_limits("default", TenantLimits(paused=True))
        before = job(app).apply_async(task_id="one", link_error=failed(app, "first"))
        app.cell.client.cancel(before.id)
        app.cell.client.delete(before.id)
        app.cell.client.set_limits("default", TenantLimits())
        params = {"fail": "no luck"} if ends == "failed" else {"seconds": 600}
        result = job(app, params=params).apply_async(task_id="one", link_error=failed(app, "second"))
        if ends == "cancelled":
            until(lambda: app.cell.client.get(result.id).status is JobStatus.RUNNING, "running")
            result.revoke()
        until(lambda: app.AsyncResult("second").ready() and rows(app) == ["one"], "told")
        assert app.AsyncResult("first").state == "PENDING"
        assert tell(app) == 1
        assert app.AsyncResult("first").get(timeout=60) == "one"

    def test_a_run_that_is_cancelled_tells_of_it_at_once(self, app: JobsCelery) -> None:
        result = job(app, params={"seconds": 600}).apply_async(link_error=failed(app, "told"))
        until(lambda: app.cell.client.get(result.id).status is JobStatus.RUNNING, "running")
        result.revoke()
        until(lambda: app.AsyncResult("told").ready() and not rows(app), "told")
        assert app.AsyncResult("told").get(timeout=60) == result.id

    # Celery warns of an error outside a task's body; raised, the warning would leave the task active for ever.
    @pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
    def test_what_celery_cannot_send_of_a_completed_job_stays_and_is_no_failure(self, app: JobsCelery) -> None:
        app.cell.client.set_limits("full", TenantLimits(max_queued=1, paused=True))
        waits = app.cell.client.submit(NewJob(pipeline="sleep", tenant_id="full"))
        result = chain(job(app), job(app, tenant_id="full")).apply_async(link_error=failed(app, "bad"))
        until(lambda: app.cell.client.get(result.parent.id).ended and not state.active_requests, "the first job")
        assert rows(app) == [result.parent.id]
        app.cell.client.cancel(waits.job_id)
        time_passes(app)
        assert tell(app) == 1
        app.cell.client.set_limits("full", TenantLimits())
        assert result.get(timeout=60)["success"]
        assert app.AsyncResult("bad").state == "PENDING"

    @pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
    def test_a_limit_that_refuses_the_body_of_a_chord_for_now_is_no_failure(self, app: JobsCelery) -> None:
        app.cell.client.set_limits("full", TenantLimits(max_queued=1, paused=True))
        waits = app.cell.client.submit(NewJob(pipeline="sleep", tenant_id="full"))
        result = chord([job(app), job(app)], job(app, tenant_id="full").on_error(failed(app, "bad")))()
        members = result.parent.results
        until(lambda: all(app.cell.client.get(one.id).ended for one in members) and not state.active_requests, "the members")
        assert len(rows(app)) == 1
        app.cell.client.cancel(waits.job_id)
        app.backend.client.pexpire(app.backend.get_key_for_group(result.parent.id, ".c"), 0)
        app.cell.client.set_limits("full", TenantLimits())
        time_passes(app)
        assert tell(app) == 1
        # The body, which the worker runs at once, may have a row of its own for a moment.
        assert not {one.id for one in members} & set(rows(app))
        assert result.get(timeout=60)["success"]
        assert app.AsyncResult("bad").state == "PENDING"

    @pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
    @pytest.mark.parametrize("error", [OperationalError("the broker is away"), JobFailed("another job, which it asks for")], ids=repr)
    def test_what_is_wrong_as_the_callbacks_are_sent_calls_no_errback(
        self, app: JobsCelery, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """Nor if it is of the type that says that a run failed."""
        monkeypatch.setattr(Away, "error", error)
        errback = failed(app, "bad").set(queue="unread")
        result = chain(job(app), app.tasks["t.late"].s()).apply_async(link_error=errback)
        # Celery has said its last word of the job when its request is no longer active.
        until(lambda: app.cell.client.get(result.parent.id).ended and not state.active_requests, "the job")
        assert rows(app) == [result.parent.id]
        monkeypatch.setattr(Away, "error", None)
        time_passes(app)
        assert tell(app) == 1
        assert result.get(timeout=60) is True
        assert app.cell.store.client.llen("unread") == 0

    def test_a_failed_jobs_chain_is_told_once(self, app: JobsCelery) -> None:
        result = chain(job(app, params={"fail": "no luck"}), job(app)).apply_async()
        with pytest.raises(JobFailed, match="no luck"):
            app.AsyncResult(result.id).get(timeout=60)
        until(lambda: not rows(app), "told")
