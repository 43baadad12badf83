"""gunicorn's threaded worker, whose threads wait a moment for the next request of a kept connection.

The stock worker gives a connection back to its main thread after each answer: the poller is told, wakes up, and wakes a thread of the pool
again. Measured, that was more than half of the process's time at full load (docs/benchmarks.md). Here a thread that nobody else waits for
stays with its connection for `STAY_SECONDS`. Written against gunicorn 27: look again at every bump.
"""

from __future__ import annotations

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: How long a thread waits for the next request of its connection, in seconds, and how often it looks whether another needs a thread.
STAY_SECONDS, LOOK_SECONDS = 0.1, 0.01


class Worker(ThreadWorker):  # type: ignore[misc]
    """`worker_class`."""

    def handle(self, conn: Any) -> Any:
        """Requests of a connection as long as they come one after another; then as gunicorn does."""
        while True:
            kept = super().handle(conn)
            if kept is not True or not self._another(conn):
                return kept

    def _another(self, conn: Any) -> bool:
        """The connection's next request is there."""
        if conn.is_http2 or self.cfg.is_ssl or conn.parser.unreader.buf.getvalue():
            # What was read ahead, by TLS too, makes no socket readable: gunicorn knows.
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        for _ in range(round(STAY_SECONDS / LOOK_SECONDS)):
            # A connection without a thread goes first.
            if not self.alive or self.tpool._work_queue.qsize():
                return False
            if poll.poll(LOOK_SECONDS * 1000):
                return True
        return False
