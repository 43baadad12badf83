"""gunicorn's threaded worker, whose threads wait a moment for the next request of a kept connection, and for no client: the main thread
gathers the heads of requests (`web/server/connection.py`), and an address never holds all threads. The processes share the connections
(`web/server/balance.py`).

The stock worker gives a connection back to its main thread after each answer: the poller is told, wakes up, and wakes a thread of the pool
again. Measured, that was more than half of the process's time at full load (docs/benchmarks.md). Here a thread that nobody else waits for
stays with its connection for `STAY_SECONDS`. Written against gunicorn 27: look again at every bump.
"""

from __future__ import annotations

import errno
import select
import selectors
import socket
import time
from collections import Counter, defaultdict, deque
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from pipeline_jobs.settings import load_settings
from pipeline_jobs.web.problems import bare_problem
from pipeline_jobs.web.server.balance import HESITATION_SECONDS, Shares
from pipeline_jobs.web.server.connection import Connection, Head

#: How long a thread waits for the next request of its connection, in seconds, and how often it looks whether another needs a thread.
STAY_SECONDS, LOOK_SECONDS = 0.1, 0.01


#: How often clients are looked for whose time is over, how long one may take to close its end, in seconds, and what it may send meanwhile.
LOOK_FOR_LATE_SECONDS, LINGER_SECONDS, LINGER_BYTES = 0.5, 2.0, 65_536

_settings = load_settings()
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
    """`worker_class`. Of the methods, `handle`, `handle_request` and `_another` run in the pool's threads, all others in the main one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Of an address: its connections, those of them that have a thread, and those that wait for one.
        self._held: Counter[str] = Counter()
        self._served: Counter[str] = Counter()
        self._parked: defaultdict[str, deque[Connection]] = defaultdict(deque)
        self._next_look = 0.0
        # Behind a proxy all clients have one address: there the proxy counts them.
        trusted = _settings.trusted_proxies > 0
        self._most_held = self.worker_connections if trusted else _settings.http_connections_per_address
        self._most_served = self.cfg.threads if trusted else max(1, self.cfg.threads * 7 // 8)

    def accept(self, listener: Any) -> None:
        """Take a new connection, unless another process that has fewer takes it now."""
        if _SHARES.has_more(self.age, self.nr_conns):
            time.sleep(HESITATION_SECONDS)
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        _SHARES.tell(self.age, self.nr_conns)
        conn = Connection(self.cfg, sock, client, listener.getsockname(), self._closing)
        self._held[conn.group] += 1
        if self._held[conn.group] > self._most_held:
            self._refuse(conn, 429, "Too Many Requests")
            return
        if not self.cfg.is_ssl:
            conn.init()
        self.enqueue_req(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """A thread for a connection whose request has come, as far as its address may have one. Others wait without."""
        head = conn.gather() if conn.is_plain else Head.COMPLETE
        if head is Head.GONE:
            self._drop(conn)
        elif head is Head.PARTIAL:
            self._await_head(conn)
        elif conn.is_plain and (status := conn.oversized()):
            self._refuse(conn, status, "Request Header Fields Too Large" if status == 431 else "URI Too Long")
        elif self._served[conn.group] >= self._most_served:
            self._parked[conn.group].append(conn)
        else:
            conn.until = 0.0
            self._served[conn.group] += 1
            super().enqueue_req(conn)

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """A thread is free again: for another of this address, if one waits."""
        self._served[conn.group] -= 1
        if parked := self._parked.get(conn.group):
            self.enqueue_req(parked.popleft())
        elif not self._served[conn.group]:
            del self._served[conn.group]
            self._parked.pop(conn.group, None)
        super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """End connections whose client is late, with its head or with closing its end."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_FOR_LATE_SECONDS
        for conn in [conn for conn in self.pending_conns if (conn.until or conn.timeout) <= now]:
            self.poller.unregister(conn.sock)
            self.pending_conns.remove(conn)
            if conn.is_left:
                conn.end()
            elif conn.is_plain and conn.parser.unreader.buf.getvalue():
                self._refuse(conn, 408, "Request Timeout")
            else:
                self._drop(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Each turn of the main thread, once a second at least."""
        super().wait_for_and_dispatch_events(min(timeout, LOOK_FOR_LATE_SECONDS) if self.pending_conns else timeout)
        _SHARES.tell(self.age, self.nr_conns)

    def handle(self, conn: Connection) -> Any:
        """Requests of a connection as long as they come one after another; then as gunicorn does."""
        while True:
            kept = super().handle(conn)
            if kept is not True or not conn.is_plain:
                return kept
            if (head := self._another(conn)) is not Head.COMPLETE or conn.oversized():
                return head is not Head.GONE

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """A budget for each answer."""
        conn.sock.begin()
        return super().handle_request(req, conn)

    def _another(self, conn: Connection) -> Head:
        """The connection's next request is there, or a thread that stays with it would be missed."""
        if (head := conn.head()) is Head.COMPLETE:
            return head
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        for _ in range(round(STAY_SECONDS / LOOK_SECONDS)):
            # A connection without a thread goes first.
            if not self.alive or self.tpool._work_queue.qsize() or self._parked.get(conn.group):
                return Head.PARTIAL
            if poll.poll(LOOK_SECONDS * 1000):
                return conn.gather()
        return Head.PARTIAL

    def _await_head(self, conn: Connection) -> None:
        conn.until = conn.until or time.monotonic() + _settings.request_seconds
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _refuse(self, conn: Connection, status: int, reason: str) -> None:
        try:
            conn.sock.send_now(bare_problem(status, reason))
        except OSError:
            pass  # the client has left
        self.nr_conns -= 1
        conn.close(graceful=True)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _closing(self, conn: Connection, graceful: bool) -> bool:
        """A client is given time to read its answer to the end and to close (RFC 9112, section 9.6), without the main thread's waiting."""
        if graceful and conn.shut():
            conn.until = time.monotonic() + LINGER_SECONDS
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
            return True
        self._held[conn.group] -= 1
        if not self._held[conn.group]:
            del self._held[conn.group]
        return False

    def _drain(self, conn: Connection, sock: Any) -> None:
        if not conn.drain(LINGER_BYTES):
            self.poller.unregister(sock)
            self.pending_conns.remove(conn)
            conn.end()
