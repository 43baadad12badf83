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
    """The cell, its settings, the places for requests that wait, who tells callers apart, the places for streams, how many such
    processes there are, what is counted of requests, and the store's metrics."""

    cell: Cell
    settings: Settings
    waiting: WaitingRoom
    access: Access
    streams: Places
    processes: Processes
    requests: RequestCounts
    store_metrics: StoreMetrics
    #: What this process finds wrong, and its announcement.
    watch: Watch
    #: Whether this process can accept a job now.
    accepts: Acceptance


def web() -> Web:
    """Those of the app that serves this request."""
    found: Web = current_app.extensions[EXTENSION]
    return found
