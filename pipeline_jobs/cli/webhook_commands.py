"""`jobs deliveries` and `redeliver`: webhooks that were sent or wait to be."""

from __future__ import annotations

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, limit_option, note, print_list, say, with_cell
from pipeline_jobs.webhooks.ledger import STATUSES

_FIELDS = ("delivery_id", "event", "subject", "origin", "status", "tries", "next_try_at", "error")


@click.command()
@click.argument("job_id", required=False)
@click.option("--tenant", metavar="TENANT", help="Deliveries of this tenant, instead of those of a job.")
@click.option("--status", type=click.Choice(STATUSES), help="Only deliveries with this status; requires --tenant.")
@limit_option()
@json_option()
@with_cell
def deliveries(cell: Cell, job_id: str | None, tenant: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Show the webhooks of a job, or of a tenant, newest first."""
    if (job_id is None) == (tenant is None):
        raise click.UsageError("give either JOB_ID or --tenant TENANT")
    ledger = cell.webhooks.ledger
    rows = ledger.list(tenant, status, None, limit).items if tenant is not None else ledger.of_subject(str(job_id))
    print_list(rows, as_json, [name.upper() for name in _FIELDS], lambda row: [row.to_dict()[name] for name in _FIELDS])


@click.command()
@click.argument("delivery_id")
@json_option("Print what was done as JSON.")
@with_cell
def redeliver(cell: Cell, delivery_id: str, as_json: bool) -> None:
    """Send a webhook again now, with the same webhook-id and a new series of retries."""
    row = cell.webhooks.ledger.redeliver(delivery_id)
    note(cell, "delivery.retried", row.delivery_id, tenant_id=row.tenant_id, event=row.event, subject=row.subject)
    say(as_json, row.to_dict(), f"{row.delivery_id} ({row.event} of {row.subject}) will be sent to {row.to_dict()['origin']}.")
