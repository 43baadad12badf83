"""A job at the border between two pools: what it takes along, and what becomes of it when something goes wrong there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pipeline_jobs.events.log import read
from pipeline_jobs.exceptions import ConfigurationError, PublishError, StoreUnavailable
from pipeline_jobs.job import FOR_POOLS
from pipeline_jobs.jobs import signals
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.pipelines import NoParams, Pipeline, Stage
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.fair_histories import pretend_it_took
from tests.integration.pool_world import Pools
from tests.integration.recount import differences

#: In ms.
MINUTE = 60_000


@pytest.fixture
def pools(jobs: Cell, tmp_path: Path) -> Pools:
    return Pools(jobs, tmp_path)


def test_a_job_goes_from_pool_to_pool_with_what_its_stages_gave(pools: Pools) -> None:
    pools.slots("", 2)
    pools.slots("gpu", 1)
    job = pools.submit()
    assert (pools.hints("jobs"), pools.hints("jobs.gpu"), job.schema) == ([job.job_id], [], FOR_POOLS)
    outcome = pools.run(job, "")
    assert (outcome.ending, outcome.error, pools.ran) == (Ending.REQUEUED, "next: gpu", ["fetch", "cut"])
    between = pools.seen(job)
    assert (between.status, between.reason, between.pool, between.attempt) == (JobStatus.QUEUED, "dispatched", "gpu", 1)
    assert pools.hints("jobs.gpu") == [job.job_id]
    pools.run(job, "gpu")
    assert (pools.ran, pools.seen(job).pool, pools.seen(job).progress) == (["fetch", "cut", "hear"], None, 75.0)
    assert pools.run(job, "").ending is Ending.COMPLETED
    done = pools.seen(job)
    assert (done.status, done.attempt, done.result["data"]["join"]) == (JobStatus.COMPLETED, 1, "fetch cut hear join ")
    assert pools.ran == ["fetch", "cut", "hear", "join"]
    assert differences(pools.cell.store) == []


def test_its_log_says_why_it_went_back_to_the_queue(pools: Pools) -> None:
    pools.slots("", 1)
    job = pools.submit()
    pools.run(job, "")
    event = read(pools.cell.store, job.job_id).events[-1]
    assert (event.type, event.data["reason"], event.data["message"]) == ("job.requeued", "hop", "next: gpu")


def test_a_segment_is_one_lease(pools: Pools) -> None:
    pools.slots("gpu", 1)
    job = pools.submit("heard")
    assert pools.run(job, "gpu").ending is Ending.COMPLETED
    assert (pools.ran, pools.seen(job).fence) == (["hear", "tell"], job.fence)


def test_a_crash_in_a_segment_repeats_that_one_only(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit()
    pools.run(job, "")
    crashed = pools.start(job, "gpu")
    assert pools.cell.store.requeue(job.job_id, crashed.fence, "crash") is JobStatus.QUEUED
    assert (pools.seen(job).pool, pools.hints("jobs.gpu")[-1]) == ("gpu", job.job_id)
    pools.run(job, "gpu")
    pools.run(job, "")
    assert (pools.seen(job).status, pools.ran) == (JobStatus.COMPLETED, ["fetch", "cut", "hear", "join"])


def test_a_lost_output_takes_the_job_back_to_the_pool_that_makes_it(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit()
    pools.run(job, "")
    pools.artifacts.delete_prefix("acme/_outputs")
    assert pools.run(job, "gpu").error == "next: default"
    pools.run(job, "")
    pools.run(job, "gpu")
    assert pools.run(job, "").ending is Ending.COMPLETED
    assert pools.ran == ["fetch", "cut", "fetch", "cut", "hear", "join"]
    assert pools.seen(job).attempt == 1


def test_a_cancel_at_the_border_ends_the_job_there(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit()
    pools.meanwhile["cut"] = lambda _: pools.cell.client.cancel(job.job_id)
    assert pools.run(job, "").ending is Ending.CANCELLED
    assert (pools.seen(job).status, pools.hints("jobs.gpu")) == (JobStatus.CANCELLED, [])
    assert differences(pools.cell.store) == []


def test_sent_again_the_hop_is_the_same_hop(pools: Pools) -> None:
    pools.slots("", 1)
    job = pools.start(pools.submit(), "")
    run = {"id": job.job_id, "fence": job.fence, "pool": "gpu", "message": "next: gpu", "stage": "hear"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline_jobs.store.runner.drawn_call", lambda: 7)
        assert [pools.cell.store.run("advance", **run).status for _ in range(2)] == ["queued", "queued"]
    assert pools.cell.store.advance(job.job_id, job.fence, "gpu", "x", stage="hear") is None, "another call of the same run has no say"
    assert differences(pools.cell.store) == []


def test_a_wait_is_over_in_the_pool_of_the_stage_behind_it(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit("asked")
    pools.run(job, "")
    assert (pools.seen(job).reason, pools.seen(job).schema) == ("signal", FOR_POOLS)
    signals.send(pools.cell.client, job.job_id, "ok", True, "key:k")
    assert (pools.hints("jobs"), pools.hints("jobs.gpu")) == ([job.job_id], [job.job_id])
    assert pools.run(job, "gpu").ending is Ending.COMPLETED
    assert pools.ran == ["fetch", "hear"]


def test_a_retry_starts_in_the_pool_of_the_stage_that_failed(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit(max_attempts=1)

    def fails(_: object) -> None:
        raise ValueError("x")

    pools.meanwhile["hear"] = fails
    pools.run(job, "")
    assert pools.run(job, "gpu").ending is Ending.FAILED
    del pools.meanwhile["hear"]
    again = pools.cell.client.retry(job.job_id).job
    assert again.pool == "gpu"
    pools.run(again, "gpu")
    pools.run(again, "")
    assert (pools.seen(again).status, pools.ran) == (JobStatus.COMPLETED, ["fetch", "cut", "hear", "hear", "join"])


def test_what_a_stage_published_does_not_cross_a_border(pools: Pools) -> None:
    pools.slots("", 1)
    job = pools.submit(max_attempts=1)
    pools.meanwhile["fetch"] = lambda context: context.publish(_written(context.workdir / "f"), "f")
    assert pools.run(job, "").ending is Ending.FAILED
    detail = pools.seen(job).error_detail or {}
    assert (detail["code"], "published" in detail["message"]) == ("hop_failed", True)


def _written(path: Path) -> Path:
    path.write_text("x")
    return path


def test_what_is_too_large_does_not_cross_a_border(jobs: Cell, tmp_path: Path) -> None:
    pools = Pools(jobs.with_settings(hop_bytes=100), tmp_path)
    pools.slots("", 1)
    job = pools.submit(max_attempts=1)
    pools.meanwhile["cut"] = lambda context: (context.workdir / "large").write_bytes(bytes(1000))
    assert pools.run(job, "").ending is Ending.FAILED
    assert (pools.seen(job).error_detail or {})["code"] == "hop_failed"


def test_outputs_cross_a_border_also_where_none_is_kept_for_retries(jobs: Cell, tmp_path: Path) -> None:
    pools = Pools(jobs.with_settings(keep_stage_bytes=0), tmp_path)
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit()
    for pool in ("", "gpu", ""):
        last = pools.run(job, pool)
    assert (last.ending, pools.ran) == (Ending.COMPLETED, ["fetch", "cut", "hear", "join"])


def test_while_the_artifact_store_is_away_the_machine_is_at_fault(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    pools.slots("", 1)
    job = pools.submit(max_attempts=1)

    def away(*_: object) -> None:
        raise PublishError("away")

    monkeypatch.setattr(pools.artifacts, "put", away)
    assert pools.run(job, "").ending is Ending.REQUEUED
    assert (pools.seen(job).reason, pools.seen(job).pool) == ("retry", None)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("a back end's own error"), StoreUnavailable()],
    ids=["disk", "files", "store"],
)
def test_an_output_that_this_machine_cannot_have_now_is_not_lost(pools: Pools, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The working disk is full for a moment, or the artifact store is away: what was paid for is not paid again."""
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit()
    pools.run(job, "")

    def away(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(pools.artifacts, "open", away)
        patch.setattr(pools.artifacts, "fault", lambda: "the artifact store is away" if isinstance(error, RuntimeError) else None)
        assert pools.run(job, "gpu").ending is Ending.REQUEUED
    assert (pools.seen(job).reason, pools.seen(job).pool) == ("retry", "gpu")
    pools.cell.store.client.zadd(pools.cell.store.keys("delayed"), {job.job_id: 1})
    pools.cell.store.rescue()
    assert pools.run(job, "gpu").error == "next: default"
    assert pools.run(job, "").ending is Ending.COMPLETED
    assert pools.ran == ["fetch", "cut", "hear", "join"]


def test_stages_before_a_border_must_be_reusable_and_pools_have_names() -> None:
    def nothing(_: object) -> None:
        """A stage."""

    with pytest.raises(ConfigurationError, match="not reusable"):
        Pipeline("p", (Stage("a", nothing, reusable=False), Stage("b", nothing, pool="gpu")), NoParams)
    for name in ("GPU", "default", "0123abcd", "a" * 21, "a:b"):
        with pytest.raises(ConfigurationError, match="name of a pool"):
            Pipeline("p", (Stage("a", nothing, pool=name),), NoParams)
    assert Pipeline("p", (Stage("a", nothing, reusable=False, pool="gpu"),), NoParams).border == 0


def test_each_pool_learns_how_long_runs_of_a_pipeline_take_there_and_a_job_ran_in_all_of_them(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit()
    store = pools.cell.store
    for pool, minutes, following in (("", 40, "gpu"), ("gpu", 20, ""), ("", 10, None)):
        run = pools.start(job, pool)
        pretend_it_took(pools.cell, job.job_id, minutes * MINUTE)
        if following is None:
            store.finish(job.job_id, run.fence, JobStatus.COMPLETED, result={})
        else:
            store.advance(job.job_id, run.fence, following, "next", stage=following)
    learnt = [round(float(ms or 0) / MINUTE) for ms in store.fields(["ms:film", "ms:film:gpu"], "pipelines")]
    assert learnt == [37, 20], "of two runs the newer one counts a tenth"
    (day,) = store.client.scan_iter(store.keys("usage_day", "acme", "*"))
    assert round(int(store.client.hget(day, "slot_ms") or 0) / MINUTE) == 70
    assert round(int(store.record("counters")["duration_sum|acme|main"]) / MINUTE) == 70
