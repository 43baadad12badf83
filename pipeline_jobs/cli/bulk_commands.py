"""`jobs retry` and `jobs delete`: one job, or all that match filters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import ask, dry_run_option, json_option, note, print_json, say, user, with_cell, yes_option
from pipeline_jobs.cli.job_commands import check_one_or_many, filters
from pipeline_jobs.exceptions import StoreUnavailable, TryLater, UnknownJob
from pipeline_jobs.jobs.bulk_ended import STATUSES, BulkAction, NotDone, each_ended
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.runlog.lines import harmless
from pipeline_jobs.tenants import Whose

#: What is said of a count that has ended before all jobs were looked at.
_MORE = "There may be more: a count ends after some thousand jobs. With narrower filters it reaches all."


def of_many(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command for one job or for many."""
    command = yes_option()(json_option("Print what was done as JSON.")(command))
    command = dry_run_option()(command)
    return filters(STATUSES[BulkAction.DELETE])(click.argument("job_id", required=False)(command))


@click.command("retry")
@of_many
@click.option("--from-stage", metavar="STAGE", help="Run this stage and all later ones. Default: the stages that have not succeeded.")
@with_cell
def retry_job(cell: Cell, job_id: str | None, query: JobQuery, dry_run: bool, yes: bool, as_json: bool, from_stage: str | None) -> None:
    """Retry a job that has ended, and print the id of the new job; or all jobs that match the filters (by default those that failed)."""
    check_one_or_many(job_id, query)
    if job_id is None:
        if from_stage:
            raise click.UsageError("--from-stage is for one job")
        _each(cell, BulkAction.RETRY, query, dry_run, yes, as_json)
        return
    if dry_run:
        found = cell.client.get(job_id)
        say(as_json, {"retry_of": found.job_id, "dry_run": True}, f"{found.job_id} would be retried.")
        return
    made = cell.client.retry(job_id, from_stage=from_stage).job
    # First the id: without it, whoever cannot write the row would retry once more.
    say(as_json, made.to_dict(cell.artifacts.link), made.job_id)
    note(cell, "job.retried", job_id, tenant_id=made.tenant_id, job_id=made.job_id)


@click.command("delete")
@of_many
@with_cell
def delete_jobs(cell: Cell, job_id: str | None, query: JobQuery, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete a job that has ended, with its files; or all ended jobs that match the filters. Of both also what only the history has."""
    check_one_or_many(job_id, query)
    if job_id is None:
        _each(cell, BulkAction.DELETE, query, dry_run, yes, as_json)
        return
    tenant_id, delete = _one(cell, job_id)
    if not dry_run:
        delete()
        note(cell, "job.deleted", job_id, tenant_id=tenant_id)
    say(as_json, {"job_id": job_id, "deleted": not dry_run, "dry_run": dry_run}, f"{job_id} {'would be' if dry_run else 'is'} deleted.")


def _one(cell: Cell, job_id: str) -> tuple[str, Callable[[], None]]:
    """Whose a job is, and what deletes it. :raises UnknownJob: there is nothing of it, in the history neither."""
    try:
        job = cell.client.get(job_id)
    except UnknownJob:
        tenant_id = cell.gone_jobs.tenant_of(job_id)
        return tenant_id, lambda: cell.gone_jobs.delete(job_id, Whose(tenant_id))
    return job.tenant_id, lambda: cell.client.delete(job_id, job.order)


def _each(cell: Cell, action: BulkAction, query: JobQuery, dry_run: bool, yes: bool, as_json: bool) -> None:
    if dry_run or not yes:
        found = each_ended(cell.client, action, query, dry_run=True)
        at_least, more = ("At least ", f" {_MORE}") if found.next_cursor else ("", "")
        if dry_run:
            shown = {"matched": found.matched, "more": bool(more), "dry_run": True}
            say(as_json, shown, f"{at_least}{found.matched} matched and would be {action.past}.{more}")
            return
        ask(f"{at_least}{found.matched} jobs will be {action.past}.{more}", yes)
    _do(cell, action, query, as_json)


def _do(cell: Cell, action: BulkAction, query: JobQuery, as_json: bool) -> None:
    matched, done, not_done = _all(cell, action, query)
    if as_json:
        left = [{"job_id": one.job_id, "message": one.message} for one in not_done]
        print_json({"matched": matched, action.past: done, "not_done": left, "dry_run": False})
    else:
        click.echo(f"{matched} matched: {done} {action.past}, {len(not_done)} not.")
        for one in not_done:
            click.echo(harmless(f"{one.job_id}: {one.message}"))
    if not_done:
        raise SystemExit(1)


def _all(cell: Cell, action: BulkAction, query: JobQuery) -> tuple[int, int, list[NotDone]]:
    """Do it page by page to all jobs that match. :return: how many matched, how many it was done to, and to which it was not."""
    matched, done, not_done = 0, 0, list[NotDone]()
    while True:
        try:
            part = each_ended(cell.client, action, query, dry_run=False, actor=user())
        except (TryLater, StoreUnavailable):
            if done:
                click.echo(f"{done} {action.past} before this:", err=True)
            raise
        matched, done = matched + part.matched, done + part.done
        not_done += part.not_done
        if part.next_cursor is None:
            return matched, done, not_done
        query = replace(query, cursor=part.next_cursor)
