"""How gunicorn's threaded worker takes connections, where there may be no room for one more. Written against gunicorn 27."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import structlog
from gunicorn.workers.gthread import ThreadWorker

from pipeline_jobs.web.server.request_threads import RequestThreads

#: The process or the machine has no file, or no memory, for one more connection.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

logger = structlog.get_logger("pipeline_jobs.web")


class Listening(ThreadWorker):  # type: ignore[misc]
    """Of the main thread. What becomes of a new connection, `_welcome` says, which a worker has."""

    _welcome: Callable[[Any, Any, Any], None]

    def get_thread_pool(self) -> RequestThreads:
        return RequestThreads(max_workers=self.cfg.threads)

    def set_accept_enabled(self, enabled: bool) -> None:
        """A worker that stops takes those that have connected, and then no more: with the listener they would be reset, POSTs that a
        proxy does not send again among them. It may be called once more after that."""
        super().set_accept_enabled(enabled)
        while not self.alive and self.sockets:
            self._take_waiting(self.sockets[-1])
            self.sockets.pop().close()

    def _take_waiting(self, listener: Any) -> None:
        """Those that have connected: the kernel held at most so many. Whoever goes on connecting does not hold up the end."""
        for _ in range(self.cfg.backlog):
            if not self._take(listener):
                return

    def _take(self, listener: Any) -> bool:
        """A new connection, if there is one."""
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            # gunicorn ends the process, with all the connections that it has. Here the new ones wait until `look_for_room`: the listener
            # stays readable, so another try now would be one of thousands.
            logger.warning("no room for another connection", error=str(error), seldom=True)
            self.worker_connections = 0
            return False
        self.nr_conns += 1
        self._welcome(sock, client, listener)
        return True

    def _cap_keepalive(self, deadline: float) -> None:
        """A worker that stops waits no longer for heads that have not come than for the next ones of those that were answered: browsers and
        balancers connect ahead of their requests, and each would hold up the end for as long as a head may take."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            if conn.awaits_head:
                conn.until = min(conn.until or conn.timeout, deadline)

    def look_for_room(self) -> None:
        """Try again, if there was none. Where there are as many connections as there may be, half of those end of which no whole head has
        come, those that have waited for longest first: whoever comes from enough addresses would hold all of them, and nobody else could
        connect."""
        self.worker_connections = self.cfg.worker_connections
        if self.nr_conns >= self.worker_connections:
            silent = [conn for conn in self.pending_conns if conn.awaits_head]
            for conn in silent[: (len(silent) + 1) // 2]:
                self.pending_conns.remove(conn)
                self._end(conn)
            for _ in range((len(self.keepalived_conns) + 1) // 2):
                self._end(self.keepalived_conns.popleft())

    def _end(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
