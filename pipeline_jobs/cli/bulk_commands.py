"""`jobs retry` and `jobs delete`: one job, or all that match filters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import note, user, with_cell
from pipeline_jobs.cli.job_commands import check_one_or_many, filters
from pipeline_jobs.jobs.bulk_ended import STATUSES, BulkAction, NotDone, each_ended
from pipeline_jobs.jobs.listing import JobQuery


def of_many(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command for one job or for many."""
    command = click.option("--yes", is_flag=True, help="Do not ask.")(command)
    command = click.option("--dry-run", is_flag=True, help="Only count the jobs.")(command)
    return filters(STATUSES[BulkAction.DELETE])(click.argument("job_id", required=False)(command))


@click.command("retry")
@of_many
@click.option("--from-stage", metavar="STAGE", help="Run this stage and all later ones. Default: the stages that have not succeeded.")
@with_cell
def retry_job(cell: Cell, job_id: str | None, query: JobQuery, dry_run: bool, yes: bool, from_stage: str | None) -> None:
    """Retry a job that has ended, and print the id of the new job; or all jobs that match the filters (by default those that failed)."""
    check_one_or_many(job_id, query)
    if job_id is None:
        if from_stage:
            raise click.UsageError("--from-stage is for one job")
        _each(cell, BulkAction.RETRY, query, dry_run, yes)
        return
    if dry_run:
        click.echo(f"{cell.client.get(job_id).job_id} would be retried.")
        return
    made = cell.client.retry(job_id, from_stage=from_stage).job
    # First the id: without it, whoever cannot write the row would retry once more.
    click.echo(made.job_id)
    note(cell, "job.retried", job_id, tenant_id=made.tenant_id, job_id=made.job_id)


@click.command("delete")
@of_many
@with_cell
def delete_jobs(cell: Cell, job_id: str | None, query: JobQuery, dry_run: bool, yes: bool) -> None:
    """Delete a job that has ended, with its files; or all ended jobs that match the filters."""
    check_one_or_many(job_id, query)
    if job_id is None:
        _each(cell, BulkAction.DELETE, query, dry_run, yes)
        return
    tenant_id = cell.client.get(job_id).tenant_id
    if not dry_run:
        cell.client.delete(job_id)
        note(cell, "job.deleted", job_id, tenant_id=tenant_id)
    click.echo(f"{job_id} {'would be' if dry_run else 'is'} deleted.")


def _each(cell: Cell, action: BulkAction, query: JobQuery, dry_run: bool, yes: bool) -> None:
    if dry_run or not yes:
        matched = _all(cell, action, query, dry_run=True)[0]
        if dry_run:
            click.echo(f"{matched} matched and would be {action.past}.")
            return
        click.confirm(f"{matched} jobs will be {action.past}. Go on?", abort=True)
    matched, done, not_done = _all(cell, action, query, dry_run=False)
    click.echo(f"{matched} matched: {done} {action.past}, {len(not_done)} not.")
    for one in not_done:
        click.echo(f"{one.job_id}: {one.message}")


def _all(cell: Cell, action: BulkAction, query: JobQuery, *, dry_run: bool) -> tuple[int, int, list[NotDone]]:
    """Until there are no more: how many matched, how many it was done to, and to which it was not."""
    matched, done, not_done = 0, 0, list[NotDone]()
    while True:
        part = each_ended(cell.client, action, query, dry_run=dry_run, actor=user())
        matched, done = matched + part.matched, done + part.done
        not_done += part.not_done
        if part.next_cursor is None:
            return matched, done, not_done
        query = replace(query, cursor=part.next_cursor)
