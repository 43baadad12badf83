"""`jobs batch ...`."""

from __future__ import annotations

from typing import Any

import click

from pipeline_jobs.cli.console import json_option, limit_option, note, print_json, print_list, with_parts
from pipeline_jobs.jobs.batches import Batches, BatchQuery
from pipeline_jobs.states import JobStatus


@click.group()
def batch() -> None:
    """Batches."""


@batch.command("list")
@click.option("--tenant", metavar="TENANT", help="Batches of this tenant.")
@click.option("--workspace", metavar="WORKSPACE", help="Batches of this workspace; with --tenant.")
@limit_option()
@json_option()
@with_parts
def list_batches(parts: Any, tenant: str | None, workspace: str | None, limit: int, as_json: bool) -> None:
    """List batches, newest first."""
    found = Batches(parts.client).list(BatchQuery(tenant, workspace, limit)).items
    titles = ("BATCH", "STATUS", "TENANT", "WORKSPACE", "JOBS", *(status.value.upper() for status in JobStatus))
    print_list(found, as_json, titles, lambda one: (
        one.batch_id, one.status.value, one.tenant_id, one.workspace_id, one.total, *(one.counts[status] for status in JobStatus)
    ))  # fmt: skip


@batch.command("show")
@click.argument("batch_id")
@with_parts
def show_batch(parts: Any, batch_id: str) -> None:
    """Show a batch as JSON."""
    print_json(Batches(parts.client).get(batch_id).to_dict())


@batch.command("cancel")
@click.argument("batch_id")
@with_parts
def cancel_batch(parts: Any, batch_id: str) -> None:
    """Cancel the jobs of a batch that have not ended."""
    done = Batches(parts.client, parts.say_cancelled).cancel(batch_id)
    if done.matched:
        note(parts, "batch.cancelled", batch_id, matched=done.matched)
    click.echo(f"{done.matched} matched: {done.cancelled} cancelled, {done.stopping} stopped.")
