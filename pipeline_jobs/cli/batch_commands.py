"""`jobs batch ...`."""

from __future__ import annotations

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import always_json, ask, json_option, limit_option, note, print_json, print_list, say, with_cell, yes_option
from pipeline_jobs.jobs.batches import Batch, BatchQuery
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.states import JobStatus


@click.group()
def batch() -> None:
    """Batches."""


@batch.command("list")
@click.option("--tenant", metavar="TENANT", help="Batches of this tenant.")
@click.option("--workspace", metavar="WORKSPACE", help="Batches of this workspace; requires --tenant.")
@limit_option()
@json_option()
@with_cell
def list_batches(cell: Cell, tenant: str | None, workspace: str | None, limit: int, as_json: bool) -> None:
    """List batches, newest first."""
    found = cell.batches.list(BatchQuery(tenant, workspace, limit)).items
    titles = ("BATCH", "STATUS", "TENANT", "WORKSPACE", "JOBS", *(status.value.upper() for status in JobStatus))
    print_list(found, as_json, titles, lambda one: (
        one.batch_id, one.status.value, one.tenant_id, one.workspace_id, one.total, *(one.counts[status] for status in JobStatus)
    ))  # fmt: skip


@batch.command("show")
@click.argument("batch_id")
@always_json()
@with_cell
def show_batch(cell: Cell, batch_id: str) -> None:
    """Show a batch as JSON."""
    print_json(cell.batches.get(batch_id).to_dict())


@batch.command("cancel")
@click.argument("batch_id")
@yes_option()
@json_option("Print what was done as JSON.")
@with_cell
def cancel_batch(cell: Cell, batch_id: str, yes: bool, as_json: bool) -> None:
    """Cancel the jobs of a batch that have not ended: it says how many and asks."""
    found = cell.batches.get(batch_id)
    tenant_id = found.tenant_id
    ask(will_cancel(found), yes)
    done = cell.batches.cancel(batch_id)
    if done.matched:
        note(cell, "batch.cancelled", batch_id, tenant_id=tenant_id, matched=done.matched)
    say_cancelled(done, as_json)


def will_cancel(found: Batch) -> str:
    """What its cancellation would do."""
    return f"{found.counts[JobStatus.QUEUED]} jobs will be cancelled and {found.counts[JobStatus.RUNNING]} stopped."


def say_cancelled(done: Cancelled, as_json: bool) -> None:
    counts = {"matched": done.matched, "cancelled": done.cancelled, "stopping": done.stopping}
    say(as_json, counts, f"{done.matched} matched: {done.cancelled} cancelled, {done.stopping} stopped.")
