"""For a moment no thread can be started: whoever needs one goes on when there is one again, and stops nobody meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pipeline_jobs.events.hub import Hub
from pipeline_jobs.webhooks import sender
from pipeline_jobs.webhooks.post import Answer
from pipeline_jobs.worker.gathered_events import GatheredEvents
from tests.integration.conftest import Cell
from tests.waiting import until

START = threading.Thread.start


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From now on no thread of this name can be started; empty: all can."""

    def refuse(name: str) -> None:
        def start(thread: threading.Thread) -> None:
            if thread.name == name:
                raise RuntimeError("can't start new thread")
            START(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    return refuse


def test_streams_are_served_when_there_is_a_thread_again(jobs: Cell, refuse: Callable[[str], None]) -> None:
    hub, job = Hub(jobs.store), jobs.submit(tenant_id="acme")
    refuse("event-hub")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            hub.follow(job.job_id, "acme")
    assert hub._topics == {}
    refuse("")
    with hub.follow(job.job_id, "acme") as follower:
        seen = follower.next(30)
        jobs.client.cancel(job.job_id)
        seen = [*seen, *follower.next(30)]
    assert [event.type for event in seen] == ["job.created", "job.cancelled"]
    until(lambda: hub._thread is None, "the hub's thread to end")


def test_a_message_that_had_no_thread_is_sent_when_its_lease_has_ended(
    jobs: Cell, refuse: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def post(url: str, *_: Any, **__: Any) -> Answer:
        sent.append(url)
        return Answer(200, "")

    monkeypatch.setattr(sender, "post", post)
    webhooks = jobs.cell.webhooks
    endpoint, _ = webhooks.endpoints.create("acme", "https://hooks.example/x")
    delivery_id = webhooks.endpoints.test(endpoint.endpoint_id)
    refuse("webhook-delivery")

    def taken() -> list[str]:
        webhooks.sender.run_once()
        return jobs.store.members("webhook_leases")

    (lease,) = until(taken, "the message to be taken")
    assert webhooks.sender.run_once() == {"sending": 0}
    refuse("")
    # Nobody renews its lease: it ends.
    jobs.store.client.zadd(jobs.store.keys("webhook_leases"), {lease: 1})
    until(lambda: webhooks.ledger.get(delivery_id).status == "delivered", "the message to be sent")
    webhooks.sender.stop(60)
    assert sent == ["https://hooks.example/x"]


def test_events_of_tasks_wait_and_stop_no_run(refuse: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    events = GatheredEvents(None)
    monkeypatch.setattr(events, "_send", lambda some: told.extend(job_id for _, fields in some for job_id in [fields["uuid"]]))
    refuse("task-events")
    events.send("task-started", "one")
    events.send("task-started", "two")
    refuse("")
    events.send("task-started", "three")
    until(lambda: told == ["one", "two", "three"], "the events to be sent")
