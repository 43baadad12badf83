"""Task events that go out together: whoever tells of many jobs sends few messages, and does not wait for the broker."""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from celery import Celery
from celery.utils.time import utcoffset

from pipeline_jobs.worker.event_flush import FLUSH_SECONDS

logger = structlog.get_logger(__name__)

#: After a broker could not be reached it is left alone for so long, in seconds: a run does not wait for it again and again.
PAUSE_SECONDS = 5.0
#: Longest wait for the broker, in seconds.
CONNECT_SECONDS = 2.0
#: The thread ends when there was no event for so long, in seconds.
IDLE_SECONDS = 10.0


class GatheredEvents:
    """Gathers events and sends them together, `FLUSH_SECONDS` later, in a thread of its own: a long job is seen while it runs, and many
    short ones cost one message. Of one process.

    The record is the truth. What cannot be sent is dropped: a watcher that missed an event is put right by the next one.
    """

    def __init__(self, app: Celery, hostname: str | None = None, pid: int | None = None) -> None:
        """:param pid: of the process that watchers are told of, with the name; None: this one."""
        self._app, self._hostname, self._told_pid = app, hostname, pid
        #: Whether events of tasks are sent, which `celery control` may change for a worker.
        self.enabled = True
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._gathering, self._sending = threading.Lock(), threading.Lock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._dispatcher: Any = None
        self._silent_until = 0.0

    def send(self, event: str, job_id: str, **fields: Any) -> None:
        if not self.enabled:
            return
        with self._gathering:
            first = not self._events
            self._events.append((event, {"uuid": job_id, "timestamp": time.time(), **fields}))
            if self._thread is None or not self._thread.is_alive():
                self._start()
        # To set it wakes whoever waits. The thread takes all events after it has cleared it.
        if first:
            self._due.set()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="task-events", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            # None can be started now. The next event tries again: what watchers are told stops no job.
            logger.warning("events cannot be sent now", seldom=True, error=str(error))

    def flush(self) -> None:
        with self._sending:
            with self._gathering:
                events, self._events = self._events, []
            if events and time.monotonic() >= self._silent_until and not self._sent(events, anew=self._dispatcher is not None):
                self._silent_until = time.monotonic() + PAUSE_SECONDS

    def clock(self, mine: int) -> int:
        """The logical clock of all that watchers take for one process with this."""
        return mine

    def _loop(self) -> None:
        while self._busy():
            time.sleep(FLUSH_SECONDS)
            self._due.clear()
            self.flush()

    def _busy(self) -> bool:
        """Wait for the next event. :return: False: there was none for long, and this thread ends."""
        if self._due.wait(IDLE_SECONDS):
            return True
        with self._gathering:
            if not self._events:
                self._thread = None
            return bool(self._events)

    def _sent(self, events: list[tuple[str, dict[str, Any]]], *, anew: bool) -> bool:
        """:param anew: try it once more with another connection: this one may have been closed while it stood idle."""
        try:
            self._send(events)
        except Exception as error:  # each transport has errors of its own
            self._dispatcher = None
            if anew:
                return self._sent(events, anew=False)
            logger.warning("events not sent", events=len(events), error=str(error))
            return False
        return True

    def _send(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """As one message."""
        if self._dispatcher is None:
            self._dispatcher = self._app.events.Dispatcher(
                self._app.connection_for_write(connect_timeout=CONNECT_SECONDS), hostname=self._hostname, app=self._app,
                buffer_while_offline=False,
            )  # fmt: skip
            self._dispatcher.pid = self._told_pid or self._dispatcher.pid
        clock = self._app.clock
        clock.adjust(self.clock(clock.value))
        whose = {"hostname": self._dispatcher.hostname, "utcoffset": utcoffset(), "pid": self._dispatcher.pid}
        # As the dispatcher makes each when it gathers them itself, which takes twice as long.
        made = [{**whose, "clock": clock.forward(), **fields, "type": event} for event, fields in events]
        self.clock(clock.value)
        if self._dispatcher.enabled:
            self._dispatcher._publish(made, self._dispatcher.producer, "task.multi")
