"""`jobs schedules ...`."""

from __future__ import annotations

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, limit_option, print_list, say, user, with_cell
from pipeline_jobs.job import rfc3339
from pipeline_jobs.schedules.schedule import Schedule


@click.group("schedules")
def schedules() -> None:
    """Schedules: jobs that are created at regular times."""


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
@with_cell
def list_schedules(cell: Cell, tenant: str | None, limit: int, as_json: bool) -> None:
    """List schedules, newest first."""
    found = cell.schedules.list(tenant_id=tenant, limit=limit).items
    print_list(found, as_json, _TITLES, _row)


@schedules.command("pause")
@click.argument("schedule_id")
@json_option("Print what was done as JSON.")
@with_cell
def pause_schedule(cell: Cell, schedule_id: str, as_json: bool) -> None:
    """Pause a schedule: nothing is fired until it is resumed, and waiting slots are skipped."""
    paused = cell.schedules.pause(schedule_id, actor=user())
    say(as_json, paused.to_dict(), f"Schedule {schedule_id} is paused.")


@schedules.command("resume")
@click.argument("schedule_id")
@json_option("Print what was done as JSON.")
@with_cell
def resume_schedule(cell: Cell, schedule_id: str, as_json: bool) -> None:
    """Resume a schedule: it continues with the first slot from now on."""
    resumed = cell.schedules.resume(schedule_id, actor=user())
    say(as_json, resumed.to_dict(), f"Schedule {schedule_id} is next at {rfc3339(resumed.next_run_at)}.")


@schedules.command("run")
@click.argument("schedule_id")
@json_option("Print what was done as JSON.")
@with_cell
def run_schedule(cell: Cell, schedule_id: str, as_json: bool) -> None:
    """Create the schedule's job now, even if it is paused, and print the job's id."""
    job = cell.schedules.run_now(schedule_id, actor=user()).job
    say(as_json, job.to_dict(cell.artifacts.link), job.job_id)
