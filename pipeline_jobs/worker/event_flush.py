"""Task events of a worker go out a few times a second, many in one message.

Celery sends what its event loop has gathered at each turn of the loop: at full load a message for every one or two events, which was 40 %
of the main process's time. A watcher sees an event up to `FLUSH_SECONDS` later, with the time at which it happened.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import bootsteps
from celery.worker.consumer.events import Events

logger = structlog.get_logger(__name__)

#: How long an event may wait for others, in seconds.
FLUSH_SECONDS = 0.1
#: So many go at once.
FLUSH_EVENTS = 100


class EventFlushStep(bootsteps.StartStopStep):
    """Takes the place of the consumer's own flush at each turn; started anew with each connection."""

    requires = (Events,)

    def __init__(self, consumer: Any, **_: Any) -> None:
        self._due = False

    def start(self, consumer: Any) -> None:
        dispatcher = consumer.event_dispatcher
        self._due = False
        if consumer.hub and dispatcher and dispatcher.on_send_buffered:
            dispatcher.buffer_limit = FLUSH_EVENTS

            def flush() -> None:
                self._due = False
                consumer._flush_events()

            def gather() -> None:
                if not self._due:
                    self._due = True
                    consumer.hub.call_later(FLUSH_SECONDS, flush)

            dispatcher.on_send_buffered = gather

    def stop(self, consumer: Any) -> None:
        """The last ones go before the dispatcher is closed."""
        try:
            consumer._flush_events()
        except consumer.connection_errors as error:
            # The record is the truth; a watcher that missed an event is put right by the next one.
            logger.warning("events not sent", error=str(error))

    shutdown = stop
