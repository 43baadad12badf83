"""Retry or delete many jobs that have ended, by the filters of a list, some a call; a deletion reaches the history, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import InvalidInput, RequestError, StoreFull, StoreUnavailable, TryLater, UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.cursors import write_cursor
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.rates import Sender

#: Jobs of one call: each takes a script or two. A call that only counts finds more, in so many pages of a list at most: where few match,
#: each of them looks at a thousand jobs.
MOST, MOST_COUNTED, PAGES = 100, 1_000, 10


class BulkAction(StrEnum):
    """What is done to each job."""

    RETRY = "retry"
    DELETE = "delete"

    @property
    def past(self) -> str:
        """`retried`, `deleted`: of the audit log, and for people."""
        return "retried" if self is BulkAction.RETRY else "deleted"


#: Which jobs an action is for, if the filters name no status.
STATUSES = {
    BulkAction.RETRY: (JobStatus.FAILED,),
    BulkAction.DELETE: (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED),
}


@dataclass(frozen=True, slots=True)
class NotDone:
    """A job that was left as it was."""

    job_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class BulkDone:
    """What was done, or would be done."""

    #: Jobs that were found: the sum of the next two, unless it was only counted.
    matched: int
    done: int
    not_done: tuple[NotDone, ...]
    #: Where to go on; None: these were all.
    next_cursor: str | None


def each_ended(
    client: Client, action: BulkAction, query: JobQuery, *, dry_run: bool, sender: Sender | None = None, actor: str | None = None
) -> BulkDone:
    """Do it to the ended jobs that match, newest first. A deletion is of those, too, that only the history has, unless a text is asked for.

    A retry is made once: sent again, also within another call, it finds the job that it made (for as long as an Idempotency-Key holds).

    :param dry_run: only count, up to so many; the cursor says that there may be more.
    :param sender: whose retries they are. :param actor: for the audit log.
    :raises InvalidInput: a status of the filters is of jobs that have not ended; or the cursor is not one that a call gave.
    :raises TryLater: the tenant may not have one more job now, and none was made; `StoreUnavailable`: nothing was done. After the first job
        neither is an error: the cursor says where to go on. Where the jobs are of all tenants, one that may have no more jobs is passed
        over, and its jobs are among those that were not done.
    """
    statuses = query.statuses or STATUSES[action]
    if not set(statuses) <= set(STATUSES[BulkAction.DELETE]):
        raise InvalidInput("status must be of jobs that have ended: completed, failed, cancelled", field="filter.status")
    query = replace(query, statuses=statuses, limit=MOST)
    if dry_run:
        return _counted(client, action, query)
    done = _done(pages_of(client, action, query), query, _retry(client, sender) if action is BulkAction.RETRY else _delete(client))
    if done.done:
        whose = query.tenant_id or audit.INSTALLATION
        row = {"done": done.done, **query.filters()}
        audit.record(client.store, actor, f"jobs.{action.past}", whose, row, tenant_id=whose)
    return done


def reaches_beyond(client: Client, action: BulkAction, query: JobQuery) -> bool:
    """The action is for jobs, too, whose records are gone. In those no text is looked for."""
    return client.beyond is not None and action is BulkAction.DELETE and query.q is None


def pages_of(client: Client, action: BulkAction, query: JobQuery) -> Callable[[JobQuery], Page[Job]]:
    """Gives pages of the jobs that the action is for."""
    return client.beyond.page if client.beyond and reaches_beyond(client, action, query) else client.list


def _counted(client: Client, action: BulkAction, query: JobQuery) -> BulkDone:
    matched, pages = 0, pages_of(client, action, query)
    for _ in range(PAGES):
        page = pages(query)
        matched += len(page.items)
        if page.next_cursor is None or matched >= MOST_COUNTED:
            break
        query = replace(query, cursor=page.next_cursor)
    return BulkDone(matched, 0, (), page.next_cursor)


def _done(pages: Callable[[JobQuery], Page[Job]], query: JobQuery, act: Callable[[Job], None]) -> BulkDone:
    page, done = pages(query), 0
    not_done: list[NotDone] = []
    for n, job in enumerate(page.items):
        try:
            act(job)
            done += 1
        except (RequestError, TryLater, StoreUnavailable) as error:
            if isinstance(error, RequestError) or (query.tenant_id is None and _is_of_its_tenant(error)):
                not_done.append(NotDone(job.job_id, error.code, error.message))
            elif n == 0:
                raise
            else:
                return BulkDone(n, done, tuple(not_done), write_cursor(page.items[n - 1].order))
    return BulkDone(len(page.items), done, tuple(not_done), page.next_cursor)


def _is_of_its_tenant(error: TryLater | StoreUnavailable) -> bool:
    """A limit of the job's tenant: the jobs of others may be retried all the same. Other limits are of the sender, or of the cell."""
    return isinstance(error, TryLater) and not isinstance(error, StoreFull) and getattr(error, "whose", "tenant") == "tenant"


def _retry(client: Client, sender: Sender | None) -> Callable[[Job], None]:
    def act(job: Job) -> None:
        client.retry(job, idempotency_key=f"bulk retry of {job.job_id}", sender=sender)

    return act


def _delete(client: Client) -> Callable[[Job], None]:
    def act(job: Job) -> None:
        try:
            client.delete(job.job_id, job.order)
        except UnknownJob:
            # Another call did, or only the history has it.
            if client.beyond:
                client.beyond.delete_all([job])

    return act
