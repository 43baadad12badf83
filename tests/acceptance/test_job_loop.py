"""Children that take their next jobs themselves, on a real worker: to everyone who looks each job is as if it had had its message.

The long form of the kills is tests/heavy/bar_next_job.py.
"""

from __future__ import annotations

import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery.events import EventReceiver

from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.app import create_celery
from tests.acceptance.conftest import QUICK
from tests.graphs import Graph
from tests.graphs import check as check_graph
from tests.integration.recount import differences
from tests.kills import PATIENT, Deaths, check, environment
from tests.living import children
from tests.servers import Server
from tests.stack import Stack
from tests.waiting import until


@pytest.fixture(scope="module")
def stack(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests of this file: each has workers of its own."""
    with server.client() as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("loop")
    base: Settings = load_settings({"PIPELINE_REDIS_URL": server.url, "PIPELINE_DATA_DIR": str(folder / "data"), "PIPELINE_SELF_TEST": "0"})
    modules = f"{QUICK['modules']},tests.patient_loop"
    settings = base.model_copy(update={**QUICK, **PATIENT, "max_concurrent_jobs": 100, "modules": modules})
    app = create_celery(settings)
    made = Stack(app.cell.client, settings, folder)
    made.app = app
    yield made
    made.stop()
    app.close()


@contextmanager
def worker(stack: Stack, name: str, *options: str, **env: str) -> Iterator[int]:
    """A worker for a test. It ends as it should."""
    process = stack.worker(name, *options, slots=None, **env)
    yield process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, stack.log(name)[-3000:]


@contextmanager
def watched(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    """The task events that go by, as Flower gets them."""
    seen: list[dict[str, Any]] = []
    with stack.app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": seen.append}, app=stack.app)
        threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None, "wakeup": True}, daemon=True).start()
        until(lambda: any(event["type"].startswith("worker-") for event in seen), "the worker's heartbeat")
        yield seen
        receiver.should_stop = True


def received(stack: Stack, name: str) -> int:
    """How many messages of jobs a worker got."""
    return sum("run_job" in line and "received" in line for line in stack.log(name).splitlines())


def by_job(seen: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for event in list(seen):
        if event["type"].startswith("task-"):
            found[event["uuid"]].append(event["type"].removeprefix("task-"))
    return found


def test_each_job_has_its_events_once_and_in_order(stack: Stack) -> None:
    with worker(stack, "jobs", "-c", "2"), watched(stack) as seen:
        held = [stack.hold() for _ in range(2)]
        jobs = [stack.submit(params={"seconds": 0}, tenant_id=f"t{n % 3}") for n in range(40)]
        failing = stack.submit(params={"fail": "no luck"})
        stack.tell(*(job.job_id for job in held))
        for job in jobs:
            stack.until_status(job.job_id, JobStatus.COMPLETED)
        stack.until_status(failing.job_id, JobStatus.FAILED)
        until(lambda: all(len(by_job(seen)[job.job_id]) == 3 for job in [*held, *jobs, failing]), "the events")
        found, total = by_job(seen), stack.inspect("stats")["total"]
        until(lambda: [event for event in seen if event.get("processed") == 43], "a heartbeat that counts them all")
    assert [found[job.job_id] for job in [*held, *jobs]] == [["received", "started", "succeeded"]] * 42
    assert found[failing.job_id] == ["received", "started", "failed"]
    assert total == {"pipeline_jobs.run_job": 43}
    assert received(stack, "jobs") == 2, "all but those that were held came without a message"
    assert [stack.log("jobs").count(f"[{job.job_id}] succeeded") for job in jobs] == [1] * 40
    assert differences(stack.client.store) == []


def test_whoever_looks_sees_the_job_that_the_child_went_on_to(stack: Stack) -> None:
    with worker(stack, "looked-at", "-c", "1"):
        first, second, third = (stack.hold(tenant_id=name) for name in ("one", "two", "three"))
        stack.until_status(first.job_id, JobStatus.RUNNING)
        stack.tell(first.job_id)
        stack.until_status(second.job_id, JobStatus.RUNNING)
        [active] = stack.inspect("active", "looked-at")
        assert (active["id"], active["kwargs"]) == (second.job_id, {})
        asked = stack.celery(
            "inspect", "query_task", first.job_id, second.job_id, "--json", "--timeout", "60", "--destination", "looked-at@test"
        )
        assert second.job_id in asked.stdout
        assert first.job_id not in asked.stdout
        assert received(stack, "looked-at") == 1
        # A kill is of this job, and its process's next one lives.
        stack.control("terminate", "SIGKILL", second.job_id, worker="looked-at")
        assert stack.until_status(second.job_id, JobStatus.CANCELLED).crashes == 0
        assert stack.until_status(third.job_id, JobStatus.RUNNING).crashes == 0
        stack.tell(third.job_id)
        stack.until_status(third.job_id, JobStatus.COMPLETED)


def test_children_are_replaced_by_the_number_of_their_jobs(stack: Stack) -> None:
    with worker(stack, "worn", "-c", "1", "--max-tasks-per-child=5") as main:
        before = {child.pid for child in children(main)}
        jobs = [stack.submit(params={"seconds": 0}) for _ in range(12)]
        for job in jobs:
            assert stack.until_status(job.job_id, JobStatus.COMPLETED).crashes == 0
        assert before.isdisjoint({child.pid for child in children(main)})


def test_a_worker_that_is_told_to_hand_nothing_over_gets_a_message_for_each_job(stack: Stack) -> None:
    with worker(stack, "by-messages", "-c", "1", PIPELINE_FINISH_CLAIMS="0"), watched(stack) as seen:
        jobs = [stack.submit(params={"seconds": 0}) for _ in range(5)]
        for job in jobs:
            stack.until_status(job.job_id, JobStatus.COMPLETED)
        until(lambda: all(len(by_job(seen)[job.job_id]) == 3 for job in jobs), "the events")
        assert [by_job(seen)[job.job_id] for job in jobs] == [["received", "started", "succeeded"]] * 5
        assert received(stack, "by-messages") == 5


def test_a_graph_keeps_its_order_while_children_are_killed(stack: Stack) -> None:
    graph = Graph.random(60, 6, seed=17)
    made = stack.app.cell.workflows.create(graph.new("graphs"))
    batches, workflow_id = stack.app.cell.batches, made.batch.batch_id
    deaths = Deaths(stack, "of-a-graph")
    with worker(stack, "of-a-graph", "-c", "2", **environment(per_cent=3)):
        until(lambda: batches.get(workflow_id).completed_at, "the end of the workflow", 120)
    assert deaths.count > 0
    ids = {node.name: str(job_id) for node, job_id in zip(graph.nodes, made.job_ids, strict=True)}
    check_graph(stack.client.store, graph, "graphs", workflow_id, ids)
    assert differences(stack.client.store) == []


def test_children_that_are_killed_at_each_line_lose_nothing_and_each_crash_is_its_own_jobs(stack: Stack) -> None:
    deaths = Deaths(stack, "mortal")
    with worker(stack, "mortal", "-c", "3", **environment(per_cent=3)) as main:
        jobs = [stack.submit(params={"seconds": 0}, tenant_id=f"t{n % 3}").job_id for n in range(100)]
        for number in range(6):
            before = deaths.count
            deaths.kill_one(main, pause_ms=100 * (number % 2))
            until(lambda before=before: deaths.count > before, "a death")
        check(stack, deaths, jobs)
    assert deaths.count > 6
