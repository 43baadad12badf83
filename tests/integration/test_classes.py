"""A fleet that is not of one kind: where a hint goes, and who may have which job (`lua/lib/classes.lua`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.events import log
from pipeline_jobs.job import SCHEMA, Job, NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.queue_position import queue_position
from pipeline_jobs.pipelines import NO_CLASS, WorkerClass
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import store
from pipeline_jobs.store.store import ClaimRefused, Hint
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences

SLEEPERS, NAPPERS, BOTH = WorkerClass.of(["sleep"]), WorkerClass.of(["nap"]), WorkerClass.of(["sleep", "nap"])


def announce(cell: Cell, worker: str, slots: int, kind: WorkerClass = NO_CLASS, *, leaving: bool = False) -> None:
    cell.store.announce(worker, slots, [], kind=kind, leaving=leaving)


def queue(cell: Cell, kind: WorkerClass = NO_CLASS) -> list[str]:
    """Ids of the jobs whose hints are in the queue `jobs`, or in that of a class; oldest first."""
    hints = cell.store.client.lrange(f"jobs.{kind.name}" if kind.name else "jobs", 0, -1)
    return [json.loads(hint)["id"] for hint in reversed(hints)]


def claim(cell: Cell, job_id: str, worker: str, *pipelines: str) -> Job | ClaimRefused:
    """As a worker that knows these pipelines."""
    return cell.store.claim(job_id, cell.client.get(job_id).fence, worker=worker, run=worker, pipelines=dict.fromkeys(pipelines))


def reason(cell: Cell, job_id: str) -> str | None:
    """As GET says it, and all lists."""
    listed = {job.job_id: job.reason for job in cell.client.list(JobQuery(limit=100)).items}
    said = cell.client.describe(job_id).reason
    assert listed[job_id] == said
    return said


@pytest.fixture
def fleet(jobs: Cell) -> Iterator[Cell]:
    cell = jobs.with_settings(max_concurrent_jobs=100, announce_seconds=1000.0)
    cell.client.registry.register(replace(SLEEP, name="nap"))
    yield cell
    assert differences(cell.store) == []
    cell.cell.close()


def test_a_class_is_of_what_its_workers_know_and_nothing_else() -> None:
    assert WorkerClass.of(["nap", "sleep"]) == BOTH
    assert (
        len(
            {SLEEPERS.name, NAPPERS.name, BOTH.name, WorkerClass.of(["sleep"], SCHEMA + 1).name, WorkerClass.of(["sleep"], pool="gpu").name}
        )
        == 5
    )


def test_workers_of_one_class_are_sent_all_by_the_queue_that_there_always_was(fleet: Cell) -> None:
    announce(fleet, "w1", 1, BOTH)
    announce(fleet, "w2", 1, BOTH)
    ids = [fleet.submit().job_id, fleet.submit(pipeline="nap").job_id]
    assert queue(fleet) == ids
    assert queue(fleet, BOTH) == []


def test_with_several_classes_a_hint_goes_to_one_that_knows_the_pipeline_and_has_a_slot_free(fleet: Cell) -> None:
    announce(fleet, "w1", 1, SLEEPERS)
    announce(fleet, "w2", 2, NAPPERS)
    sleeps, naps = [fleet.submit().job_id for _ in range(3)], [fleet.submit(pipeline="nap").job_id for _ in range(3)]
    assert (queue(fleet), queue(fleet, SLEEPERS), queue(fleet, NAPPERS)) == ([], sleeps[:1], naps[:2])
    assert (reason(fleet, sleeps[1]), reason(fleet, naps[2])) == ("fair_share", "fair_share")
    run = fleet.start(sleeps[0], "w1")
    assert queue(fleet, SLEEPERS) == sleeps[:1]
    fleet.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert queue(fleet, SLEEPERS) == sleeps[:2]


@pytest.mark.parametrize("earlier", [True, False])
def test_who_knows_less_is_taken_first_so_that_both_have_work(fleet: Cell, earlier: bool) -> None:
    # Whichever name, which is a hash, is the lower one.
    wide = next(kind for n in range(1000) if ((kind := WorkerClass.of(["sleep", "nap", f"x{n}"])).name < SLEEPERS.name) is earlier)
    announce(fleet, "w1", 1, wide)
    announce(fleet, "w2", 1, SLEEPERS)
    sleep, nap = fleet.submit().job_id, fleet.submit(pipeline="nap").job_id
    assert (queue(fleet, SLEEPERS), queue(fleet, wide)) == ([sleep], [nap])


def test_a_pipeline_whose_name_begins_or_ends_like_another_is_another(fleet: Cell) -> None:
    announce(fleet, "w1", 1, WorkerClass.of(["sleeper", "asleep"]))
    assert reason(fleet, fleet.submit().job_id) == "no_worker_for_pipeline"


def test_one_script_gives_a_class_no_more_than_it_has_slots(fleet: Cell) -> None:
    announce(fleet, "w1", 3, SLEEPERS)
    naps = [fleet.submit(pipeline="nap").job_id for _ in range(3)]
    announce(fleet, "w2", 2, NAPPERS)
    assert queue(fleet, NAPPERS) == naps[:2]


def test_runs_of_a_worker_beyond_its_slots_take_none_of_another(fleet: Cell) -> None:
    announce(fleet, "w1", 3, SLEEPERS)
    announce(fleet, "w2", 1, NAPPERS)
    for _ in range(3):
        fleet.start(fleet.submit().job_id, "w1")
    announce(fleet, "w1", 0, SLEEPERS)
    announce(fleet, "w3", 1, SLEEPERS)
    nap, sleep = fleet.submit(pipeline="nap").job_id, fleet.submit().job_id
    assert (queue(fleet, NAPPERS), queue(fleet, SLEEPERS)[-1]) == ([nap], sleep)


def test_the_cap_of_the_installation_holds_over_all_classes(jobs: Cell) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=2, announce_seconds=1000.0)
    announce(cell, "w1", 2, SLEEPERS)
    announce(cell, "w2", 2, BOTH)
    for _ in range(4):
        cell.submit()
    assert len(queue(cell, SLEEPERS)) + len(queue(cell, BOTH)) == 2
    cell.cell.close()


def test_who_waited_for_a_busy_class_is_next_when_it_has_a_slot(fleet: Cell) -> None:
    """Although the ring is never empty: others could use the slot, too."""
    announce(fleet, "w1", 1, BOTH)
    announce(fleet, "w2", 1, SLEEPERS)
    held = fleet.start(fleet.submit(tenant_id="c", pipeline="nap").job_id, "w1")
    busy = fleet.start(fleet.submit(tenant_id="a").job_id, "w2")
    naps = [fleet.submit(tenant_id="b", pipeline="nap").job_id for _ in range(2)]
    for _ in range(8):
        fleet.submit(tenant_id="a")
    fleet.store.finish(busy.job_id, busy.fence, JobStatus.COMPLETED, result={})
    fleet.store.finish(held.job_id, held.fence, JobStatus.COMPLETED, result={})
    assert queue(fleet, BOTH)[-1] == naps[0]


def test_a_pipeline_that_nobody_knows_waits_without_a_slot_until_somebody_comes_who_does(fleet: Cell) -> None:
    announce(fleet, "w1", 2, SLEEPERS)
    nap, sleep = fleet.submit(pipeline="nap").job_id, fleet.submit().job_id
    assert (queue(fleet), reason(fleet, nap)) == ([sleep], "no_worker_for_pipeline")
    assert queue_position(fleet.store, nap) == {
        "position": 1,
        "reason": "no_worker_for_pipeline",
        "limit": None,
        "current": None,
        "eta_seconds": None,
    }
    announce(fleet, "w2", 0, NAPPERS)
    assert reason(fleet, nap) == "no_worker_for_pipeline", "it has no slot: it stops, or is paused"
    announce(fleet, "w2", 1, NAPPERS)
    assert queue(fleet, NAPPERS) == [nap]


def test_the_next_class_takes_over_although_there_is_no_moment_without_other_work(fleet: Cell) -> None:
    announce(fleet, "w1", 1, SLEEPERS)
    run = fleet.start(fleet.submit(tenant_id="a").job_id, "w1")
    nap = fleet.submit(tenant_id="b", pipeline="nap").job_id
    others = [fleet.submit(tenant_id="a").job_id for _ in range(5)]
    fleet.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert queue(fleet)[-1] == others[0]
    fleet.start(others[0], "w1")
    announce(fleet, "w2", 1, BOTH)
    assert queue(fleet, BOTH) == [nap]
    announce(fleet, "w1", 0, SLEEPERS, leaving=True)
    assert reason(fleet, others[1]) == "fair_share"


def test_a_worker_that_does_not_know_a_job_puts_it_back_at_once_and_nothing_is_counted(fleet: Cell) -> None:
    announce(fleet, "w1", 1, BOTH)
    nap = fleet.submit(pipeline="nap").job_id
    # Another one has just started; it has taken the hint from the queue that all consume.
    announce(fleet, "w2", 1, SLEEPERS)
    sent = fleet.client.get(nap)
    for answer in ("pipeline", "stale"):
        assert fleet.store.claim(nap, sent.fence, worker="w2", run="r", pipelines={"sleep": None}) == ClaimRefused(answer)
    assert queue(fleet, BOTH) == [nap]
    again = fleet.client.get(nap)
    assert again == sent.evolve(fence=sent.fence + 1)
    assert [one.type for one in log.read(fleet.store, nap).events] == ["job.created"]
    assert isinstance(claim(fleet, nap, "w1", "nap", "sleep"), Job)
    assert fleet.client.get(nap).attempt == 1


def test_a_worker_that_knows_no_pipeline_at_all_refuses_each(fleet: Cell) -> None:
    announce(fleet, "w1", 1)
    assert claim(fleet, fleet.submit().job_id, "w1") == ClaimRefused("pipeline")


def test_a_newer_record_goes_to_a_class_that_knows_its_schema_and_holds_nobody_up(fleet: Cell) -> None:
    newer = WorkerClass.of(["nap", "sleep", "more"], SCHEMA + 1)
    announce(fleet, "w1", 2, SLEEPERS)
    announce(fleet, "w2", 1, newer)
    first, second = (fleet.store.submit(fleet.client.prepare(NewJob(pipeline="sleep")).evolve(schema=SCHEMA + 1)).job for _ in range(2))
    common = fleet.submit().job_id
    assert (queue(fleet, newer), queue(fleet, SLEEPERS)) == ([first.job_id], [common])
    assert reason(fleet, second.job_id) == "retry", "it waits apart"
    assert claim(fleet, first.job_id, "w1", "sleep") == ClaimRefused("schema")


def test_a_hint_for_a_class_is_taken_back_where_it_was_sent(fleet: Cell) -> None:
    announce(fleet, "w1", 1, SLEEPERS)
    announce(fleet, "w2", 1, NAPPERS)
    cancelled, lost = fleet.submit().job_id, fleet.submit(pipeline="nap").job_id
    fleet.client.cancel(cancelled)
    assert queue(fleet, SLEEPERS) == []
    fleet.let_leases_end()
    assert [one.became for one in fleet.store.rescue()] == ["hint"]
    assert queue(fleet, NAPPERS) == [lost]
    # From now on there is one class: the queue is the common one, also for what comes back.
    announce(fleet, "w1", 0, SLEEPERS, leaving=True)
    fleet.let_leases_end()
    fleet.store.rescue()
    assert (queue(fleet), queue(fleet, NAPPERS)) == ([lost], [])
    fleet.client.cancel(lost)
    assert queue(fleet) == []


def test_a_worker_that_falls_silent_is_no_class_any_more(fleet: Cell) -> None:
    announce(fleet, "w1", 1, SLEEPERS)
    announce(fleet, "w2", 1, NAPPERS)
    fleet.store.client.zadd(fleet.store.keys("workers"), {"w2": 1})
    sleep, nap = fleet.submit().job_id, fleet.submit(pipeline="nap").job_id
    assert (queue(fleet), reason(fleet, nap)) == ([sleep], "no_worker_for_pipeline")
    assert fleet.store.record("class_of") == {"w1": SLEEPERS.name}
    assert set(fleet.store.record("classes")) == {"", SLEEPERS.name}


def test_another_broker_is_told_the_class(cell: Settings) -> None:
    sent: list[Hint] = []
    rabbit = make_cell(cell.model_copy(update={"announce_seconds": 1000.0}), publish=sent.extend)
    announce(rabbit, "w1", 1, SLEEPERS)
    one = rabbit.submit()
    announce(rabbit, "w2", 1, BOTH)
    two = rabbit.submit()
    assert [(hint.job_id, hint.worker_class) for hint in sent] == [(one.job_id, ""), (two.job_id, BOTH.name)]
    assert rabbit.store.claim(two.job_id, two.fence, worker="w3", run="r", pipelines={}) == ClaimRefused("pipeline")
    assert [(hint.job_id, hint.fence) for hint in sent[2:]] == [(two.job_id, two.fence + 1)], "what a refusal dispatches is sent, too"
    rabbit.cell.close()


# -- beside workers of a version that says nothing of classes


def completed(fleet: Cell, pipeline: str) -> None:
    announce(fleet, "before", 1)
    run = fleet.start(fleet.submit(pipeline=pipeline).job_id, "before")
    fleet.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    fleet.store.client.delete("jobs")


def test_who_says_nothing_is_sent_what_had_been_completed_before_anybody_said_something(fleet: Cell) -> None:
    completed(fleet, "sleep")
    announce(fleet, "before", 2)
    announce(fleet, "new", 1, BOTH)
    nap, later = fleet.submit(pipeline="nap").job_id, fleet.submit(pipeline="nap").job_id
    sleeps = [fleet.submit().job_id for _ in range(2)]
    assert (queue(fleet, BOTH), queue(fleet)) == ([nap], sleeps)
    assert reason(fleet, later) == "fair_share"
    # That it has been completed by now changes nothing: not by those.
    run = fleet.start(nap, "new")
    fleet.store.finish(nap, run.fence, JobStatus.COMPLETED, result={})
    assert (queue(fleet, BOTH), len(queue(fleet))) == ([nap, later], 2)
    announce(fleet, "newer", 0, SLEEPERS)
    announce(fleet, "before", 3)
    fleet.submit(pipeline="nap")
    assert len(queue(fleet)) == 2


def test_a_fleet_that_says_nothing_is_sent_all(fleet: Cell) -> None:
    announce(fleet, "w1", 2)
    ids = [fleet.submit().job_id, fleet.submit(pipeline="nap").job_id]
    assert queue(fleet) == ids


def test_workers_that_came_or_went_by_a_script_of_before_are_noticed_at_the_next_beat(fleet: Cell) -> None:
    announce(fleet, "w1", 1, SLEEPERS)
    announce(fleet, "w2", 1, BOTH)
    keys, client = fleet.store.keys, fleet.store.client
    # As prune_workers of that version does it, and its announce.
    client.zrem(keys("workers"), "w2")
    client.hdel(keys("slots"), "w2")
    client.set(keys("capacity"), 1)
    announce(fleet, "w1", 1, SLEEPERS)
    assert fleet.store.text("fleet") == SLEEPERS.text
    client.zadd(keys("workers"), {"before": 2e12})
    client.hset(keys("slots"), "before", 1)
    client.set(keys("capacity"), 2)
    announce(fleet, "w1", 1, SLEEPERS)
    assert fleet.store.text("fleet") == "*"
    sleep = fleet.submit().job_id
    assert (queue(fleet), queue(fleet, SLEEPERS)) == ([], [sleep]), "nothing had been completed: the old one is sent nothing"


def test_a_worker_of_before_refuses_what_it_may_not_know_whoever_sends_it(fleet: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own scripts dispatch whatever waits to `jobs`, where it takes it."""
    completed(fleet, "sleep")
    announce(fleet, "new", 2, BOTH)
    nap, sleep = fleet.submit(pipeline="nap"), fleet.submit()
    monkeypatch.setattr(store, "SCHEMA", 1)
    assert fleet.store.claim(nap.job_id, fleet.store.get(nap.job_id).fence, worker="before", run="r") == ClaimRefused("schema")
    assert isinstance(fleet.store.claim(sleep.job_id, fleet.store.get(sleep.job_id).fence, worker="before", run="r"), Job)
    assert reason(fleet, nap.job_id) == "retry"
    assert fleet.client.get(nap.job_id).attempt == 0


