"""Celery's log lines look as ours, say whose they are, and those that say every few seconds that beat ticks are worth DEBUG.

`setup_logging` is Celery's signal for whoever configures logging in its place: of a worker's main process, its children, and beat.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from logging.handlers import WatchedFileHandler
from typing import Any

from celery import current_app
from celery._state import get_current_task
from celery.signals import setup_logging
from celery.utils.log import get_multiprocessing_logger

from pipeline_jobs import logs
from pipeline_jobs.tenants import CANARY_SUFFIX
from pipeline_jobs.worker.hints import JOB_TASK

#: Before the name of each task of maintenance.
DUTIES = "pipeline_jobs.maintenance."

#: In what a hint says of its arguments (`hints.KWARGS_REPR`).
_TENANT = re.compile(r"'tenant': '([A-Za-z0-9._-]{1,64})'")


def configure(loglevel: int = logging.INFO, logfile: Any = None, **_: Any) -> None:
    """`setup_logging`. :param logfile: the path of `--logfile`; None: standard error."""
    app = current_app
    handler = logs.take_over(int(loglevel), WatchedFileHandler(logfile, encoding="utf-8") if logfile else None)
    handler.addFilter(_note_task)
    # It does not propagate. What it says below ERROR is of interest to nobody.
    pool = get_multiprocessing_logger()
    pool.handlers = [handler]
    pool.setLevel(logging.ERROR)
    if app.conf.worker_redirect_stdouts:
        app.log.redirect_stdouts(app.conf.worker_redirect_stdouts_level)


def install() -> None:
    """Connect; connecting twice is one connection."""
    setup_logging.connect(configure, dispatch_uid="pipeline-jobs-logging")
    for logger in ("celery.worker.strategy", "celery.app.trace"):
        logs.quiet(logger, lambda record: _repeats(getattr(record, "data", None)))
    logs.quiet("celery.beat", lambda record: isinstance(record.args, tuple) and str(record.args[-1:]).startswith(f"('{DUTIES}"))


def _repeats(task: Any) -> bool:
    """This task is a duty of maintenance or a canary: the one comes every few seconds, the other every minute."""
    return isinstance(task, dict) and (str(task.get("name")).startswith(DUTIES) or str(task.get("id")).endswith(CANARY_SUFFIX))


def _note_task(record: logging.LogRecord) -> bool:
    """Which task a line is about: Celery's own lines say it beside their text, those of a task's code say it here."""
    task = getattr(record, "data", None)
    if not isinstance(task, dict) and (current := get_current_task()) is not None:
        task = {"id": current.request.id, "name": current.name}
    if isinstance(task, dict) and isinstance(task.get("id"), str):
        vars(record)["about"] = _about(task)
    return True


def _about(task: Mapping[str, Any]) -> dict[str, Any]:
    if task.get("name") != JOB_TASK:
        return {"task_id": task["id"], "task": task.get("name")}
    found = _TENANT.search(str(task.get("kwargs")))
    return {"job_id": task["id"], **({"tenant": found[1]} if found else {})}
