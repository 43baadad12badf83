"""The feature flags: an endpoint that is off returns 404 and names its flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_jobs.exceptions import QueueDisabled
from pipeline_jobs.web.state import web

if TYPE_CHECKING:
    from pipeline_jobs.history.history import History


def require_queue() -> None:
    """:raises QueueDisabled:"""
    if not web().settings.enable_job_queue:
        raise QueueDisabled("the job queue is off: set ENABLE_PIPELINE_JOB_QUEUE=1 to serve it")


def require_history() -> History:
    """:raises QueueDisabled:"""
    found = web().cell.history
    if found is None:
        raise QueueDisabled("there is no history: set PIPELINE_HISTORY_URL to keep one")
    return found


def require_run_api() -> None:
    """:raises QueueDisabled:"""
    if not web().settings.enable_run_api:
        raise QueueDisabled("POST /pipeline/run is off: set ENABLE_PIPELINE_RUN_API=1 to serve it")


def require_ui() -> None:
    """:raises QueueDisabled:"""
    if not web().settings.ui:
        raise QueueDisabled("the web page is off: set PIPELINE_UI=1 to serve it")
