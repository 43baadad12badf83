"""The task events of the jobs that a child runs: it sends all of them itself, so that they come in their order, each once."""

from __future__ import annotations

import os

from celery import Celery

from pipeline_jobs.worker.gathered_events import GatheredEvents
from pipeline_jobs.worker.seats import Seats


class ChildEvents(GatheredEvents):
    """The events of one child, sent in the name of its worker and with the worker's pid, as the worker's own are."""

    def __init__(self, app: Celery, hostname: str, seats: Seats) -> None:
        super().__init__(app, hostname, os.getppid())
        self._seats = seats

    def clock(self, mine: int) -> int:
        return self._seats.clock(mine)
