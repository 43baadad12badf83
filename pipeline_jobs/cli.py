"""`celery -A celery_app jobs ...`: keys, jobs and the audit log for those who have the installation's environment.

Who may run it has the store's address, so it asks for no key; what it changes is in the audit log under the user's name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from pipeline_jobs import audit
from pipeline_jobs.api_keys import ALL, ApiKey, KeyStore, Role
from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.job import Job, rfc3339
from pipeline_jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.webhooks.ledger import STATUSES

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NONE = "-"


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except PipelineJobsError as error:
        raise click.ClickException(error.message) from None


def _client(context: click.Context) -> Any:
    """The client of the app that `-A` names."""
    return _parts(context).client


def _parts(context: click.Context) -> Any:
    """The parts of the app that `-A` names."""
    parts = getattr(getattr(context.obj, "app", None), "jobs", None)
    if parts is None:
        raise click.ClickException("name the app of this installation: celery -A celery_app jobs ...")
    return parts


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """`90d` -> the moment 90 days from now, in Unix milliseconds."""
    if value is None:
        return None
    number, unit = value[:-1], value[-1:]
    if not (number.isascii() and number.isdecimal() and len(number) < 7) or unit not in _UNITS or int(number) == 0:
        raise click.BadParameter("a number above 0 with s, m, h or d, such as 90d")
    return int((time.time() + int(number) * _UNITS[unit]) * 1000)


def _tenant_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--all-tenants", is_flag=True, help="Of all tenants.")(command)
    return click.option("--tenant", metavar="TENANT", help="Of this tenant.")(command)


def _table(rows: Sequence[Sequence[str | None]], titles: Sequence[str]) -> None:
    cells = [list(titles), *([_NONE if cell in (None, "") else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.group()
def jobs() -> None:
    """Jobs, API keys and the audit log of this installation."""


@jobs.command()
@click.argument("job_id")
@click.pass_context
def show(context: click.Context, job_id: str) -> None:
    """Show a job as JSON."""
    with _errors():
        job: Job = _client(context).get(job_id)
    _json(job.to_dict())


@jobs.command("list")
@click.option("--tenant", metavar="TENANT", help="Jobs of this tenant.")
@click.option("--workspace", metavar="WORKSPACE", help="Jobs of workspaces with this name.")
@click.option("--status", multiple=True, type=click.Choice([status.value for status in JobStatus]), help="May be repeated.")
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Whole records.")
@click.pass_context
def list_jobs(
    context: click.Context, tenant: str | None, workspace: str | None, status: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """List jobs, newest first."""
    query = JobQuery(tenant_id=tenant, workspace_id=workspace, statuses=tuple(map(JobStatus, status)), limit=limit)
    with _errors():
        found: Iterable[Job] = _client(context).list(query).jobs
    if as_json:
        _json([job.to_dict() for job in found])
        return
    rows = [
        (job.job_id, job.status.value, job.reason or job.stage, f"{job.progress:.0f}%", job.tenant_id, job.workspace_id, job.pipeline)
        for job in found
    ]
    _table(rows, ("JOB", "STATUS", "REASON/STAGE", "DONE", "TENANT", "WORKSPACE", "PIPELINE"))


@jobs.command("audit")
@click.option("--limit", type=click.IntRange(1, 10_000), default=25, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the API shows it.")
@click.pass_context
def show_audit(context: click.Context, limit: int, as_json: bool) -> None:
    """Show what admins, operators and this command did, newest first."""
    with _errors():
        rows, _ = audit.page(_client(context).store, limit=limit)
    if as_json:
        _json([row.to_dict() for row in rows])
        return
    cells = [
        (str(row.to_dict()["at"]), row.actor, row.action, row.target, " ".join(f"{name}={value}" for name, value in row.detail.items()))
        for row in rows
    ]
    _table(cells, ("AT", "WHO", "WHAT", "TO", "DETAIL"))


@jobs.command()
@click.argument("job_id", required=False)
@click.option("--tenant", metavar="TENANT", help="Of this tenant, instead of one job's.")
@click.option("--status", type=click.Choice(STATUSES), help="With --tenant: only those in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the API shows it.")
@click.pass_context
def deliveries(context: click.Context, job_id: str | None, tenant: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Show the webhooks of a job, or of a tenant, newest first."""
    if (job_id is None) == (tenant is None):
        raise click.UsageError("give either JOB_ID or --tenant TENANT")
    ledger = _parts(context).webhooks.ledger
    with _errors():
        rows = ledger.of_subject(job_id) if job_id is not None else ledger.list(tenant, status, None, limit).items
    if as_json:
        _json([row.to_dict() for row in rows])
        return
    shown = [row.to_dict() for row in rows]
    titles = ("delivery_id", "event", "subject", "origin", "status", "tries", "next_try_at", "error")
    _table([[None if one[title] is None else str(one[title]) for title in titles] for one in shown], [title.upper() for title in titles])


