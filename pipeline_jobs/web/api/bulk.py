"""`POST /pipeline/jobs/bulk`: cancel, retry or delete all jobs that match a filter."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response

from pipeline_jobs.jobs.bulk_ended import BulkAction, BulkDone, each_ended
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.batches import CANCELLED_SECONDS, MADE_SECONDS
from pipeline_jobs.web.api.counts import LOOKED_SECONDS, count_ended, count_live
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.schemas.bulk import Action, Bulk, BulkRequest
from pipeline_jobs.web.state import web

routes = Routes("bulk", "/pipeline/jobs", tag="jobs")


@routes.post(
    "/bulk",
    "Cancel, retry or delete jobs by filter",
    "Does it to the jobs that match the filters of `GET /pipeline/jobs`, newest first. A request retries or deletes up to 100 jobs, and "
    "looks at about 10,000 to cancel or to count; `next_cursor` says where to continue. Start with `dry_run`. A job is retried once, "
    "however often the request is sent. A deletion reaches the history, too.",
    {200: answer("What was done, or would be done.", Bulk)},
    errors=(429,),
)
def bulk(body: BulkRequest) -> Response:
    done = one_call(body)
    return reply({"action": body.action, "dry_run": body.dry_run, **asdict(done), "next_cursor": seal(done.next_cursor)})


def one_call(body: BulkRequest) -> BulkDone:
    """What one request does for its caller, whose time it costs."""
    query = caller().query(body.to_query())
    if body.dry_run:
        return _counted(body.action, query)
    done = _done(body.action, query)
    cost(done.matched * (CANCELLED_SECONDS + MADE_SECONDS))
    return done


def _counted(action: Action, query: JobQuery) -> BulkDone:
    if action != "cancel":
        return count_ended(BulkAction(action), query)
    live = count_live(query)
    return BulkDone(live.matched, 0, (), live.next_cursor)


def _done(action: Action, query: JobQuery) -> BulkDone:
    who, cell = caller(), web().cell
    if action != "cancel":
        return each_ended(cell.client, BulkAction(action), query, dry_run=False, sender=who.sender("retry"), actor=who.actor)
    cancelled = cell.batches.cancel_matching(query, dry_run=False, operator=who.sees_all, actor=who.actor)
    cost(cancelled.looked_at * LOOKED_SECONDS)
    return BulkDone(cancelled.matched, cancelled.matched, (), cancelled.next_cursor)
