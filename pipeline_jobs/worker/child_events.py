"""The task events of the jobs that a child runs: it sends all of them itself, so that they come in their order, each once."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import structlog
from celery import Celery

from pipeline_jobs.worker.event_flush import FLUSH_SECONDS
from pipeline_jobs.worker.seats import Seats

logger = structlog.get_logger(__name__)

#: After a broker could not be reached it is left alone for so long, in seconds: a run does not wait for it again and again.
PAUSE_SECONDS = 5.0
#: Longest wait for the broker, in seconds.
CONNECT_SECONDS = 2.0


class ChildEvents:
    """Gathers events and sends them together, `FLUSH_SECONDS` later, in a thread of its own: a long job is seen while it runs, and many
    short ones cost one message.

    The record is the truth. What cannot be sent is dropped: a watcher that missed an event is put right by the next one.
    """

    def __init__(self, app: Celery, hostname: str, seats: Seats) -> None:
        self._app, self._hostname, self._seats = app, hostname, seats
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._gathering, self._sending = threading.Lock(), threading.Lock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._dispatcher: Any = None
        self._silent_until = 0.0
        #: Whether the worker sends events of tasks, which `celery control` may change.
        self.enabled = True

    def send(self, event: str, job_id: str, **fields: Any) -> None:
        if not self.enabled:
            return
        with self._gathering:
            self._events.append((event, {"uuid": job_id, "timestamp": time.time(), **fields}))
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="task-events", daemon=True)
            self._thread.start()
        self._due.set()

    def flush(self) -> None:
        with self._sending:
            with self._gathering:
                events, self._events = self._events, []
            if events and time.monotonic() >= self._silent_until:
                try:
                    self._send(events)
                except Exception as error:  # each transport has errors of its own
                    logger.warning("events not sent", events=len(events), error=str(error))
                    self._dispatcher, self._silent_until = None, time.monotonic() + PAUSE_SECONDS

    def _loop(self) -> None:
        while True:
            self._due.wait()
            time.sleep(FLUSH_SECONDS)
            self._due.clear()
            self.flush()

    def _send(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """As one message."""
        if self._dispatcher is None:
            self._dispatcher = self._app.events.Dispatcher(
                self._app.connection_for_write(connect_timeout=CONNECT_SECONDS), hostname=self._hostname, app=self._app,
                buffer_group={"task"}, buffer_limit=len(events) + 1, buffer_while_offline=False,
            )  # fmt: skip
            # As the worker's own events have it.
            self._dispatcher.pid = os.getppid()
        self._dispatcher.buffer_limit = len(events) + 1
        clock = self._app.clock
        clock.adjust(self._seats.clock(clock.value))
        for event, fields in events:
            self._dispatcher.send(event, **fields)
        self._seats.clock(clock.value)
        self._dispatcher.flush()
