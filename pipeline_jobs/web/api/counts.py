"""How many jobs it would be, before something is done to many: a count looks at jobs as a list does, and costs its caller as much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.bulk import PAGE, Cancelled, cancel_matching
from pipeline_jobs.jobs.bulk_ended import MOST, STATUSES, BulkAction, BulkDone, pages_of, reaches_beyond
from pipeline_jobs.jobs.listing import BUDGET, JobQuery, tally
from pipeline_jobs.store.pages import Page
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.state import web

#: One count looks at so many jobs, and goes on with its cursor; of jobs that have ended it finds no more than so many.
MOST_LOOKED, MOST_FOUND = 10_000, 1_000
#: What a job that is looked at costs the store, in seconds (a page of mixed filters, `BUDGET`, takes some 3 ms).
LOOKED_SECONDS = 3e-6


def count_live(query: JobQuery) -> Cancelled:
    """The queued and running jobs that match. :raises InvalidInput: the cursor is not one that a call gave."""
    cancelled = stopping = 0
    for _ in range(MOST_LOOKED // PAGE):
        part = cancel_matching(web().cell.store, query, dry_run=True, most=PAGE)
        cost(PAGE * LOOKED_SECONDS)
        cancelled, stopping = cancelled + part.cancelled, stopping + part.stopping
        if part.next_cursor is None:
            break
        query = replace(query, cursor=part.next_cursor)
    return Cancelled(cancelled + stopping, cancelled, stopping, part.next_cursor)


def count_ended(action: BulkAction, query: JobQuery) -> BulkDone:
    """The same of jobs that have ended, of those statuses that the action is for."""
    query = replace(query, statuses=query.statuses or STATUSES[action], limit=MOST)
    client = web().cell.client
    if not reaches_beyond(client, action, query):
        first = tally(web().cell.store, query)
        cost(first.looked_at * LOOKED_SECONDS)
        if not first.more:
            return BulkDone(sum(first.of("status").values()), 0, (), None)
    return _counted_by_pages(pages_of(client, action, query), query)


def _counted_by_pages(pages: Callable[[JobQuery], Page[Job]], query: JobQuery) -> BulkDone:
    matched = 0
    for _ in range(MOST_LOOKED // BUDGET):
        page = pages(query)
        cost(BUDGET * LOOKED_SECONDS)
        matched += len(page.items)
        if page.next_cursor is None or matched >= MOST_FOUND:
            break
        query = replace(query, cursor=page.next_cursor)
    return BulkDone(matched, 0, (), page.next_cursor)
