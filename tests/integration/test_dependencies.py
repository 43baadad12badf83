"""Jobs that wait for others: let go in the script that ends the last one, by whichever way it ends."""

from __future__ import annotations

import pytest

from pipeline_jobs.events import log as events
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import Job
from pipeline_jobs.operation.maintenance import Rescue
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.recount import differences


def state(jobs: Cell, job: Job) -> tuple[str, str | None]:
    now = jobs.client.get(job.job_id)
    return now.status.value, now.reason


def end(jobs: Cell, job: Job, outcome: str) -> None:
    """As if a worker had run it."""
    jobs.slots(100)
    run = jobs.start(job.job_id)
    jobs.slots(0)
    jobs.store.finish(job.job_id, run.fence, JobStatus(outcome), result={}, error="x")


def test_a_job_waits_for_all_it_depends_on(jobs: Cell) -> None:
    first, second = jobs.submit(), jobs.submit()
    last = jobs.submit(depends_on=(first.job_id, second.job_id))
    assert (last.status, last.reason) == ("queued", "dependency")
    assert jobs.client.describe(last.job_id).queue == {
        "position": None, "reason": "dependency", "limit": None, "current": None, "eta_seconds": None,
    }  # fmt: skip
    assert differences(jobs.store) == []
    end(jobs, first, "completed")
    assert state(jobs, last) == ("queued", "dependency")
    end(jobs, second, "completed")
    assert state(jobs, last) == ("queued", "fair_share")
    end(jobs, last, "completed")
    assert differences(jobs.store) == []


def test_the_script_that_ends_the_last_dependency_dispatches_the_job(jobs: Cell) -> None:
    first = jobs.running()
    last = jobs.submit(depends_on=(first.job_id,))
    assert jobs.hints()[1:] == []
    jobs.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={})
    assert state(jobs, last) == ("queued", "dispatched")
    assert len(jobs.hints()) == 2


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
@pytest.mark.parametrize("before", [True, False], ids=["ended before it came", "ends afterwards"])
@pytest.mark.parametrize(
    ("policy", "expected"), [("fail", ("failed", None)), ("cancel", ("cancelled", None)), ("run", ("queued", "fair_share"))]
)
def test_what_becomes_of_it_when_one_does_not_complete(
    jobs: Cell, outcome: str, before: bool, policy: str, expected: tuple[str, str | None]
) -> None:
    first = jobs.submit()
    if before:
        end(jobs, first, outcome)
    last = jobs.submit(depends_on=(first.job_id,), on_dependency_failure=policy)
    if not before:
        assert last.reason == "dependency"
        end(jobs, first, outcome)
    assert state(jobs, last) == expected
    job = jobs.client.get(last.job_id)
    if policy == "fail":
        assert job.error_detail is not None
        assert job.error_detail["code"] == "dependency_failed"
        assert first.job_id in str(job.error)
    assert job.cancel_requested is (policy == "cancel")
    assert differences(jobs.store) == []


def test_dependencies_that_have_completed_hold_nobody_up(jobs: Cell) -> None:
    first = jobs.submit()
    end(jobs, first, "completed")
    assert jobs.submit(depends_on=(first.job_id,)).reason == "fair_share"


def test_a_failure_goes_down_a_chain_in_one_script(jobs: Cell) -> None:
    chain = [jobs.submit()]
    for _ in range(15):
        chain.append(jobs.submit(depends_on=(chain[-1].job_id,)))
    survivor = jobs.submit(depends_on=(chain[-1].job_id,), on_dependency_failure="run")
    end(jobs, chain[0], "failed")
    assert {state(jobs, job)[0] for job in chain} == {"failed"}
    assert state(jobs, survivor) == ("queued", "fair_share")
    assert differences(jobs.store) == []


def test_a_long_cascade_goes_on_in_the_next_scripts(jobs: Cell) -> None:
    first = jobs.submit()
    waiting = [jobs.submit(depends_on=(first.job_id,)) for _ in range(300)]
    other = jobs.submit()

    def ended() -> int:
        return sum(jobs.client.get(job.job_id).ended for job in waiting)

    jobs.client.cancel(first.job_id)
    served = [ended()]
    # Whoever ends another job is not made to wait for these.
    jobs.client.cancel(other.job_id)
    assert ended() == served[0]
    jobs.slots(0)
    served.append(ended())
    # A page of it sent twice is the next page.
    jobs.store.settle()
    served.append(ended())
    assert 0 < served[0] < served[1] < served[2] < len(waiting)
    Rescue(jobs.store, jobs.settings).run_once()
    assert ended() == len(waiting)
    assert not jobs.store.client.exists(jobs.store.keys("unsettled"))
    assert differences(jobs.store) == []


