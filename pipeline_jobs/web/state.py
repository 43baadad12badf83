"""What the views reach through the app they run in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

from pipeline_jobs.cell import Cell
from pipeline_jobs.operation.health import Acceptance
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.operation.watch import Watch
from pipeline_jobs.settings import Settings
from pipeline_jobs.web.http.places import Places
from pipeline_jobs.web.http.request_counts import RequestCounts
from pipeline_jobs.web.http.waiting import WaitingRoom
from pipeline_jobs.web.processes import Processes

if TYPE_CHECKING:
    from pipeline_jobs.web.access.auth import Access

EXTENSION = "pipeline_jobs"


@dataclass(frozen=True, slots=True)
class Web:
    """What a process of the API is made of."""

    cell: Cell
    settings: Settings
    #: Places for requests that wait for a job.
    waiting: WaitingRoom
    #: Tells callers apart.
    access: Access
    #: Places for event streams.
    streams: Places
    #: How many processes of the API there are: each has its part of what is limited over all of them.
    processes: Processes
    #: What is counted of requests.
    requests: RequestCounts
    store_metrics: StoreMetrics
    #: What this process finds wrong, and its announcement.
    watch: Watch
    #: Whether this process can accept a job now.
    accepts: Acceptance


def web() -> Web:
    """The parts of the app that serves this request."""
    found: Web = current_app._get_current_object().extensions[EXTENSION]  # type: ignore[attr-defined]
    return found
