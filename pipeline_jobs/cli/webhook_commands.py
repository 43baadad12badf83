"""`jobs deliveries` and `redeliver`: webhooks that were sent or wait to be."""

from __future__ import annotations

from typing import Any

import click

from pipeline_jobs.cli.console import json_option, limit_option, note, print_list, with_parts
from pipeline_jobs.webhooks.ledger import STATUSES

_FIELDS = ("delivery_id", "event", "subject", "origin", "status", "tries", "next_try_at", "error")


@click.command()
@click.argument("job_id", required=False)
@click.option("--tenant", metavar="TENANT", help="Of this tenant, instead of one job's.")
@click.option("--status", type=click.Choice(STATUSES), help="With --tenant: only those in this state.")
@limit_option()
@json_option()
@with_parts
def deliveries(parts: Any, job_id: str | None, tenant: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Show the webhooks of a job, or of a tenant, newest first."""
    if (job_id is None) == (tenant is None):
        raise click.UsageError("give either JOB_ID or --tenant TENANT")
    ledger = parts.webhooks.ledger
    rows = ledger.of_subject(job_id) if job_id is not None else ledger.list(tenant, status, None, limit).items
    print_list(rows, as_json, [name.upper() for name in _FIELDS], lambda row: [row.to_dict()[name] for name in _FIELDS])


@click.command()
@click.argument("delivery_id")
@with_parts
def redeliver(parts: Any, delivery_id: str) -> None:
    """Send a webhook again now, with the same webhook-id and all its tries anew."""
    row = parts.webhooks.ledger.redeliver(delivery_id)
    note(parts, "delivery.retried", row.delivery_id, event=row.event, subject=row.subject)
    click.echo(f"{row.delivery_id} ({row.event} of {row.subject}) will be sent to {row.to_dict()['origin']}.")
