"""Cancel many jobs by the filters of a list, page by page: no other command is held up for longer than a page takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline_jobs.exceptions import RateLimited
from pipeline_jobs.job import dumps
from pipeline_jobs.jobs.listing import JobQuery, select
from pipeline_jobs.jobs.moved import Moved, Say, quiet
from pipeline_jobs.store.cursors import write_cursor
from pipeline_jobs.store.store import Store

#: Jobs that one script looks at, at most: it holds up the server for some 4 ms, and a request of another tenant waits for several of them,
#: one for each question that it asks the store. Where their ends are much work (webhooks), it looks at fewer.
PAGE = 25
#: Jobs that one call looks at; what is left is reached with its cursor.
MOST = 10_000
AT_WORK = "Another cancellation of many jobs of this tenant is at work: try again later."


def at_work() -> RateLimited:
    return RateLimited(AT_WORK, retry_after=1, limit=1, whose="batch")


@dataclass(frozen=True, slots=True)
class Cancelled:
    "What was done, or would be done."

    #: Live jobs that matched: the sum of the two.
    matched: int
    #: They waited and are cancelled.
    cancelled: int
    #: They run and are being stopped.
    stopping: int
    #: Where to go on; None: all jobs were looked at.
    next_cursor: str | None
    #: Jobs that were looked at, live or not.
    looked_at: int = field(default=0, compare=False)


def cancel_matching(
    store: Store, query: JobQuery, *, dry_run: bool, operator: bool = False, most: int = MOST, say: Say = quiet
) -> Cancelled:
    """Ask for the end of the live jobs that match, newest first. Jobs that come meanwhile are newer than that and are left alone.

    :param dry_run: only count.
    :param operator: asked for by somebody who may cancel every tenant's jobs: no tenant's own cancellations are in the way.
    :param most: about how many jobs to look at, live or not.
    :param say: told of each job that was dispatched before and ended here, where no worker tells of its end.
    :raises InvalidInput: the cursor is not one that a call gave.
    :raises RateLimited: another cancellation of the tenant (or of an operator) is at work, and nothing was done. One that comes between
        two pages is no error: the cursor says where to go on.
    """
    chosen = select(store, query, live=True)
    turn = dumps(query.filters())
    cancelled = stopping = looked = 0
    took: str | None = None
    while True:
        budget = min(PAGE, most - looked)
        reply = store.run(
            "cancel_page", keys=chosen.keys, budget=budget, dry=dry_run, turn=turn, operator=operator, took=took, **chosen.arguments
        )
        if reply.wait and not looked:
            raise at_work()
        if reply.wait:
            return Cancelled(cancelled + stopping, cancelled, stopping, write_cursor(int(chosen.highest[1:])), looked)
        for job_id in reply.heard_of:
            say(Moved(job_id, "cancelled"))
        cancelled, stopping, looked = cancelled + reply.cancelled, stopping + reply.stopping, looked + reply.looked_at
        if not reply.next or looked >= most:
            return Cancelled(cancelled + stopping, cancelled, stopping, write_cursor(int(reply.next)) if reply.next else None, looked)
        chosen, took = replace(chosen, highest=f"({reply.next}"), reply.whose or None
