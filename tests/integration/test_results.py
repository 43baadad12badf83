"""Large results: a file of the run's own folder, a reference in the record, and the whole for whoever asks for it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from celery import chain, chord
from celery.result import ResultSet
from pydantic import BaseModel

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import PublishError, ResultGone, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob, dumps
from pipeline_jobs.jobs import executor, patience
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.jobs.results import MAX_BY_VALUE, MAX_IN_RECORD
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.pipelines import Pipeline, Stage
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.result import JobFailed
from tests.celery_apps import celery_app
from tests.waiting import until

#: Characters of a result that goes by value, and of one that does not.
LARGE, TOO_LARGE = 200_000, 600_000
#: Bytes that a job with a result of 600 kB may cost the store more than one with an empty one, over all keys.
BAR_BYTES = 2_048


class FillParams(BaseModel):
    fill: int = 0


def fill(context: JobContext) -> dict[str, Any]:
    size = FillParams.model_validate(context.params).fill
    return {"echo": None, "filler": "x" * size} if size else {"echo": None}


FILL = Pipeline("fill", (Stage("sleep", lambda context: {"slept": 0.0}), Stage("answer", fill)), FillParams, needs_url=False)


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    # Files go with their record.
    with celery_app(cell.model_copy(update={"artifact_ttl_seconds": 0})) as app:

        @app.task(name="t.note", shared=False)
        def note(*given: Any) -> Any:
            return list(given)

        app.cell.pipelines.register(FILL)
        app.cell.store.announce("w1", 2000, [])
        yield app
        del app.cell.pipelines._pipelines[FILL.name]


def submitted(app: JobsCelery, fill: int, **fields: Any) -> Job:
    return app.cell.client.submit(NewJob(pipeline="fill", tenant_id="acme", params={"fill": fill}, **fields))


def run(app: JobsCelery, job_id: str) -> executor.Outcome:
    # The pretended worker says that it lives: on a slow machine its last word may be too long ago.
    app.cell.store.announce("w1", 2000, [])
    return app.cell.executor.run(job_id, app.cell.client.get(job_id).fence, "w1")


def ended(app: JobsCelery, fill: int, **fields: Any) -> Job:
    job = submitted(app, fill, **fields)
    assert run(app, job.job_id).ending is Ending.COMPLETED
    return app.cell.client.get(job.job_id)


def files(app: JobsCelery) -> list[str]:
    root = app.cell.settings.data_dir / "artifacts"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def sent(app: JobsCelery) -> dict[str, list[Any]]:
    """What waits for a worker of plain tasks: the arguments of each task, by its id."""
    messages = map(json.loads, app.cell.store.client.lrange("stages", 0, -1))
    return {message["headers"]["id"]: json.loads(base64.b64decode(message["body"]))[0] for message in messages}


def tell(app: JobsCelery) -> int:
    """By maintenance, as if ten seconds had passed for every row."""
    for job_id in app.cell.store.members("continuations"):
        app.cell.store.client.zadd(app.cell.store.keys("continuations"), {job_id: 1})
    return int(app.cell.duties["continue"]()["continued"])


def filler(result: Any) -> int:
    return len(result["data"]["filler"])


# -- where it lies


def test_a_large_result_lies_in_the_runs_folder_and_the_record_names_it(app: JobsCelery) -> None:
    job = ended(app, LARGE)
    assert job.result_ref == f"{job.artifacts}/result.json" == f"acme/main/{job.job_id}/{job.fence}/result.json"
    assert files(app) == [job.result_ref]
    text = app.cell.artifacts.read(job.result_ref)
    assert json.loads(text)["data"]["filler"] == "x" * LARGE
    assert (job.result["result_bytes"], job.artifact_bytes, app.cell.store.tenant_bytes("acme")) == (len(text),) * 3
    assert set(job.result["data"]) == {"slept", "echo", "filler"}
    assert len(dumps(job.result)) < 600
    app.cell.client.delete(job.job_id)
    app.cell.duties["purge"]()
    assert (files(app), app.cell.store.tenant_bytes("acme")) == ([], 0)


def test_one_that_is_not_large_lies_in_the_record(app: JobsCelery) -> None:
    around = len(dumps(ended(app, 1).result)) - 1
    # The time that it slept is written with up to five characters.
    room = MAX_IN_RECORD - around - 5
    small, large = ended(app, room), ended(app, room + 10)
    assert (small.result_ref, filler(small.result)) == (None, room)
    assert files(app) == [large.result_ref]


def test_a_file_of_the_pipelines_own_with_that_name_is_not_touched(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    put = executor.run_stages

    def publishes(pipeline: Any, context: Any, *more: Any) -> Mapping[str, Any]:
        path = context.workdir / "mine"
        path.write_text("mine")
        context.publish(path, "result.json")
        return put(pipeline, context, *more)

    monkeypatch.setattr(executor, "run_stages", publishes)
    job = ended(app, LARGE)
    assert app.cell.artifacts.read(f"{job.artifacts}/result.json") == b"mine"
    assert filler(app.AsyncResult(job.job_id).get(timeout=60)) == LARGE


# -- who asks for it


def test_every_way_to_a_result_gives_the_whole(app: JobsCelery) -> None:
    jobs = [ended(app, TOO_LARGE), ended(app, 5), ended(app, LARGE)]
    sizes = [TOO_LARGE, 5, LARGE]

    def fresh() -> list[Any]:
        # What one way has fetched, another must not find.
        app.backend._cache.clear()
        return [app.AsyncResult(job.job_id) for job in jobs]

    assert [filler(one.get(timeout=60)) for one in fresh()] == sizes
    assert [filler(one.result) for one in fresh()] == sizes
    assert [filler(one) for one in ResultSet(fresh(), app=app).get(timeout=60)] == sizes
    assert [filler(one) for one in app.GroupResult("group", fresh()).join(timeout=60)] == sizes
    native = dict(app.GroupResult("group", fresh()).iter_native(timeout=60))
    assert [filler(native[job.job_id]["result"]) for job in jobs] == sizes
    app.backend._cache.clear()
    many = dict(app.backend.get_many({job.job_id for job in jobs}, max_iterations=1))
    assert [filler(many[job.job_id]["result"]) for job in jobs] == sizes


def test_the_record_is_read_without_the_file(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(app, LARGE)
    monkeypatch.setattr(ArtifactStore, "read", lambda self, path: pytest.fail("the file was read"))
    assert app.AsyncResult(job.job_id).record() == job


def test_who_waits_is_told_by_a_short_message_and_given_the_whole(app: JobsCelery) -> None:
    job = submitted(app, TOO_LARGE)
    channel = f"celery-task-meta-{job.job_id}"
    told: list[str] = []
    found: list[Any] = []
    waits = threading.Event()
    backends: list[Any] = []

    def wait() -> None:
        backends.append(app.backend)
        consumer = app.backend.result_consumer
        # Only what is published may tell it.
        consumer._look = lambda: None
        decode = consumer._decode_result
        consumer._decode_result = lambda text: told.append(text) or decode(text)
        found.extend(ResultSet([app.AsyncResult(job.job_id)], app=app).get(timeout=60, on_interval=waits.set))

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    assert waits.wait(60)
    until(lambda: app.cell.store.client.execute_command("PUBSUB", "NUMSUB", channel)[1] == 1, "subscribed")
    run(app, job.job_id)
    waiter.join(60)
    assert [filler(one) for one in found] == [TOO_LARGE]
    assert [len(text) < 1_000 for text in told] == [True]
    backends[0].result_consumer.stop()
    backends[0].client.connection_pool.disconnect()


def test_what_another_task_gave_is_no_reference_of_ours(app: JobsCelery) -> None:
    job = ended(app, LARGE)
    # A task of a chain that gives on what it was given.
    app.backend.store_result("plain", job.result, "SUCCESS")
    assert app.AsyncResult("plain").get(timeout=60) == job.result
    assert dict(app.backend.get_many({"plain"}, max_iterations=1))["plain"]["result"] == job.result
    assert app.backend.with_result({"task_id": "plain", "result": job.result})["result"] == job.result


def test_a_result_that_cannot_be_had_says_why(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(app, LARGE)

    def away(*_: Any) -> Any:
        raise ConnectionError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(app.cell.artifacts._fs, "open", away)
        with pytest.raises(StoreUnavailable, match="artifact store"):
            app.AsyncResult(job.job_id).get(timeout=60)
    app.cell.artifacts.delete_prefix(str(job.artifacts))
    with pytest.raises(ResultGone):
        app.AsyncResult(job.job_id).get(timeout=60)


# -- what Celery hands on


@pytest.mark.parametrize(("fill", "by_value"), [(LARGE, True), (TOO_LARGE, False)])
def test_a_link_a_chain_and_a_chord_are_given_up_to_256_kb_by_value_and_else_the_reference(
    app: JobsCelery, fill: int, by_value: bool
) -> None:
    task, note = app.tasks[JOB_TASK].si(pipeline="fill", params={"fill": fill}), app.tasks["t.note"]
    chained = chain(task.clone().set(link=note.s().set(task_id="linked")), note.s().set(task_id="next")).apply_async()
    gathered = chord([task, task], note.s().set(task_id="body"))()
    joined = chord([task, task], note.s().set(task_id="joined"))()
    # As Celery does with a header that has groups or chains in it: their results are then joined.
    joined.parent.save()
    jobs = [chained.parent.id, *(one.id for result in (gathered, joined) for one in result.parent.results)]
    for job_id in jobs:
        outcome = run(app, job_id)
        assert outcome.ending is Ending.COMPLETED
        # A run hands on by itself what maintenance would.
        assert (filler(outcome.result) == fill) is by_value
    assert tell(app) == len(jobs) == 5

    def good(result: Any, job_id: str) -> bool:
        if by_value:
            return filler(result) == fill
        return bool(result == app.cell.client.get(job_id).result and result["result_bytes"] > MAX_BY_VALUE)

    found = sent(app)
    assert good(found["linked"][0], jobs[0])
    assert good(found["next"][0], jobs[0])
    assert all(good(*pair) for pair in zip(found["body"][0], jobs[1:3], strict=True))
    assert all(good(*pair) for pair in zip(found["joined"][0], jobs[3:], strict=True))


@pytest.mark.parametrize("how", ["deleted", "its kept files' time has come", "its tenant needs the room"])
def test_a_record_that_is_gone_before_celery_was_told_breaks_no_chain(app: JobsCelery, how: str) -> None:
    task = app.tasks[JOB_TASK].si(pipeline="fill", params={"fill": LARGE})
    result = chain(task, app.tasks["t.note"].s().set(task_id="next")).apply_async()
    run(app, result.parent.id)
    client, keys = app.cell.store.client, app.cell.store.keys
    if how == "deleted":
        app.cell.client.delete(result.parent.id)
    else:
        client.zadd(keys("ended"), {result.parent.id: 1})
        app.cell.store.purge()
    if "time" in how:
        client.zadd(keys("kept_until"), {result.parent.id: 1})
    elif "room" in how:
        app.cell.client.set_limits("default", TenantLimits(max_storage_bytes=1000))
        app.cell.client.cancel(app.cell.client.submit(NewJob(pipeline="fill")).job_id)
    app.cell.duties["purge"]()
    assert app.cell.store.record("kept", result.parent.id) == {}
    assert tell(app) == 1
    assert filler(sent(app)["next"][0]) == LARGE
    app.cell.duties["purge"]()
    assert (files(app), app.cell.store.take_trash()) == ([], [])


def test_the_files_of_a_job_whose_id_was_used_before_stay_until_celery_was_told(app: JobsCelery) -> None:
    task = app.tasks[JOB_TASK].si(pipeline="fill", params={"fill": LARGE})
    for name in ("first", "second"):
        made = task.apply_async(task_id="one", link=app.tasks["t.note"].s().set(task_id=name))
        run(app, made.id)
        app.cell.client.delete(made.id)
    app.cell.duties["purge"]()
    assert tell(app) == 2
    assert [filler(sent(app)[name][0]) for name in ("first", "second")] == [LARGE, LARGE]
    app.cell.duties["purge"]()
    assert (files(app), app.cell.store.take_trash()) == ([], [])


def test_an_artifact_store_that_is_away_delays_a_chain_and_a_lost_file_breaks_it_loudly(
    app: JobsCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = app.tasks[JOB_TASK].si(pipeline="fill", params={"fill": LARGE})
    result = chain(task, app.tasks["t.note"].s().set(task_id="next")).apply_async()
    run(app, result.parent.id)

    def away(*_: Any) -> Any:
        raise ConnectionError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(app.cell.artifacts._fs, "open", away)
        assert (tell(app), sent(app)) == (0, {})
    app.cell.artifacts.delete_prefix(str(app.cell.client.get(result.parent.id).artifacts))
    assert (tell(app), sent(app), app.cell.store.members("continuations")) == (1, {}, [])
    with pytest.raises(ResultGone):
        app.AsyncResult("next").get(timeout=60)


# -- what goes wrong as it is written


def test_a_run_writes_its_result_again_while_the_artifact_store_is_away(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = ArtifactStore.write, []

    def flaky(store: ArtifactStore, data: bytes, path: str) -> None:
        calls.append(path)
        if len(calls) < 3:
            raise PublishError
        write(store, data, path)

    monkeypatch.setattr(ArtifactStore, "write", flaky)
    job = ended(app, LARGE)
    assert (calls, files(app)) == ([job.result_ref] * 3, [job.result_ref])


def test_it_hands_the_job_back_with_its_outputs_if_the_artifact_store_stays_away(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise PublishError

    job = submitted(app, LARGE)
    with monkeypatch.context() as patch:
        patch.setattr(patience, "FINISH_PATIENCE", 0.0)
        patch.setattr(ArtifactStore, "write", away)
        assert run(app, job.job_id).ending is Ending.REQUEUED
    back = app.cell.client.get(job.job_id)
    assert (back.status, back.attempt, back.crashes, back.error) == (JobStatus.QUEUED, 1, 0, None)
    assert json.loads(back.outputs or "")[0][0] == "sleep"
    app.cell.store.client.zadd(app.cell.store.keys("delayed"), {job.job_id: 1})
    ran: list[str] = []
    monkeypatch.setattr("pipeline_jobs.jobs.outputs.Keeper.keep", lambda self, stage, data, **more: ran.append(stage.name))
    assert run(app, job.job_id).ending is Ending.COMPLETED
    # The last one always runs.
    assert ran == ["answer"]
    done = app.cell.client.get(job.job_id)
    assert (done.attempt, files(app)) == (1, [done.result_ref])
    app.cell.duties["purge"]()
    assert files(app) == [done.result_ref]


def test_a_cancel_that_comes_before_the_finish_takes_the_file(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    write, job = ArtifactStore.write, submitted(app, LARGE)

    def cancelled(store: ArtifactStore, data: bytes, path: str) -> None:
        write(store, data, path)
        app.cell.client.cancel(job.job_id)

    monkeypatch.setattr(ArtifactStore, "write", cancelled)
    assert run(app, job.job_id).ending is Ending.CANCELLED
    app.cell.duties["purge"]()
    assert (files(app), app.cell.client.get(job.job_id).result) == ([], None)
    with pytest.raises(Exception, match="cancelled"):
        app.AsyncResult(job.job_id).get(timeout=60)


def test_a_result_beyond_the_limit_fails_the_job_and_leaves_no_file(app: JobsCelery) -> None:
    job = submitted(app, 16 * 1024**2)
    assert run(app, job.job_id).ending is Ending.FAILED
    failed = app.cell.client.get(job.job_id)
    assert (failed.error_detail or {})["code"] == "result_too_large"
    assert files(app) == []
    with pytest.raises(JobFailed):
        app.AsyncResult(job.job_id).get(timeout=60)


# -- bar 3 of issue 13 (long form: `tests/heavy/bar_results.py`)


def bytes_of_all_keys(app: JobsCelery) -> int:
    client = app.cell.store.client
    return sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(count=1000))


def keys_that_name(app: JobsCelery, words: set[str]) -> list[str]:
    """Keys whose name or content has one of these words."""
    client, found = app.cell.store.client, []
    reads: dict[str, Any] = {
        "string": client.get, "hash": client.hgetall, "set": client.smembers,
        "list": lambda key: client.lrange(key, 0, -1), "zset": lambda key: client.zrange(key, 0, -1), "stream": client.xrange,
    }  # fmt: skip
    for key in client.scan_iter(count=1000):
        text = f"{key} {reads[client.type(key)](key)}"
        found += [key] if any(word in text for word in words) else []
    return found


def erased_without_a_trace(app: JobsCelery, jobs: int) -> None:
    """So many jobs with a result of 600 kB, and then their tenant is erased."""
    ids = {ended(app, TOO_LARGE, webhook={"url": "https://hooks.example/x"}).job_id for _ in range(jobs)}
    assert (len(files(app)), len(keys_that_name(app, ids)) > jobs) == (jobs, True)
    # Their hints: there is no worker that takes them.
    app.cell.store.client.delete("jobs")
    assert erase_tenant(app.cell.store, app.cell.artifacts, "acme", dry_run=False).jobs == jobs
    app.cell.duties["purge"]()
    assert (files(app), keys_that_name(app, ids)) == ([], [])
    assert not [path for path in app.cell.settings.data_dir.rglob("*") if path.name in ids]


@pytest.mark.parametrize("webhook", [None, {"url": "https://hooks.example/x"}], ids=["no webhook", "webhook"])
def test_a_job_with_a_large_result_costs_the_store_what_one_with_an_empty_one_costs(
    app: JobsCelery, webhook: dict[str, str] | None
) -> None:
    # The first one makes what all share.
    costs = []
    for fill in (0, 0, TOO_LARGE):
        before = bytes_of_all_keys(app)
        ended(app, fill, webhook=webhook)
        costs.append(bytes_of_all_keys(app) - before)
    _, small, large = costs
    print(f"a job with an empty result: {small} bytes of the store, with one of 600 kB: {large}")
    assert large - small <= BAR_BYTES


def test_jobs_with_large_results_that_are_erased_leave_nothing_that_names_them(app: JobsCelery) -> None:
    erased_without_a_trace(app, 10)
