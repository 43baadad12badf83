"""The access line: one for each request, when its answer has been sent. It has the route's rule and no address as it was sent: that
may have anything in its path, and a token in its query."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask

from pipeline_jobs import logs
from pipeline_jobs.job import ANY_ID, Job
from pipeline_jobs.web.access.caller import caller_in
from pipeline_jobs.web.asked import asked

#: The standard library's: structlog's own logger in front of it makes a line dearer by half.
logger = logging.getLogger("pipeline_jobs.access")

_JOB, _ROUTE = "access_line.job", "access_line.route"
#: Asked every few seconds by probes and scrapers: their good answers are worth DEBUG.
_PROBES = ("/health", "/metrics")


def install(app: Flask) -> None:
    """Note the route of every request, before anything refuses it: when its answer has been sent, Flask has forgotten it."""
    app.before_request(_note_route)


def _note_route() -> None:
    request = asked()
    request.environ[_ROUTE] = request.url_rule.rule if request.url_rule else None, request.view_args or {}


def rule_of(environ: Mapping[str, Any]) -> str | None:
    """The rule of a request's route; None: it has none."""
    rule: str | None = environ.get(_ROUTE, (None, {}))[0]
    return rule


def note_job(job: Job) -> None:
    """The request that is being answered made this job: its line says so."""
    asked().environ[_JOB] = job


def say_answered(environ: Mapping[str, Any], status: str, sent: int, seconds: float) -> None:
    """Write the line. Its request id is bound to the thread, as is the id of its key.

    :param status: as it was sent, `201 CREATED`. :param sent: bytes of the body.
    """
    rule, ids = environ.get(_ROUTE, (None, {}))
    code = int(status[:3])
    level = logging.DEBUG if code < 400 and rule and rule.startswith(_PROBES) else logging.INFO
    if not logger.isEnabledFor(level):
        return
    about = {"method": environ.get("REQUEST_METHOD"), "rule": rule, "status": code, "ms": round(seconds * 1000, 1), "bytes": sent}
    for name, value in _about(environ, ids).items():
        if value is not None:
            about[name] = value
    logs.say(logger, level, "request", about)


def _about(environ: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, str | None]:
    """The tenant and the job of a request, as far as it has them."""
    who, job = caller_in(environ), environ.get(_JOB)
    if job is not None:
        return {"tenant": job.tenant_id, "job_id": job.job_id}
    named = ids.get("job_id")
    # It may be refused for what its id looks like.
    return {"tenant": who.tenant_id if who else None, "job_id": named if named and ANY_ID.fullmatch(named) else None}
