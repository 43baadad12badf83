"""Jobs on a real Celery worker: slots, cancel, rescue, and what the celery command and AsyncResult say."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial

import pytest
from celery import chain
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError

from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker import cores
from pipeline_jobs.worker.result import JobFailed
from tests import living
from tests.acceptance.conftest import SHORT_LEASE
from tests.bodies import THREADS
from tests.integration.recount import differences
from tests.living import alive, children
from tests.stack import MakeStack, Stack
from tests.waiting import until


@pytest.fixture(scope="module")
def one(make_shared_stack: MakeStack) -> Stack:
    """A worker with one slot, for the tests that end no process of it. Each leaves nothing behind that runs."""
    stack = make_shared_stack()
    stack.worker("jobs", "--autoscale=1,1")
    return stack


@pytest.fixture
def stack(one: Stack) -> Iterator[Stack]:
    yield one
    one.cancel_all()


def test_a_job_runs_and_its_result_progress_and_tenant_are_told_alike(stack: Stack) -> None:
    job = stack.submit(params={"seconds": 0.5, "steps": 5, "echo": {"deep": [1, {}]}}, tenant_id="acme", workspace_id="blog")
    result = stack.app.AsyncResult(job.job_id)
    assert result.get(timeout=60)["data"]["echo"] == {"deep": [1, {}]}
    ended = stack.client.get(job.job_id)
    assert (result.state, result.result, result.tenant_id, result.workspace_id) == ("SUCCESS", ended.result, "acme", "blog")
    assert (ended.attempt, ended.crashes, ended.progress) == (1, 0, 100.0)
    assert differences(stack.client.store) == []


def test_asyncresult_agrees_with_the_record_in_every_state(stack: Stack) -> None:
    before, waiting = stack.hold(), stack.hold()
    result = stack.app.AsyncResult(waiting.job_id)
    assert (result.state, result.ready(), result.info["status"]) == ("PENDING", False, "queued")
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.1)
    stack.tell(before.job_id)
    stack.until_status(waiting.job_id, JobStatus.RUNNING)
    until(lambda: result.state == "PROGRESS" and result.info["progress"] > 0, "progress")
    assert result.info["stage"] == "hold"
    assert result.info["tenant_id"] == "default"
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=60)
    assert (result.state, stack.client.get(waiting.job_id).status) == ("REVOKED", JobStatus.CANCELLED)

    failing = stack.app.AsyncResult(stack.submit(params={"fail": "no luck"}).job_id)
    with pytest.raises(JobFailed, match="no luck"):
        failing.get(timeout=60)
    record = failing.record()
    assert (failing.state, record.error, str(failing.result)) == ("FAILURE", "no luck", "no luck")
    failing.forget()
    assert failing.state == "PENDING"


def test_never_more_jobs_run_than_autoscale_allows_and_control_autoscale_changes_it_live(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=100)
    stack.worker("jobs", "--autoscale=3,1")
    for _ in range(40):
        stack.submit(params={"seconds": 600})
    until(lambda: stack.running() == 3, "3 running")
    assert len(stack.inspect("active")) == 3
    assert stack.client.store.client.zcard(stack.client.store.keys("hints")) == 0
    assert stack.control("autoscale", "6", "1").returncode == 0
    until(lambda: stack.running() == 6, "6 running")
    until(lambda: len(stack.inspect("active")) == 6, "6 active")


def test_the_cap_holds_over_two_workers(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=4)
    stack.together(partial(stack.worker, "one", "--autoscale=3,1"), partial(stack.worker, "two", "--autoscale=3,1"))
    seen: set[int] = set()
    jobs = [stack.hold().job_id for _ in range(12)]
    until(lambda: stack.running() == 4, "4 running")
    assert stack.client.store.client.zcard(stack.client.store.keys("hints")) == 0
    # As they end, others take their places: each of the twelve is told as soon as it may start.
    stack.tell(*jobs)

    def all_ended() -> bool:
        seen.add(stack.running())
        return int(stack.client.store.client.zcard(stack.client.store.keys("status", "completed"))) == 12

    until(all_ended, "all to end")
    assert max(seen) <= 4


def test_a_worker_started_without_flags_takes_its_slots_from_the_setting_and_consumes_jobs_only(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=7)
    stack.worker("jobs")
    jobs, of_class = (queue["name"] for queue in stack.inspect("active_queues"))
    assert jobs == "jobs"
    assert of_class.startswith("jobs.")
    assert stack.inspect("stats")["autoscaler"]["max"] == 7


@pytest.mark.parametrize("slots", ["--autoscale=1000,1", "--concurrency=1"])
def test_a_job_may_use_the_threads_of_its_slot(make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, slots: str) -> None:
    monkeypatch.delenv(cores.VARIABLE, raising=False)
    stack = make_stack()
    stack.worker("jobs", slots, slots=None)
    told = stack.until_status(stack.submit(pipeline=THREADS.name).job_id, JobStatus.COMPLETED)
    assert told.result["data"] == {"threads": str(cores.share(1000 if "1000" in slots else 1))}


@pytest.mark.parametrize("how", ["client", "celery revoke", "celery terminate", "celery terminate SIGKILL"])
def test_a_cancel_stops_a_running_job_and_the_next_one_runs(stack: Stack, how: str) -> None:
    job = stack.submit(params={"seconds": 600, "steps": 6000}, tenant_id="acme")
    until(lambda: stack.client.get(job.job_id).progress > 0, "progress")
    assert job.job_id in {task["id"] for task in stack.inspect("active")}
    following = stack.submit(params={"seconds": 0})
    if how == "client":
        stack.client.cancel(job.job_id)
    elif how == "celery revoke":
        assert stack.control("revoke", job.job_id).returncode == 0
    else:
        name = "SIGKILL" if "KILL" in how else "SIGTERM"
        assert stack.control("terminate", name, job.job_id).returncode == 0
    ended = stack.until_status(job.job_id, JobStatus.CANCELLED)
    assert ended.tenant_id == "acme"
    stack.until_status(following.job_id, JobStatus.COMPLETED)
    assert stack.app.AsyncResult(job.job_id).state == "REVOKED"
    assert differences(stack.client.store) == []


def test_a_stage_that_ignores_a_cancel_is_interrupted(stack: Stack) -> None:
    job = stack.submit(params={"seconds": 600, "ignore_cancel": True})
    stack.until_status(job.job_id, JobStatus.RUNNING)
    stack.client.cancel(job.job_id)
    stack.until_status(job.job_id, JobStatus.CANCELLED)
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)


def test_a_stage_that_holds_the_gil_is_killed_when_its_run_takes_too_long(make_stack: MakeStack) -> None:
    stack = make_stack(max_run_seconds=1.0, modules="examples.demo_pipelines,tests.hog")
    stack.worker("jobs", "--autoscale=1,1")
    hog = stack.submit(pipeline="hog")
    ended = stack.until_status(hog.job_id, JobStatus.FAILED)
    assert ended.error_detail is not None
    assert (ended.error_detail["code"], ended.error_detail["retryable"], ended.crashes) == ("run_too_long", False, 0)
    assert "job did not stop, killed its process" in stack.log("jobs")
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)
    patient = stack.until_status(stack.submit(params={"seconds": 600, "steps": 6000}).job_id, JobStatus.FAILED)
    assert (patient.error_detail or {})["code"] == "run_too_long"
    assert differences(stack.client.store) == []


def test_a_revoke_with_no_worker_alive_holds_and_leaves_no_ghost(make_stack: MakeStack) -> None:
    stack = make_stack()
    job = stack.submit(params={"seconds": 0}, tenant_id="acme")
    done = stack.celery("control", "revoke", job.job_id, "job_1_00000000", "--timeout", "0.5")
    assert done.returncode == 69, done.stdout + done.stderr
    stack.worker("jobs", "--autoscale=1,1")
    after = stack.submit(params={"seconds": 0})
    stack.until_status(after.job_id, JobStatus.COMPLETED)
    record = stack.client.get(job.job_id)
    assert (record.status, record.tenant_id, record.attempt) == (JobStatus.CANCELLED, "acme", 0)
    assert not stack.client.store.client.keys("*job_1_00000000*")


def test_with_neither_beat_nor_maintenance_the_job_of_a_killed_worker_runs_again_on_another(make_stack: MakeStack) -> None:
    stack = make_stack(**SHORT_LEASE)
    worker = stack.worker("one", "--autoscale=1,1")
    job = stack.hold()
    until(lambda: stack.client.get(job.job_id).progress > 0, "progress")
    os.killpg(worker.pid, signal.SIGKILL)
    stack.tell(job.job_id)
    stack.worker("two", "--autoscale=1,1")
    assert stack.until_status(job.job_id, JobStatus.COMPLETED).crashes == 1


def test_the_job_of_a_killed_worker_runs_again_on_another_and_completes(make_stack: MakeStack) -> None:
    stack = make_stack(**SHORT_LEASE)
    stack.maintenance()
    worker = stack.worker("one", "--autoscale=2,1")
    job = stack.hold()
    until(lambda: stack.client.get(job.job_id).progress > 0, "progress")
    children = stack.inspect("stats", "one")["pool"]["processes"]
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    until(lambda: not any(alive(pid) for pid in children), "the children of a killed worker to be gone")
    stack.tell(job.job_id)
    stack.worker("two", "--autoscale=2,1")
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
    assert (ended.crashes, ended.attempt, (ended.worker or "").split("/")[0]) == (1, 1, "two@test")
    assert differences(stack.client.store) == []


def test_a_job_that_kills_its_process_fails_after_the_third_time_and_the_worker_lives(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.worker("jobs", "--autoscale=1,1")
    job = stack.submit(params={"seconds": 0, "crash": True})
    ended = stack.until_status(job.job_id, JobStatus.FAILED)
    assert ended.error_detail is not None
    assert (ended.crashes, ended.error_detail["code"]) == (3, "worker_lost")
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)


def test_a_retryable_failure_is_tried_again_up_to_max_attempts(stack: Stack) -> None:
    job = stack.submit(params={"fail": "once", "fail_times": 1, "retryable": True}, max_attempts=2)
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
    assert (ended.attempt, ended.crashes) == (2, 0)


def test_a_bare_message_is_adopted_as_a_job_of_the_default_tenant(stack: Stack) -> None:
    # A run that its worker's main process knew by another fence would be killed after the grace, which is half as long.
    assert stack.settings.cancel_grace_seconds <= 2
    result = stack.app.send_task("pipeline_jobs.run_job", kwargs={"pipeline": "sleep", "params": {"echo": 1, "seconds": 4}}, queue="jobs")
    ended = stack.app.AsyncResult(result.id).until_ended(60) if until(lambda: known(stack, result.id), "the record") else None
    assert ended is not None
    assert (ended.status, ended.tenant_id, ended.result["data"]["echo"]) == (JobStatus.COMPLETED, "default", 1)
    assert (ended.crashes, ended.fence > 1) == (0, True)
    assert result.get(timeout=60)["data"]["echo"] == 1
    assert "adopted" in stack.log("jobs")


def test_calling_the_task_submits_a_job(make_stack: MakeStack) -> None:
    # Not the shared one: Celery binds a task's class to the newest app of a process.
    stack = make_stack()
    stack.worker()
    result = stack.app.tasks["pipeline_jobs.run_job"].delay(pipeline="sleep", params={"echo": "hi"}, tenant_id="acme")
    assert result.record().tenant_id == "acme"
    assert result.get(timeout=60)["data"]["echo"] == "hi"


def test_a_worker_whose_artifact_store_cannot_be_opened_says_so_and_takes_no_job(make_stack: MakeStack) -> None:
    stack = make_stack(artifacts_url="s4://bucket/folder")
    job = stack.submit(params={"seconds": 0})
    worker = stack.run("wrong", sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", "wrong@test")
    assert worker.wait(60) != 0
    assert "this worker does not start: PIPELINE_ARTIFACTS_URL cannot be used" in stack.log("wrong")
    assert stack.client.get(job.job_id).status is JobStatus.QUEUED


def test_ttl_cleanup_by_beat_removes_ended_jobs(make_stack: MakeStack) -> None:
    stack = make_stack(job_ttl_seconds=1)
    stack.together(stack.maintenance, partial(stack.worker, "jobs", "--autoscale=1,1"))
    job = stack.submit(params={"seconds": 0})
    live = stack.submit(params={"seconds": 600})
    until(lambda: not known(stack, job.job_id), "the purge")
    assert known(stack, live.job_id)
    stack.client.cancel(live.job_id)


def known(stack: Stack, job_id: str) -> bool:
    return bool(stack.client.store.client.exists(stack.client.store.keys("job", job_id)))


def test_a_worker_told_to_stop_hands_its_job_back_and_no_crash_is_counted(make_stack: MakeStack) -> None:
    stack = make_stack(shutdown_grace_seconds=0.2)
    worker = stack.worker("one", "--autoscale=2,1")
    job = stack.hold()
    until(lambda: stack.client.get(job.job_id).progress > 0, "progress")
    os.kill(worker.pid, signal.SIGTERM)
    stack.until_status(job.job_id, JobStatus.QUEUED)
    assert worker.wait(60) == 0
    stack.tell(job.job_id)
    stack.worker("two", "--autoscale=2,1")
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
    assert (ended.handbacks, ended.crashes, ended.attempt) == (1, 0, 1)
    assert differences(stack.client.store) == []


def test_a_worker_that_is_told_to_stop_again_and_again_ends_by_itself(make_stack: MakeStack) -> None:
    """Python takes its handlers away before it ends: the last ones would kill it."""
    stack = make_stack()
    worker = stack.worker("one", "--autoscale=2,1")

    def told() -> bool:
        worker.terminate()
        return worker.poll() is not None

    until(told, "the worker to end")
    assert worker.returncode == 0, stack.log("one")[-2000:]


def test_a_worker_told_to_stop_as_it_gives_a_job_to_a_child_ends(make_stack: MakeStack) -> None:
    stack = make_stack(shutdown_grace_seconds=0.2)
    worker = stack.worker("one", "-c", "1")
    [child] = children(worker.pid)
    living.stop(child.pid)
    job = stack.submit(params={"seconds": 0})
    until(lambda: f"{job.job_id}] received" in stack.log("one"), "the job to be given to the child, which says nothing of it")
    os.kill(worker.pid, signal.SIGTERM)
    until(lambda: "Warm shutdown" in stack.log("one") and not stack._announced(), "the worker to have heard of it")
    child.resume()
    assert worker.wait(60) == 0, stack.log("one")[-2000:]
    assert "did not stop in time" not in stack.log("one")


def test_a_job_that_ends_within_the_grace_is_not_handed_back(make_stack: MakeStack) -> None:
    stack = make_stack(shutdown_grace_seconds=600)
    worker = stack.worker("one", "--autoscale=2,1")
    job = stack.hold()
    until(lambda: stack.client.get(job.job_id).progress > 0, "progress")
    os.kill(worker.pid, signal.SIGTERM)
    until(lambda: "Warm shutdown" in stack.log("one"), "the worker to have heard of it")
    stack.tell(job.job_id)
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
    assert (ended.handbacks, worker.wait(60)) == (0, 0)


def test_deadlines_and_queue_ttl_end_jobs_with_their_own_code(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=1)
    stack.together(stack.maintenance, partial(stack.worker, "jobs", "--autoscale=1,1"))
    late = stack.hold(deadline_seconds=3600)
    stack.until_status(late.job_id, JobStatus.RUNNING)
    never = stack.submit(params={"seconds": 0}, start_within_seconds=0.2)
    stack.until_status(never.job_id, JobStatus.FAILED)
    stack.client.store.client.zadd(stack.client.store.keys("deadlines"), {late.job_id: 1})
    for job, code in ((never, "expired"), (late, "deadline_exceeded")):
        ended = stack.until_status(job.job_id, JobStatus.FAILED)
        assert ended.error_detail is not None
        assert ended.error_detail["code"] == code
    stack.until_status(stack.submit(params={"seconds": 0}, deadline_seconds=600, start_within_seconds=600).job_id, JobStatus.COMPLETED)
    assert differences(stack.client.store) == []


def test_a_chain_goes_on_whose_child_was_killed_between_finish_and_callbacks(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.together(stack.maintenance, partial(stack.worker, "jobs", "--autoscale=1,1", PIPELINE_FAILPOINTS="run.after_finish=kill"))
    job = stack.app.tasks["pipeline_jobs.run_job"].si(pipeline="sleep")
    result = chain(job, job.clone()).apply_async()
    stack.until_status(result.parent.id, JobStatus.COMPLETED)
    until(lambda: "failpoint: killed at run.after_finish" in stack.log("jobs"), "the kill")
    # A worker whose children live; the killed one's next children would die as well.
    stack.worker("healthy", "--autoscale=2,2")
    # It is made, so the chain went on, and by maintenance; the first job ran once.
    until(lambda: stack.client.store.exists("job", result.id), "the next job")
    first = stack.client.get(result.parent.id)
    assert (first.status, first.attempt, first.crashes) == (JobStatus.COMPLETED, 1, 0)
    until(lambda: result.parent.id not in stack.client.store.members("continuations"), "the row to be removed")
