"""The threads that answer requests, where the machine may give no more of them than there are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import structlog

logger = structlog.get_logger("pipeline_jobs.web")


class RequestThreads(ThreadPoolExecutor):
    """A request for which no thread can be started waits for one of those that there are.

    The pool raises it at the main thread, which would end the process with the connections of all; and it has queued the request before, so
    whoever refused that would have it answered twice.
    """

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads:
                raise
            logger.warning("no thread for another request", error=str(error), seldom=True)
