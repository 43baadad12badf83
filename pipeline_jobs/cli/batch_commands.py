"""`jobs batch ...`."""

from __future__ import annotations

import click

from pipeline_jobs.cli.console import cell_of, errors, json_option, limit_option, note, print_json, print_list
from pipeline_jobs.jobs.batches import BatchQuery
from pipeline_jobs.states import JobStatus


@click.group()
def batch() -> None:
    """Batches."""


@batch.command("list")
@click.option("--tenant", metavar="TENANT", help="Batches of this tenant.")
@click.option("--workspace", metavar="WORKSPACE", help="Batches of this workspace; requires --tenant.")
@limit_option()
@json_option()
@click.pass_context
def list_batches(context: click.Context, tenant: str | None, workspace: str | None, limit: int, as_json: bool) -> None:
    """List batches, newest first."""
    with errors():
        found = cell_of(context).batches.list(BatchQuery(tenant, workspace, limit)).items
    titles = ("BATCH", "STATUS", "TENANT", "WORKSPACE", "JOBS", *(status.value.upper() for status in JobStatus))
    print_list(found, as_json, titles, lambda one: (
        one.batch_id, one.status.value, one.tenant_id, one.workspace_id, one.total, *(one.counts[status] for status in JobStatus)
    ))  # fmt: skip


@batch.command("show")
@click.argument("batch_id")
@click.pass_context
def show_batch(context: click.Context, batch_id: str) -> None:
    """Show a batch as JSON."""
    with errors():
        print_json(cell_of(context).batches.get(batch_id).to_dict())


@batch.command("cancel")
@click.argument("batch_id")
@click.pass_context
def cancel_batch(context: click.Context, batch_id: str) -> None:
    """Cancel the jobs of a batch that have not ended."""
    with errors():
        done = cell_of(context).batches.cancel(batch_id)
        if done.matched:
            note(context, "batch.cancelled", batch_id, matched=done.matched)
    click.echo(f"{done.matched} matched: {done.cancelled} cancelled, {done.stopping} stopped.")