@jobs.command()
@click.argument("delivery_id")
@click.pass_context
def redeliver(context: click.Context, delivery_id: str) -> None:
    """Send a webhook again now, with the same webhook-id and all its tries anew."""
    with _errors():
        row = _parts(context).webhooks.ledger.redeliver(delivery_id)
    click.echo(f"{row.delivery_id} ({row.event} of {row.subject}) will be sent to {row.to_dict()['origin']}.")


@jobs.group()
def key() -> None:
    """API keys."""


@key.command("create")
@_tenant_options
@click.option("--workspace", metavar="WORKSPACE", help="Only this workspace of the tenant.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), required=True, help="read: see; submit: make and end; admin: keys."
)
@click.option("--name", default="", help="What it is for.")
@click.option("--expires-in", callback=_duration, metavar="90d", help="Refused from then on: a number with s, m, h or d.")
@click.pass_context
def create_key(
    context: click.Context, tenant: str | None, all_tenants: bool, workspace: str | None, role: str, name: str, expires_in: int | None
) -> None:
    """Make a key and print its text, alone on standard output. It is shown this once.

    With the first key the API begins to ask for keys.
    """
    tenant_id = _tenant(tenant, all_tenants)
    with _errors():
        made, text = KeyStore(_client(context).store).create(
            tenant_id, Role(role), actor=audit.process_actor("cli"), name=name, workspace_id=workspace, expires_at=expires_in
        )
    click.echo(f"Key {made.key_id}: {_scope(made)}, role {made.role.value}, until {rfc3339(made.expires_at) or 'it is revoked'}.", err=True)
    click.echo(text)


@key.command("list")
@_tenant_options
@click.option("--json", "as_json", is_flag=True, help="As the API shows it.")
@click.pass_context
def list_keys(context: click.Context, tenant: str | None, all_tenants: bool, as_json: bool) -> None:
    """List keys, newest first: all there are, or a tenant's. No secret is shown."""
    tenant_id = _tenant(tenant, all_tenants) if tenant is not None or all_tenants else None
    with _errors():
        found = KeyStore(_client(context).store).list(tenant_id)
    if as_json:
        _json([one.to_dict() for one in found])
        return
    rows = [(one.key_id, one.role.value, _scope(one), one.name, _state(one), rfc3339(one.last_used_at)) for one in found]
    _table(rows, ("KEY", "ROLE", "OF", "NAME", "STATE", "LAST USED"))


@key.command("revoke")
@click.argument("key_id")
@click.pass_context
def revoke_key(context: click.Context, key_id: str) -> None:
    """End a key for good, everywhere within a second. KEY_ID is the second part of its text."""
    with _errors():
        keys = KeyStore(_client(context).store)
        found = keys.get(key_id)
        if found is None or keys.revoke(found.tenant_id, key_id, actor=audit.process_actor("cli")) is None:
            # What was given is not said again: it may be a whole key.
            raise click.ClickException("there is no key with this id")
    click.echo(f"Key {found.key_id} is revoked.")


def _tenant(tenant: str | None, all_tenants: bool) -> str:
    if (tenant is None) is not all_tenants:
        raise click.UsageError("give either --tenant TENANT or --all-tenants")
    return ALL if tenant is None else tenant


def _scope(one: ApiKey) -> str:
    return "all tenants" if one.tenant_id == ALL else f"{one.tenant_id}/{one.workspace_id or ALL}"


def _state(one: ApiKey) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "good" if one.is_good(time.time() * 1000) else "expired"
