"""`jobs key ...` and `jobs audit`."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import click

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, ApiKey, Role
from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, limit_option, print_json, print_list, say, user, with_cell
from pipeline_jobs.job import rfc3339

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """`90d` -> the moment 90 days from now, in Unix milliseconds."""
    if value is None:
        return None
    number, unit = value[:-1], value[-1:]
    if not (number.isascii() and number.isdecimal() and len(number) < 7) or unit not in _UNITS or int(number) == 0:
        raise click.BadParameter("must be a number above 0 with s, m, h or d, such as 90d")
    return int((time.time() + int(number) * _UNITS[unit]) * 1000)


def _tenant_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--all-tenants", is_flag=True, help="For all tenants.")(command)
    return click.option("--tenant", metavar="TENANT", help="For this tenant.")(command)


@click.group()
def key() -> None:
    """API keys."""


@key.command("create")
@_tenant_options
@click.option("--workspace", metavar="WORKSPACE", help="Restrict the key to this workspace of the tenant.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="read: see jobs; submit: also create and cancel jobs; admin: also manage keys.",
)
@click.option("--name", default="", help="A description of the key.")
@click.option("--expires-in", callback=_duration, metavar="90d", help="When the key expires: a number with s, m, h or d.")
@json_option("Print the key and what is known of it as JSON.")
@with_cell
def create_key(
    cell: Cell, tenant: str | None, all_tenants: bool, workspace: str | None, role: str, name: str, expires_in: int | None, as_json: bool
) -> None:
    """Create a key and print it, as the only text on standard output. It is shown only once.

    With the first key the API begins to ask for keys.
    """
    tenant_id = _tenant(tenant, all_tenants)
    made, text = cell.keys.create(tenant_id, Role(role), actor=user(), name=name, workspace_id=workspace, expires_at=expires_in)
    if as_json:
        print_json({**made.to_dict(), "key": text})
        return
    click.echo(f"Key {made.key_id}: {_scope(made)}, role {made.role.value}, until {rfc3339(made.expires_at) or 'it is revoked'}.", err=True)
    click.echo(text)


@key.command("list")
@_tenant_options
@json_option()
@with_cell
def list_keys(cell: Cell, tenant: str | None, all_tenants: bool, as_json: bool) -> None:
    """List all keys, or those of a tenant, newest first. Without the secrets."""
    tenant_id = _tenant(tenant, all_tenants) if tenant is not None or all_tenants else None
    found = cell.keys.list(tenant_id)
    print_list(found, as_json, ("KEY", "ROLE", "OF", "NAME", "STATE", "LAST USED"), _key_row)


@key.command("revoke")
@click.argument("key_id")
@json_option("Print what was done as JSON.")
@with_cell
def revoke_key(cell: Cell, key_id: str, as_json: bool) -> None:
    """Revoke a key permanently, everywhere within a second. KEY_ID is the second part of the key."""
    keys = cell.keys
    found = keys.get(key_id)
    if found is None or keys.revoke(found.tenant_id, key_id, actor=user()) is None:
        # What was given is not said again: it may be a whole key.
        raise click.ClickException("there is no key with this id")
    say(as_json, {"key_id": found.key_id, "revoked": True}, f"Key {found.key_id} is revoked.")


def _tenant(tenant: str | None, all_tenants: bool) -> str:
    if (tenant is None) is not all_tenants:
        raise click.UsageError("give either --tenant TENANT or --all-tenants")
    return ALL if tenant is None else tenant


def _key_row(one: ApiKey) -> tuple[str | None, ...]:
    return one.key_id, one.role.value, _scope(one), one.name, _state(one), rfc3339(one.last_used_at)


def _scope(one: ApiKey) -> str:
    return "all tenants" if one.tenant_id == ALL else f"{one.tenant_id}/{one.workspace_id or ALL}"


def _state(one: ApiKey) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "good" if one.is_good(time.time() * 1000) else "expired"


@click.command("audit")
@limit_option(10_000)
@json_option()
@click.option("--jsonl", is_flag=True, help="Export all rows as JSON lines, whatever --limit says.")
@with_cell
def show_audit(cell: Cell, limit: int, as_json: bool, jsonl: bool) -> None:
    """Show what admins, operators and this command did, newest first."""
    rows = audit.rows(cell.store)
    if jsonl:
        for row in rows:
            click.echo(row.to_line(), nl=False)
        return
    print_list(islice(rows, limit), as_json, ("AT", "WHO", "WHAT", "TO", "DETAIL"), _audit_row)


def _audit_row(row: Any) -> tuple[object, ...]:
    return row.to_dict()["at"], row.actor, row.action, row.target, " ".join(f"{name}={value}" for name, value in row.detail.items())
