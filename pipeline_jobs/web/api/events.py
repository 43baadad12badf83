"""`/pipeline/jobs/{id}/events` and `/pipeline/events`: a job's log and a tenant's feed, as a live stream (SSE) or as pages of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.events.log import FEED_START, Event, LogPage, feed_place
from pipeline_jobs.events.tokens import StreamToken, feed_scope, job_scope
from pipeline_jobs.exceptions import InvalidInput, UnknownJob
from pipeline_jobs.job import ANY_ID, rfc3339
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.openapi import answer, responses, stream_answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.streams import EventStream, reader_gone, still_allowed
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas import events as bodies
from pipeline_jobs.web.schemas.events import EventHeaders, EventsRequest, FeedRequest, TokenRequest
from pipeline_jobs.web.schemas.jobs import JobPath
from pipeline_jobs.web.state import web

_SSE = "text/event-stream"

blueprint = APIBlueprint(
    "events", __name__, url_prefix="/pipeline", abp_tags=[{"name": "events", "description": "What happens to jobs, as it happens."}]
)
blueprint.before_request(require_queue)


def log_of(job_id: str, after: int, limit: int) -> LogPage:
    """A page of a job of the caller's. Another's job is an unknown one.

    :raises UnknownJob:
    """
    who = caller()
    if not ANY_ID.fullmatch(job_id) or not who.opens(job_scope(job_id)):
        raise UnknownJob
    page = web().parts.events.page(job_id, after, limit)
    if not who.sees_of(page.tenant_id, page.workspace_id):
        raise UnknownJob
    return page


def number(text: str | None) -> int | None:
    """The number of an event in a `Last-Event-ID` header. :raises Refused: 422"""
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise Refused(422, "invalid_input", "Last-Event-ID must be the number of an event", field="Last-Event-ID")
    return int(text)


@blueprint.get(
    "/jobs/<job_id>/events",
    summary="Follow a job",
    description="With `Accept: text/event-stream` a live stream (SSE): the events after `Last-Event-ID` or `after`, then those that come, "
    "each once and in order; `id` is the event's number, `data` its envelope. It ends after the job's last event; 204 then stops a browser "
    "from coming back. Else a page of the log as JSON.",
    responses=responses(
        {200: stream_answer("The events.", bodies.EventPage), 204: answer("As a stream: the job has ended, and all was told.", None)},
        400, 404, 422, 503,
    ),
)  # fmt: skip
@validated
def history(path: JobPath, query: EventsRequest, header: EventHeaders) -> Response:
    if not wants_stream():
        page = log_of(path.job_id, query.after, query.limit)
        return _page(page.events, page.reached, page.reached < page.last, complete=page.complete)
    known = number(header.last_event_id)
    after = query.after if known is None else known
    page = log_of(path.job_id, after, 1)
    if page.complete and not page.events:
        return Response(status=204)
    here = web()
    place = here.streams.take(page.tenant_id)
    follower = here.parts.events.follow(path.job_id, page.tenant_id, after, reader_gone(request.environ))
    return _stream(EventStream(follower, place, still_allowed()))


@blueprint.get(
    "/events",
    summary="Follow a tenant",
    description="The events of all jobs of the tenant (of the key's workspace, if it has one), in the order in which they happened. As a "
    "stream: those after `Last-Event-ID` or `after`, or only new ones; `id` is the feed's own (`{ms}-{n}`). As JSON: pages from the oldest "
    "that is kept on. About the newest PIPELINE_EVENTS_PER_TENANT are kept; those of a removed job are gone.",
    responses=responses({200: stream_answer("The events.", bodies.FeedPage)}, 400, 404, 422, 503),
)
@validated
def feed(query: FeedRequest, header: EventHeaders) -> Response:
    here = web()
    tenant_id, workspace_id = _whose(query.tenant_id, query.workspace_id)
    if not caller().opens(feed_scope(tenant_id)):
        raise Refused(403, "forbidden", "this token opens another stream")
    if not wants_stream():
        page = here.parts.events.feed(tenant_id, query.after or FEED_START, query.limit, workspace_id)
        return _page(page.events, page.after, page.more)
    after = _last_place(header.last_event_id) or query.after or here.parts.events.feed_end(tenant_id)
    place = here.streams.take(tenant_id)
    follower = here.parts.events.follow_feed(tenant_id, after, workspace_id, reader_gone(request.environ))
    return _stream(EventStream(follower, place, still_allowed(), first_id=after))


@blueprint.post(
    "/events/token",
    summary="Make a token for a stream",
    description="For a browser's EventSource and WebSocket, which cannot send an Authorization header: `?token=...`. It opens this one "
    "stream, for reading, for an hour and as long as the key is good.",
    responses=responses({201: answer("The token.", bodies.StreamToken)}, 400, 404, 413, 415, 422, 503),
)
@validated
def token(body: TokenRequest) -> Response:
    who = caller()
    if body.job_id is None:
        scope = feed_scope(_whose(body.tenant_id)[0])
    elif body.tenant_id is not None:
        raise InvalidInput("tenant_id: a job is named by its job_id alone", field="tenant_id")
    else:
        handle_of(body.job_id).record()
        scope = job_scope(body.job_id)
    text, until = web().parts.stream_tokens.make(StreamToken(who.key_id or "", scope))
    return reply({"token": text, "expires_at": rfc3339(until)}, 201)


def wants_stream() -> bool:
    """The client asks for SSE, and does not like JSON better."""
    accepted = request.accept_mimetypes
    return bool(accepted) and accepted.best_match(("application/json", _SSE)) == _SSE


def _whose(tenant: str | None, workspace: str | None = None) -> tuple[str, str | None]:
    """Whose feed: tenant and workspace. :raises Refused: 403; InvalidInput: it must be named."""
    tenant_id, workspace_id = caller().scope_of(tenant, workspace)
    if tenant_id is None:
        raise InvalidInput("tenant_id: required, since you may see all tenants", field="tenant_id")
    return tenant_id, workspace_id


def _last_place(text: str | None) -> str | None:
    if text is None or text == "":
        return None
    try:
        return feed_place(text)
    except InvalidInput:
        raise Refused(422, "invalid_input", "Last-Event-ID must be an id that the feed gave", field="Last-Event-ID") from None


def _page(events: Sequence[Event], reached: int | str, more: bool, **members: Any) -> Response:
    following = reached if more else None
    return reply(
        {"events": [event.to_dict() for event in events], "count": len(events), "next_after": following, "reached": reached, **members}
    )


def _stream(body: EventStream) -> Response:
    # A proxy that gathers an answer before it passes it on would make live events late ones.
    return Response(body, headers={"X-Accel-Buffering": "no"}, content_type=f"{_SSE}; charset=utf-8")