def test_a_batch_says_so_once_a_job(fleet: Cell) -> None:
    """Each job used to say it once more than the one before: a thousand of them held the server for long."""
    completed(fleet, "sleep")
    announce(fleet, "new", 0, BOTH)

    def logged(n: int) -> float:
        """Bytes of the server's log for each job of a batch of so many."""
        before = fleet.store.client.info("persistence")["aof_current_size"]
        made = fleet.cell.batches.create(NewBatch([NewJob(pipeline="nap")] * n))
        assert {fleet.store.record("job", str(job_id))["schema"] for job_id in made.job_ids} == {"2"}
        return float(fleet.store.client.info("persistence")["aof_current_size"] - before) / n

    assert logged(200) < 2 * logged(20)


def test_a_class_that_takes_the_place_of_another_lets_in_who_had_waited_for_it(fleet: Cell) -> None:
    """There is one class before and after, and the ring is never empty."""
    announce(fleet, "w1", 1, SLEEPERS)
    nap = fleet.submit(tenant_id="b", pipeline="nap").job_id
    for _ in range(8):
        fleet.submit(tenant_id="a")
    fleet.client.cancel(queue(fleet)[0])
    announce(fleet, "w1", 0, SLEEPERS, leaving=True)
    fleet.let_leases_end()
    fleet.store.rescue()
    announce(fleet, "w2", 1, BOTH)
    started = []
    for _ in range(4):
        started.append(fleet.start(queue(fleet)[-1], "w2"))
        fleet.store.finish(started[-1].job_id, started[-1].fence, JobStatus.COMPLETED, result={})
    assert nap in [run.job_id for run in started]


def test_a_run_in_a_process_that_does_not_know_the_pipeline_is_none(fleet: Cell) -> None:
    announce(fleet, "w1", 1, BOTH)
    nap = fleet.submit(pipeline="nap").job_id
    other = fleet.with_settings(max_concurrent_jobs=100)
    fence = fleet.store.get(nap).fence
    outcome = other.cell.executor.run(nap, fence, "w2")
    assert (outcome.ending, outcome.error) == (Ending.REFUSED, "pipeline")
    assert fleet.client.get(nap).fence == fence + 1
    other.cell.close()