def test_a_waiting_job_is_cancelled_and_forgotten_by_what_it_waited_for(jobs: Cell) -> None:
    first = jobs.submit()
    last = jobs.submit(depends_on=(first.job_id,))
    jobs.client.cancel(last.job_id)
    assert differences(jobs.store) == []
    end(jobs, first, "completed")
    assert state(jobs, last)[0] == "cancelled"
    assert [key for key in jobs.store.client.keys("*") if "needs:" in key or "dependents:" in key] == []


def test_a_waiting_job_runs_into_its_deadline_and_its_wait(jobs: Cell) -> None:
    first = jobs.submit()
    late = jobs.submit(depends_on=(first.job_id,), deadline_seconds=100)
    stale = jobs.submit(depends_on=(first.job_id,), start_within_seconds=100)
    for key, job in (("deadlines", late), ("waits", stale)):
        jobs.store.client.zadd(jobs.store.keys(key), {job.job_id: 1})
    jobs.store.rescue()
    codes = [(jobs.client.get(job.job_id).error_detail or {}).get("code") for job in (late, stale)]
    assert codes == ["deadline_exceeded", "expired"]
    assert differences(jobs.store) == []


def test_run_at_holds_after_the_dependencies(jobs: Cell) -> None:
    first = jobs.submit()
    later = jobs.submit(depends_on=(first.job_id,), run_at=4_000_000_000_000)
    now = jobs.submit(depends_on=(first.job_id,))
    assert jobs.client.change(now.job_id, run_at=4_000_000_000_000, priority=9).reason == "dependency"
    end(jobs, first, "completed")
    assert state(jobs, later) == state(jobs, now) == ("queued", "scheduled")
    assert jobs.client.get(now.job_id).priority == 9
    assert differences(jobs.store) == []


def test_only_jobs_of_the_tenant_can_be_depended_on(jobs: Cell) -> None:
    foreign = jobs.submit(tenant_id="other")
    own = jobs.submit(tenant_id="acme")
    for unknown in (foreign.job_id, "job_1_00000000"):
        with pytest.raises(InvalidInput) as refused:
            jobs.submit(tenant_id="acme", depends_on=(own.job_id, unknown))
        assert (refused.value.field, str(refused.value)) == ("depends_on.1", "depends_on.1: there is no such job")
    # What was purged is unknown too: how it ended is not known any more.
    end(jobs, own, "completed")
    jobs.client.delete(own.job_id)
    with pytest.raises(InvalidInput):
        jobs.submit(tenant_id="acme", depends_on=(own.job_id,))
    assert differences(jobs.store) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"depends_on": tuple(f"job_1_{n:08x}" for n in range(101))}, "depends_on"),
        ({"depends_on": ("-",)}, "depends_on"),
        ({"on_dependency_failure": "ignore"}, "on_dependency_failure"),
    ],
)
def test_bad_input(jobs: Cell, fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        jobs.submit(**fields)
    assert refused.value.field == field


def test_reconciling_lets_go_what_was_not_told(jobs: Cell) -> None:
    first, second = jobs.submit(), jobs.submit()
    lost = jobs.submit(depends_on=(first.job_id,))
    forgotten = jobs.submit(depends_on=(second.job_id,))
    jobs.store.client.delete(jobs.store.keys("dependents", first.job_id))
    jobs.store.client.delete(jobs.store.keys("needs", forgotten.job_id))
    jobs.store.client.delete(jobs.store.keys("dependents", second.job_id))
    end(jobs, first, "completed")
    assert state(jobs, lost) == ("queued", "dependency")
    assert jobs.store.reconcile().jobs == 2
    assert state(jobs, lost) == state(jobs, forgotten) == ("queued", "fair_share")
    assert differences(jobs.store) == []


@pytest.mark.parametrize("policy", ["fail", "cancel"])
def test_a_job_that_ends_because_of_another_says_which(jobs: Cell, policy: str) -> None:
    first = jobs.submit(tenant_id="acme")
    last = jobs.submit(tenant_id="acme", depends_on=(first.job_id,), on_dependency_failure=policy)
    end(jobs, first, "failed")
    why = f"job {first.job_id}, on which this one depends, ended as failed"
    ended = jobs.client.get(last.job_id)
    assert (ended.error, (ended.error_detail or {})["code"]) == (why, "dependency_failed")
    told = events.read(jobs.store, last.job_id).events[-1].to_dict()
    assert why in (told["data"].get("error"), told["data"].get("message"))
