"""gunicorn's threaded worker, whose threads wait a moment for the next request of a kept connection, and not for ever for the first;
the processes share the connections (`web/server/balance.py`).

The stock worker gives a connection back to its main thread after each answer: the poller is told, wakes up, and wakes a thread of the pool
again. Measured, that was more than half of the process's time at full load (docs/benchmarks.md). Here a thread that nobody else waits for
stays with its connection for `STAY_SECONDS`. Written against gunicorn 27: look again at every bump.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from pipeline_jobs.settings import load_settings
from pipeline_jobs.web.problems import bare_problem
from pipeline_jobs.web.server.balance import HESITATION_SECONDS, Shares
from pipeline_jobs.web.server.slow import WATCH

#: How long a thread waits for the next request of its connection, in seconds, and how often it looks whether another needs a thread.
STAY_SECONDS, LOOK_SECONDS = 0.1, 0.01


_SECONDS = load_settings().request_seconds
#: gunicorn's master imports this before it forks.
_SHARES = Shares()


def write_problem(sock: socket.socket, status: int, reason: str, mesg: str) -> None:
    """Refuses what is no request (a line or headers too long, a header that is none), in the place of gunicorn's page of HTML, whose
    text quotes the request."""
    # A transfer coding that nobody has is the client's fault.
    status, reason = (400, "Bad Request") if status == 501 else (status, reason)
    util.write_nonblock(sock, bare_problem(status, reason))


util.write_error = write_problem


class Worker(ThreadWorker):  # type: ignore[misc]
    """`worker_class`."""

    def accept(self, listener: Any) -> None:
        """Take a new connection, unless another process that has fewer takes it now."""
        if _SHARES.has_more(self.age, self.nr_conns):
            time.sleep(HESITATION_SECONDS)
        super().accept(listener)
        _SHARES.tell(self.age, self.nr_conns)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Each turn of the main thread, once a second at least."""
        super().wait_for_and_dispatch_events(timeout)
        _SHARES.tell(self.age, self.nr_conns)

    def handle(self, conn: Any) -> Any:
        """Requests of a connection as long as they come one after another; then as gunicorn does."""
        while True:
            # gunicorn waits for a request's line and headers without a limit.
            with WATCH.limit_of(conn.sock, _SECONDS) as conn.slow_limit:
                kept = super().handle(conn)
            if kept is not True or not self._another(conn):
                return kept

    def handle_request(self, req: Any, conn: Any) -> Any:
        """The headers are here; for the body there is another limit."""
        WATCH.remove(conn.slow_limit)
        return super().handle_request(req, conn)

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
