"""`GET /pipeline/jobs/{id}/logs`: what the stages of a job said, as a page of JSON, as lines of JSON, or as a live stream (SSE)."""

from __future__ import annotations

from flask import Response, request

from pipeline_jobs.events.job_log import JobLog, read_one
from pipeline_jobs.events.tokens import job_scope
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.jobs import job_logs
from pipeline_jobs.runlog.lines import LEVELS, wanted
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.events import SSE, number, stream
from pipeline_jobs.web.api.jobs import known_id
from pipeline_jobs.web.http.openapi import answer, stream_answer
from pipeline_jobs.web.http.replies import Reply, prefers, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.streams import EventStream, reader_gone, still_allowed
from pipeline_jobs.web.schemas import job_logs as bodies
from pipeline_jobs.web.schemas.events import EventHeaders
from pipeline_jobs.web.schemas.job_logs import LogsRequest
from pipeline_jobs.web.schemas.jobs import JobPath
from pipeline_jobs.web.state import web

JSON_LINES = "application/x-ndjson"

routes = Routes("job_logs", "/pipeline/jobs", "What the stages of jobs logged and printed.", tag="jobs")


@routes.get(
    "/<job_id>/logs",
    "Read a job's log",
    "What its stages logged and printed, in all its attempts, oldest first: bounded, with secrets masked. Where lines were dropped, one "
    "says how many. With `Accept: application/x-ndjson` the answer is one line of JSON for each line; with `Accept: text/event-stream` it "
    "is a live stream (SSE) of them, from `Last-Event-ID` or `after` on, of what the store still has. It ends after the last line of an "
    "ended job; a browser that reconnects gets 204, which stops it.",
    {
        200: stream_answer("The lines.", bodies.LogLines),
        204: answer("For a stream: the job has ended, and there is nothing after this line.", None),
    },
)
def logs(path: JobPath, query: LogsRequest, header: EventHeaders) -> Response:
    level = LEVELS[query.level] if query.level else 0
    if prefers(SSE):
        return _follow(path.job_id, query, number(header.last_event_id), level)
    found = job_logs.page(_log_of(path.job_id, query.after), web().cell.artifacts, query.limit, query.attempt, level)
    if prefers(JSON_LINES):
        return Reply("".join(f"{line.json}\n" for line in found.lines).encode(), content_type=JSON_LINES)
    lines = [line.to_dict() for line in found.lines]
    return reply(
        {"lines": lines, "count": len(lines), "next_after": found.next_after, "reached": found.reached, "complete": found.complete}
    )


def _log_of(job_id: str, after: int) -> JobLog:
    """Of a job of the caller's. Another's job is an unknown one.

    :raises UnknownJob:
    """
    who, store = caller(), web().cell.store
    if not who.opens(job_scope(known_id(job_id))):
        raise UnknownJob
    who.look(store, "job", job_id, UnknownJob)
    return who.own(read_one(store, job_id, after), UnknownJob)


def _follow(job_id: str, query: LogsRequest, known: int | None, level: int) -> Response:
    after = query.after if known is None else known
    log = _log_of(job_id, after)
    if log.ended and log.last <= after:
        return Response(status=204)
    here = web()
    place = here.streams.take(log.tenant_id)
    follower = here.cell.events.follow_log(
        job_id, log.tenant_id, after, reader_gone(request.environ), lambda line: any(wanted([line], query.attempt, level))
    )
    return stream(EventStream(follower, place, still_allowed()))
