"""`jobs schedules ...`."""

from __future__ import annotations

from typing import Any

import click

from pipeline_jobs.cli.console import json_option, limit_option, note, print_list, with_parts
from pipeline_jobs.job import rfc3339
from pipeline_jobs.schedules.schedule import Schedule
from pipeline_jobs.schedules.scheduler import Scheduler


@click.group("schedules")
def schedules() -> None:
    """Schedules: jobs by the clock."""


_TITLES = ("SCHEDULE", "TENANT", "WORKSPACE", "NAME", "CRON", "TIME ZONE", "NEXT", "LAST JOB", "LAST SKIPPED")


def _row(one: Schedule) -> tuple[str | None, ...]:
    return (
        one.schedule_id, one.tenant_id, one.workspace_id, one.name, one.cron.expression, one.cron.timezone,
        "paused" if one.paused else rfc3339(one.next_run_at), one.last_job_id, one.last_skipped_reason,
    )  # fmt: skip


@schedules.command("list")
@click.option("--tenant", metavar="TENANT", help="Schedules of this tenant.")
@limit_option()
@json_option()
@with_parts
def list_schedules(parts: Any, tenant: str | None, limit: int, as_json: bool) -> None:
    """List schedules, newest first."""
    found = Scheduler(parts.client).list(tenant_id=tenant, limit=limit).items
    print_list(found, as_json, _TITLES, _row)


@schedules.command("pause")
@click.argument("schedule_id")
@with_parts
def pause_schedule(parts: Any, schedule_id: str) -> None:
    """Fire nothing until it is resumed; slots that wait are skipped."""
    _note(parts, "paused", Scheduler(parts.client).pause(schedule_id))
    click.echo(f"Schedule {schedule_id} is paused.")


@schedules.command("resume")
@click.argument("schedule_id")
@with_parts
def resume_schedule(parts: Any, schedule_id: str) -> None:
    """Go on with the first slot from now on."""
    resumed = Scheduler(parts.client).resume(schedule_id)
    _note(parts, "resumed", resumed)
    click.echo(f"Schedule {schedule_id} is next at {rfc3339(resumed.next_run_at)}.")


@schedules.command("run")
@click.argument("schedule_id")
@with_parts
def run_schedule(parts: Any, schedule_id: str) -> None:
    """Make its job now, paused or not, and print the job's id."""
    scheduler = Scheduler(parts.client)
    job = scheduler.run_now(schedule_id).job
    _note(parts, "run", scheduler.get(schedule_id), job_id=job.job_id)
    click.echo(job.job_id)


def _note(parts: Any, action: str, schedule: Schedule, **detail: str) -> None:
    whose = {"tenant_id": schedule.tenant_id, "workspace_id": schedule.workspace_id}
    note(parts, f"schedule.{action}", schedule.schedule_id, **whose, **detail)
