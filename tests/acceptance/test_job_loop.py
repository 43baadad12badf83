"""Children that take their next jobs themselves, on a real worker: to everyone who looks each job is as if it had had its message."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.events import EventReceiver

from pipeline_jobs.states import JobStatus
from tests.integration.recount import differences
from tests.stack import Stack
from tests.waiting import until

MakeStack = Callable[..., Stack]


@contextmanager
def watched(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    """The task events that go by, as Flower gets them."""
    seen: list[dict[str, Any]] = []
    ready = threading.Event()
    with stack.app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": seen.append}, app=stack.app)

        def listen() -> None:
            for _ in receiver.itercapture(limit=None, timeout=None, wakeup=False):
                ready.set()

        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None, "wakeup": True}, daemon=True)
        thread.start()
        until(lambda: any(event["type"].startswith("worker-") for event in seen), "the worker's heartbeat")
        yield seen
        receiver.should_stop = True


def by_job(seen: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for event in list(seen):
        if event["type"].startswith("task-"):
            found[event["uuid"]].append(event["type"].removeprefix("task-"))
    return found


def test_each_job_has_its_events_once_and_in_order(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=2)
    stack.worker("jobs", "-c", "2")
    with watched(stack) as seen:
        held = [stack.hold() for _ in range(2)]
        jobs = [stack.submit(params={"seconds": 0}, tenant_id=f"t{n % 3}") for n in range(40)]
        failing = stack.submit(params={"fail": "no luck"})
        stack.tell(*(job.job_id for job in held))
        for job in jobs:
            stack.until_status(job.job_id, JobStatus.COMPLETED)
        stack.until_status(failing.job_id, JobStatus.FAILED)
        until(lambda: all(len(by_job(seen)[job.job_id]) == 3 for job in [*held, *jobs, failing]), "the events")
        found = by_job(seen)
    assert [found[job.job_id] for job in [*held, *jobs]] == [["received", "started", "succeeded"]] * 42
    assert found[failing.job_id] == ["received", "started", "failed"]
    stats = stack.inspect("stats")
    assert stats["total"]["pipeline_jobs.run_job"] >= 43
    assert Counter(stack.client.get(job.job_id).attempt for job in jobs) == {1: 40}
    received = stack.log("jobs").count("] received")
    assert received < 30, "most of them came without a message"
    assert differences(stack.client.store) == []
