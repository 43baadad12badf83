"""`jobs schedules ...`."""

from __future__ import annotations

import click

from pipeline_jobs.cli.console import client_of, errors, json_option, limit_option, note, print_list
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
@click.pass_context
def list_schedules(context: click.Context, tenant: str | None, limit: int, as_json: bool) -> None:
    """List schedules, newest first."""
    with errors():
        found = Scheduler(client_of(context)).list(tenant_id=tenant, limit=limit).items
    print_list(found, as_json, _TITLES, _row)


@schedules.command("pause")
@click.argument("schedule_id")
@click.pass_context
def pause_schedule(context: click.Context, schedule_id: str) -> None:
    """Fire nothing until it is resumed; slots that wait are skipped."""
    with errors():
        _note(context, "paused", Scheduler(client_of(context)).pause(schedule_id))
    click.echo(f"Schedule {schedule_id} is paused.")


@schedules.command("resume")
@click.argument("schedule_id")
@click.pass_context
def resume_schedule(context: click.Context, schedule_id: str) -> None:
    """Go on with the first slot from now on."""
    with errors():
        resumed = Scheduler(client_of(context)).resume(schedule_id)
        _note(context, "resumed", resumed)
    click.echo(f"Schedule {schedule_id} is next at {rfc3339(resumed.next_run_at)}.")


@schedules.command("run")
@click.argument("schedule_id")
@click.pass_context
def run_schedule(context: click.Context, schedule_id: str) -> None:
    """Make its job now, paused or not, and print the job's id."""
    with errors():
        scheduler = Scheduler(client_of(context))
        job = scheduler.run_now(schedule_id).job
        _note(context, "run", scheduler.get(schedule_id), job_id=job.job_id)
    click.echo(job.job_id)


def _note(context: click.Context, action: str, schedule: Schedule, **detail: str) -> None:
    whose = {"tenant_id": schedule.tenant_id, "workspace_id": schedule.workspace_id}
    note(context, f"schedule.{action}", schedule.schedule_id, **whose, **detail)
