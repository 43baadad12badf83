"""`jobs limits`: what a tenant may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import always_json, print_json, user, with_cell
from pipeline_jobs.tenants import TenantLimits

_NAMES = tuple(one.name for one in fields(TenantLimits))
_NUMBERS = {"weight", "submit_rate", "start_rate", "max_run_seconds"}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One for each limit; the command gets those that were given, by name."""
    for name in reversed(_NAMES):
        if name == "paused":
            text = "Start none of its jobs, or start them again."
            command = click.option("--paused/--resumed", "paused", default=None, help=text)(command)
        else:
            kind = float if name in _NUMBERS else int
            command = click.option(_option(name), name, type=kind, help=f"Set {name}.")(command)
    return command


@click.command("limits")
@click.argument("tenant")
@_limit_options
@click.option("--unset", multiple=True, type=click.Choice(_NAMES), help="Take this limit away: the default (tenant *) applies.")
@always_json()
@with_cell
def limits(cell: Cell, tenant: str, unset: tuple[str, ...], **given: Any) -> None:
    """Show a tenant's limits, or set those that are given; the others stay. TENANT `*`: the defaults of all."""
    changes = {name: value for name, value in given.items() if value is not None}
    if both := sorted(changes.keys() & set(unset)):
        raise click.UsageError(f"{_option(both[0])} and --unset {both[0]} were given")
    now = cell.client.limits(tenant)
    if changes or unset:
        changed = replace(now, **changes, **dict.fromkeys(unset))
        now = cell.client.set_limits(tenant, changed, actor=user())
    print_json(now.to_dict())
