"""`/pipeline/jobs/{id}/events` and `/pipeline/events`: a job's log and a tenant's feed, as a live stream (SSE) or as pages of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, request

from pipeline_jobs.events import log
from pipeline_jobs.events.log import FEED_START, Event, LogPage, feed_place
from pipeline_jobs.events.tokens import StreamToken, feed_scope, job_scope
from pipeline_jobs.exceptions import InvalidInput, UnknownJob
from pipeline_jobs.job import ANY_ID, rfc3339
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.openapi import answer, stream_answer
from pipeline_jobs.web.http.replies import prefers, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.streams import EventStream, reader_gone, still_allowed
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas import events as bodies
from pipeline_jobs.web.schemas.events import EventHeaders, EventsRequest, FeedRequest, TokenRequest
from pipeline_jobs.web.schemas.jobs import JobPath
from pipeline_jobs.web.state import web

SSE = "text/event-stream"

routes = Routes("events", "/pipeline", "Live events of jobs.")


def log_of(job_id: str, after: int, limit: int) -> LogPage:
    """A page of a job of the caller's. Another's job is an unknown one.

    :raises UnknownJob:
    """
    who = caller()
    if not ANY_ID.fullmatch(job_id) or not who.opens(job_scope(job_id)):
        raise UnknownJob
    who.look(web().cell.store, "job", job_id, UnknownJob)
    return who.own(log.read(web().cell.store, job_id, after, limit), UnknownJob)


def number(text: str | None) -> int | None:
    """The number of an event in a `Last-Event-ID` header. :raises Refused: 422"""
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise Refused(422, "invalid_input", "Last-Event-ID must be the number of an event", field="Last-Event-ID")
    return int(text)


@routes.get(
    "/jobs/<job_id>/events",
    "Follow a job",
    "With `Accept: text/event-stream` the answer is a live stream (SSE): the events after `Last-Event-ID` or `after`, then "
    "new events, each once and in order. `id` is the event's number, `data` its envelope. The stream ends after the job's "
    "last event; a browser that reconnects gets 204, which stops it. Otherwise the answer is a page of the log as JSON.",
    {200: stream_answer("The events.", bodies.EventPage), 204: answer("For a stream: the job has ended.", None)},
)
def history(path: JobPath, query: EventsRequest, header: EventHeaders) -> Response:
    if not prefers(SSE):
        page = log_of(path.job_id, query.after, query.limit)
        return event_page(page.events, page.reached, page.reached < page.last, complete=page.complete)
    known = number(header.last_event_id)
    after = query.after if known is None else known
    page = log_of(path.job_id, after, 1)
    if page.complete and not page.events:
        return Response(status=204)
    here = web()
    place = here.streams.take(page.tenant_id)
    follower = here.cell.events.follow(path.job_id, page.tenant_id, after, reader_gone(request.environ))
    return stream(EventStream(follower, place, still_allowed()))


@routes.get(
    "/events",
    "Follow a tenant",
    "The events of all jobs of the tenant (of the key's workspace, if it has one), in the order in which they happened. A "
    "stream has the events after `Last-Event-ID` or `after`, or only new events; `id` is the feed's own (`{ms}-{n}`). JSON "
    "pages start with the oldest event that is kept. About the newest PIPELINE_EVENTS_PER_TENANT events are kept; the "
    "events of a deleted job are deleted.",
    {200: stream_answer("The events.", bodies.FeedPage)},
)
def feed(query: FeedRequest, header: EventHeaders) -> Response:
    here = web()
    tenant_id, workspace_id = _whose(query.tenant_id, query.workspace_id)
    if not caller().opens(feed_scope(tenant_id)):
        raise Refused(403, "forbidden", "this token is for another stream")
    if not prefers(SSE):
        page = log.feed(here.cell.store, tenant_id, query.after or FEED_START, query.limit, workspace_id)
        return event_page(page.events, page.after, page.more)
    after = last_place(header.last_event_id) or query.after or log.feed_end(here.cell.store, tenant_id)
    place = here.streams.take(tenant_id)
    follower = here.cell.events.follow_feed(tenant_id, after, workspace_id, reader_gone(request.environ))
    return stream(EventStream(follower, place, still_allowed(), first_id=after))


@routes.post(
    "/events/token",
    "Create a token for a stream",
    "For a browser's EventSource and WebSocket, which cannot send an Authorization header: `?token=...`. It opens only this "
    "stream, for reading, for an hour and as long as the key is valid.",
    {201: answer("The token.", bodies.StreamToken)},
)
def token(body: TokenRequest) -> Response:
    who = caller()
    if body.job_id is None:
        scope = feed_scope(_whose(body.tenant_id)[0])
    elif body.tenant_id is not None:
        raise InvalidInput("tenant_id: not permitted together with job_id", field="tenant_id")
    else:
        handle_of(body.job_id).record()
        scope = job_scope(body.job_id)
    text, until = web().cell.stream_tokens.make(StreamToken(who.key_id or "", scope))
    return reply({"token": text, "expires_at": rfc3339(until)}, 201)


def _whose(tenant: str | None, workspace: str | None = None) -> tuple[str, str | None]:
    """Whose feed: tenant and workspace. :raises Refused: 403; InvalidInput: it must be named."""
    tenant_id, workspace_id = caller().narrowed(tenant, workspace)
    if tenant_id is None:
        raise InvalidInput("tenant_id: required, because you have access to all tenants", field="tenant_id")
    return tenant_id, workspace_id


def last_place(text: str | None) -> str | None:
    """The place of a feed in a `Last-Event-ID` header. :raises Refused: 422"""
    if text is None or text == "":
        return None
    try:
        return feed_place(text)
    except InvalidInput:
        raise Refused(422, "invalid_input", "Last-Event-ID must be an id from the feed", field="Last-Event-ID") from None


def event_page(events: Sequence[Event], reached: int | str, more: bool, **members: Any) -> Response:
    """A page of events as JSON."""
    following = reached if more else None
    return reply(
        {"events": [event.to_dict() for event in events], "count": len(events), "next_after": following, "reached": reached, **members}
    )


def stream(body: EventStream) -> Response:
    """The answer that a stream is."""
    # A proxy that gathers an answer before it passes it on would make live events late ones.
    return Response(body, headers={"X-Accel-Buffering": "no"}, content_type=f"{SSE}; charset=utf-8")
