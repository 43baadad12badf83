"""Task events go out together, and none is left behind."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pipeline_jobs.worker.event_flush import FLUSH_EVENTS, FLUSH_SECONDS, EventFlushStep


class Consumer:
    """As much of Celery's consumer as the step touches."""

    connection_errors = (OSError,)

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.hub = SimpleNamespace(call_later=lambda seconds, call: self.timers.append((seconds, call)))
        self.event_dispatcher: Any = SimpleNamespace(on_send_buffered=lambda: None, buffer_limit=24)
        self.flushed = 0
        self.broken = False

    def _flush_events(self) -> None:
        if self.broken:
            raise OSError("the broker is away")
        self.flushed += 1


def started() -> tuple[Consumer, EventFlushStep]:
    consumer = Consumer()
    step = EventFlushStep(consumer)
    step.start(consumer)
    return consumer, step


def test_many_events_make_one_flush() -> None:
    consumer, _ = started()
    for _ in range(50):
        consumer.event_dispatcher.on_send_buffered()
    [(seconds, flush)] = consumer.timers
    assert (seconds, consumer.event_dispatcher.buffer_limit, consumer.flushed) == (FLUSH_SECONDS, FLUSH_EVENTS, 0)
    flush()
    assert consumer.flushed == 1
    consumer.event_dispatcher.on_send_buffered()
    assert len(consumer.timers) == 2


def test_the_last_events_go_before_the_connection_does() -> None:
    consumer, step = started()
    consumer.event_dispatcher.on_send_buffered()
    step.stop(consumer)
    assert consumer.flushed == 1


def test_a_lost_connection_does_not_keep_the_worker_from_stopping() -> None:
    consumer, step = started()
    consumer.broken = True
    step.stop(consumer)


def test_events_that_nobody_wants_need_no_flush() -> None:
    consumer = Consumer()
    consumer.event_dispatcher = None
    EventFlushStep(consumer).start(consumer)
    assert consumer.timers == []
