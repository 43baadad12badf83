"""`/pipeline/analytics`: evaluations of the history, and its export."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from flask import Response

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.history.queries import MAX_DAYS, MAX_EXPORT, MAX_LINES, Busy, Range, TooMany
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_history
from pipeline_jobs.web.http.openapi import answer, file_answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.history import Analytics, RangeRequest

DAY_MS = 86_400_000
DEFAULT_DAYS = 7

routes = Routes("history", "/pipeline/analytics", "Ended jobs, evaluated.")


def _range(query: RangeRequest) -> Range:
    """:raises Refused: 403. :raises InvalidInput: it is no range, or too long a one."""
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    until = query.ended_before if query.ended_before is not None else int(time.time() * 1000) + 1
    since = query.ended_after if query.ended_after is not None else max(0, until - DEFAULT_DAYS * DAY_MS)
    if not 0 <= until - since <= MAX_DAYS * DAY_MS:
        raise InvalidInput(f"ended_after must be before ended_before, by at most {MAX_DAYS} days", field="ended_after")
    return Range(since, until, tenant_id, workspace_id, query.pipeline)


@contextmanager
def _bounded(most: int, what: str) -> Iterator[Callable[[], None]]:
    """One at a time a tenant. :raises Refused: 422, there would be too much of it; 429, another one is going on."""
    try:
        with require_history().turn(caller().whose) as go_on:
            yield go_on
    except TooMany:
        raise Refused(422, "invalid_input", f"ended_after: more than {most} {what}; ask for less", field="ended_after") from None
    except Busy:
        raise Refused(429, "busy", "the history is being evaluated for this tenant: one at a time", headers={"Retry-After": "1"}) from None


@routes.get(
    "",
    "Evaluate ended jobs",
    "Counts, durations, waits, slot-seconds and failures by day (UTC), tenant and pipeline, of the jobs of the history. A job is there "
    f"some seconds after its end. At most {MAX_DAYS} days and {MAX_LINES:,} lines.",
    {200: answer("The lines.", Analytics)},
    errors=(429,),
)
def analytics(query: RangeRequest) -> Response:
    asked = _range(query)
    with _bounded(MAX_LINES, "lines"):
        found = require_history().lines(asked)
    return reply({"lines": [line.to_dict() for line in found], "count": len(found)})


@routes.get(
    "/export",
    "Export ended jobs",
    f"A line of CSV for each job of the history, in the order in which they ended; at most {MAX_EXPORT:,}. A text with which a spreadsheet "
    "would reckon begins with an apostrophe.",
    {200: file_answer("The jobs.", media_type="text/csv", binary=False)},
    errors=(429,),
)
def export(query: RangeRequest) -> Response:
    asked = _range(query)
    with ExitStack() as held:
        go_on = held.enter_context(_bounded(MAX_EXPORT, "jobs"))
        text = require_history().export(asked)
        turn = held.pop_all()
    # A database that goes away meanwhile cuts the answer off: its length is in no header, its last chunk never comes.
    headers = {"Content-Disposition": 'attachment; filename="jobs.csv"', "Cache-Control": "private, no-cache"}
    response = Response(_sent(text, turn, go_on), headers=headers, content_type="text/csv; charset=utf-8")
    # One that is never begun to be sent gives its turn back, too.
    response.call_on_close(turn.close)
    return response


def _sent(text: Iterator[str], turn: ExitStack, go_on: Callable[[], None]) -> Iterator[str]:
    """It is read as it is sent, and has its turn until then."""
    with turn:
        for part in text:
            yield part
            go_on()
