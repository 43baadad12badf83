"""`jobs batch ...`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import (
    always_json,
    ask,
    dry_run_option,
    json_option,
    limit_option,
    note,
    print_json,
    print_list,
    say,
    with_cell,
    yes_option,
)
from pipeline_jobs.jobs.batches import Batch, BatchQuery
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.states import JobStatus


@click.group()
def batch() -> None:
    """Batches."""


def print_batches(found: Sequence[Batch], title: str, as_json: bool) -> None:
    """Batches, or workflows, with the counts of their jobs. :param title: of the column with their ids."""
    titles = (title, "STATUS", "TENANT", "WORKSPACE", "JOBS", *(status.value.upper() for status in JobStatus))
    print_list(found, as_json, titles, lambda one: (
        one.batch_id, one.status.value, one.tenant_id, one.workspace_id, one.total, *(one.counts[status] for status in JobStatus)
    ))  # fmt: skip


@batch.command("list")
@click.option("--tenant", metavar="TENANT", help="Batches of this tenant.")
@click.option("--workspace", metavar="WORKSPACE", help="Batches of this workspace; requires --tenant.")
@limit_option()
@json_option()
@with_cell
def list_batches(cell: Cell, tenant: str | None, workspace: str | None, limit: int, as_json: bool) -> None:
    """List batches, newest first."""
    print_batches(cell.batches.list(BatchQuery(tenant, workspace, limit)).items, "BATCH", as_json)


@batch.command("show")
@click.argument("batch_id")
@always_json()
@with_cell
def show_batch(cell: Cell, batch_id: str) -> None:
    """Show a batch as JSON."""
    print_json(cell.batches.get(batch_id).to_dict())


@batch.command("cancel")
@click.argument("batch_id")
@dry_run_option()
@yes_option()
@json_option("Print what was done as JSON.")
@with_cell
def cancel_batch(cell: Cell, batch_id: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Cancel the jobs of a batch that have not ended: it says how many and asks."""
    done = cancel_whole(cell, cell.batches.get(batch_id), cell.batches.cancel, dry_run, yes)
    say_cancelled(done, as_json, dry_run=dry_run)


def cancel_whole(cell: Cell, found: Batch, cancel: Callable[[str], Cancelled], dry_run: bool, yes: bool) -> Cancelled:
    """Cancel a batch, or a workflow, after a question; or only count."""
    queued, running = found.counts[JobStatus.QUEUED], found.counts[JobStatus.RUNNING]
    if dry_run:
        return Cancelled(queued + running, queued, running, None)
    ask_to_cancel(queued, running, yes)
    done = cancel(found.batch_id)
    if done.matched:
        note(cell, "batch.cancelled", found.batch_id, tenant_id=found.tenant_id, matched=done.matched)
    return done


def ask_to_cancel(queued: int, running: int, yes: bool) -> None:
    """:raises click.ClickException: nobody can be asked, or the answer is no."""
    ask(f"{queued} jobs will be cancelled and {running} stopped.", yes)


def say_cancelled(done: Cancelled, as_json: bool, *, dry_run: bool) -> None:
    counts = {"matched": done.matched, "cancelled": done.cancelled, "stopping": done.stopping, "dry_run": dry_run}
    be = "would be " if dry_run else ""
    say(as_json, counts, f"{done.matched} matched: {done.cancelled} {be}cancelled, {done.stopping} {be}stopped.")
