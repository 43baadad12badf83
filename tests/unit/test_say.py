"""Events of moved jobs go together, and one that could not be sent breaks nothing: the record says it already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kombu.clocks import LamportClock
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError, ResponseError

from pipeline_jobs.jobs.moved import Moved
from pipeline_jobs.worker import gathered_events
from pipeline_jobs.worker.gathered_events import PAUSE_SECONDS
from pipeline_jobs.worker.task_events import TaskEvents

ERRORS = [ConnectionError("reset"), ResponseError("OOM"), OperationalError("away"), OSError("gone")]


class Broker:
    """An app whose events are gathered here: a message is what one flush sends. The next flushes may meet errors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: list[list[tuple[str, str]]] = []
        self.errors: list[Exception] = []
        self.connections = 0
        self.now = 1000.0
        monkeypatch.setattr(gathered_events, "time", SimpleNamespace(time=lambda: 1.0, monotonic=lambda: self.now, sleep=lambda _: None))
        # Sent when the test says so.
        monkeypatch.setattr(gathered_events.GatheredEvents, "_loop", lambda events: None)
        self.events = SimpleNamespace(Dispatcher=self.connect)
        self.clock = LamportClock()
        self.say = TaskEvents(self)

    def connection_for_write(self, **options: Any) -> None:
        self.connections += 1

    def connect(self, *args: Any, **options: Any) -> Any:
        def publish(events: list[dict[str, Any]], producer: None, routing_key: str) -> None:
            if self.errors:
                raise self.errors.pop(0)
            self.messages.append([(event["type"], event["uuid"]) for event in events])

        return SimpleNamespace(pid=1, hostname="h", enabled=True, producer=None, _publish=publish)

    def told(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.say(Moved(job_id, "queued", ran=True))
        self.say._gathered().flush()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


def retried(*job_ids: str) -> list[tuple[str, str]]:
    return [("task-retried", job_id) for job_id in job_ids]


def test_many_go_in_one_message(broker: Broker) -> None:
    for became in ("cancelled", "failed", "queued", "hint"):
        broker.say(Moved(became, became))
    broker.told("last")
    assert broker.messages == [[("task-revoked", "cancelled"), ("task-failed", "failed"), *retried("queued", "last")]]
    broker.told()
    assert len(broker.messages) == 1


@pytest.mark.parametrize("error", ERRORS)
def test_a_connection_that_was_closed_while_it_stood_idle_is_replaced(broker: Broker, error: Exception) -> None:
    broker.told("a")
    broker.errors = [error]
    broker.told("b", "c")
    assert (broker.messages, broker.connections) == ([retried("a"), retried("b", "c")], 2)


@pytest.mark.parametrize("error", ERRORS)
def test_a_broker_that_is_away_is_left_alone_for_a_while(broker: Broker, error: Exception) -> None:
    broker.errors = [error]
    broker.told("dropped")
    broker.told("dropped too")
    assert (broker.messages, broker.connections) == ([], 1)
    broker.now += PAUSE_SECONDS
    broker.told("a")
    assert (broker.messages, broker.connections) == ([retried("a")], 2)
