"""Parts whose worker dies with them, and what of a split cannot be had: now, on this machine, or for good."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.events.log import read_all
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.pipelines import NoParams, Pipeline, RetryPolicy, WorkerClass
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.lost_runs import kill
from tests.integration.part_world import Parted
from tests.integration.recount import differences


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Parted:
    return Parted(jobs.with_settings(lease_seconds=60.0, announce_seconds=1000.0), tmp_path)


def die_together(parted: Parted) -> None:
    """The worker dies with all that has a hint. Its successor has the same name."""
    runs = [parted.start_next() for _ in parted.hints()]
    kill(parted.cell, "c1", runs)
    parted.slots(4)


def let_start(parted: Parted) -> None:
    """The time of the first part that waits for one has come."""
    store = parted.cell.store
    for part in [part for part in store.client.zrange(store.keys("delayed"), 0, -1) if "~" in part][:1]:
        store.client.zadd(store.keys("delayed"), {part: 1})
    store.rescue()


def record(parted: Parted, part: str, field: str) -> str | None:
    (found,) = parted.cell.store.fields([field], "job", part)
    return found


def test_parts_that_were_lost_together_twice_start_one_after_the_other(parted: Parted) -> None:
    parted.slots(4)
    job = parted.submit()
    parted.run_next()
    for _ in range(2):
        assert [part.rpartition(".")[2] for part, _ in parted.hints()] == ["0", "1"], "who was lost goes first"
        die_together(parted)
    ((first, _),) = parted.hints()
    (second,) = (part for part in parted.cell.store.client.zrange(parted.cell.store.keys("delayed"), 0, -1) if "~" in part)
    assert {first.rpartition(".")[2], second.rpartition(".")[2]} == {"0", "1"}
    assert record(parted, first, "apart_ms")
    told = [str(event.data.get("message")) for event in read_all(parted.cell.store, job.job_id)]
    assert any(f"part {second.rpartition('.')[2]} goes back to the queue: crash, starts apart from the jobs" in text for text in told)
    assert differences(parted.cell.store) == []
    parted.run_all()
    let_start(parted)
    parted.run_all()
    ended = parted.seen(job)
    assert (ended.status, ended.crashes) == (JobStatus.COMPLETED, 0)
    assert (parted.left(), differences(parted.cell.store)) == ([], [])
    assert not parted.cell.store.exists("lost")


@pytest.mark.parametrize("meanwhile", ["nobody", "a worker of other jobs"])
def test_parts_that_were_lost_start_again_in_the_order_of_their_numbers(jobs: Cell, tmp_path: Path, meanwhile: str) -> None:
    roomy = jobs.with_settings(max_concurrent_jobs=1000, lease_seconds=60.0, announce_seconds=1000.0)
    parted = Parted(roomy, tmp_path, words=[f"word{n}" for n in range(12)], window=12)
    parted.slots(12)
    job = parted.submit()
    parted.run_next()
    kill(parted.cell, "c1", [parted.start_next() for _ in parted.hints()])
    if meanwhile != "nobody":
        parted.cell.store.announce("c2", 4, [], kind=WorkerClass.of(["sleep"]))
        kill(parted.cell, "c2", [])
    parted.slots(4)
    numbers = []
    while hints := parted.hints():
        numbers.append(hints[0][0].rpartition(".")[2])
        parted.run_next()
    assert numbers[:12] == [str(number) for number in range(12)]
    assert (parted.seen(job).status, differences(parted.cell.store)) == (JobStatus.COMPLETED, [])


def test_a_part_that_kills_its_workers_ends_its_job_and_no_part_of_another(parted: Parted) -> None:
    parted.slots(4)
    bad, good = parted.submit(), parted.submit(tenant_id="other")
    for _ in range(2):
        parted.run_next()
    for _ in range(12):
        runs = [parted.start_next() for _ in parted.hints()]
        killers = [run for run in runs if run.part_of == bad.job_id and run.job_id.endswith(".0")]
        if killers:
            kill(parted.cell, "c1", runs)
            parted.slots(4)
        for run in runs if not killers else ():
            parted.cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, outputs=('[["hear",{},null,{}]]', ""))
        if parted.seen(bad).ended:
            break
        let_start(parted)
    ended = parted.seen(bad)
    assert (ended.status, (ended.error_detail or {})["code"]) == (JobStatus.FAILED, "worker_lost")
    assert (ended.error or "").startswith("part 0: ")
    assert not parted.seen(good).ended
    assert differences(parted.cell.store) == []


def test_a_run_that_split_its_job_is_no_more_suspected_to_kill_workers(parted: Parted) -> None:
    parted.slots(1)
    job = parted.submit()
    parted.cell.store.client.hset(parted.cell.store.keys("job", job.job_id), "suspected", "1")
    parted.run_next()
    assert (parted.seen(job).reason, record(parted, job.job_id, "suspected")) == ("parts", None)


def away(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_input_that_this_machine_cannot_have_now_is_not_lost(parted: Parted, monkeypatch: pytest.MonkeyPatch) -> None:
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    with monkeypatch.context() as patch:
        patch.setattr(parted.artifacts, "open", away)
        outcome = parted.run_next()
    assert (outcome and outcome.ending, parted.ran) == (Ending.REQUEUED, ["fetch", "split"])
    let_start(parted)
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def test_a_result_that_this_machine_cannot_have_now_is_not_lost(parted: Parted, monkeypatch: pytest.MonkeyPatch) -> None:
    job = until_the_join(parted)
    opened, result = parted.artifacts.open, hashlib.sha256(b"THREE").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(parted.artifacts, "open", lambda path: away() if result in path else opened(path))
        outcome = parted.run_next()
    assert (outcome and outcome.ending, parted.seen(job).reason) == (Ending.REQUEUED, "retry")
    store = parted.cell.store
    store.client.zadd(store.keys("delayed"), {job.job_id: 1})
    store.rescue()
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert [parted.ran.count(name) for name in ("fetch", "split", "part 0", "join")] == [1, 1, 1, 1]
    assert (parted.left(), differences(store)) == ([], [])


def test_a_job_whose_results_are_lost_is_split_again_in_its_next_attempt(parted: Parted) -> None:
    pipeline = parted.cell.client.registry.get("film")
    again = Pipeline("again", pipeline.stages, NoParams, needs_url=False, retry=RetryPolicy(2, 0))
    parted.cell.client.registry.register(again)
    job = until_the_join(parted, pipeline="again")
    lose_a_result(parted)
    outcome = parted.run_next()
    assert (outcome and outcome.ending, outcome and outcome.error) == (Ending.REQUEUED, "what part 2 gave is not there")
    assert differences(parted.cell.store) == []
    parted.run_all()
    ended = parted.seen(job)
    assert (ended.status, ended.attempt, ended.result["data"]["told"]) == (JobStatus.COMPLETED, 2, "ONE TWO THREE FOUR FIVE")
    assert [parted.ran.count(name) for name in ("fetch", "split", "part 0", "part 2", "join")] == [1, 2, 2, 2, 1]
    parted.cell.store.rescue()
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def test_a_job_that_may_not_be_tried_again_fails_of_results_that_are_lost(parted: Parted) -> None:
    job = until_the_join(parted)
    lose_a_result(parted)
    parted.run_all()
    assert (parted.seen(job).status, (parted.seen(job).error_detail or {})["code"]) == (JobStatus.FAILED, "parts_lost")
    parted.cell.store.rescue()
    assert (parted.left(), differences(parted.cell.store)) == ([], [])


def test_a_part_of_a_job_that_is_over_is_no_part_of_the_next_one_with_its_id(parted: Parted) -> None:
    store, client = parted.cell.store, parted.cell.client
    parted.slots(1)
    client.submit(NewJob(pipeline="film", tenant_id="acme"), job_id="film")
    parted.run_next()
    running = parted.start_next()
    call: dict[str, Any] = {"id": running.job_id, "call": 7}
    assert [store.run("cancel_job", **call).was for _ in range(2)] == ["queued", "queued"], "sent again it says the same"
    client.delete("film")
    again = client.submit(NewJob(pipeline="film", tenant_id="acme"), job_id="film")
    with pytest.raises(UnknownJob):
        client.cancel(running.job_id)
    assert not parted.seen(again).ended
    store.finish(running.job_id, running.fence, JobStatus.CANCELLED)
    assert differences(store) == []


def until_the_join(parted: Parted, **fields: str) -> Job:
    """A job whose parts have all ended."""
    parted.slots(1)
    job = parted.submit(**fields)
    for _ in range(6):
        parted.run_next()
    assert (parted.seen(job).reason, parted.ran.count("part 4")) == ("dispatched", 1)
    return job


def lose_a_result(parted: Parted) -> None:
    """What part 2 has left goes from the artifact store."""
    (lost,) = (path for path in parted.folder.rglob("*") if path.is_file() and path.read_bytes() == b"THREE")
    lost.unlink()
