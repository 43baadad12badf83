"""`celery -A celery_app jobs ...`: keys, jobs, schedules and the audit log for those who have the installation's environment.

Who may run it has the store's address, so it asks for no key; what it changes is in the audit log under the user's name.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from pipeline_jobs import logs
from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, ApiKey, KeyStore, Role
from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.job import Job, NewJob, rfc3339
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.jobs.batches import Batches, BatchQuery
from pipeline_jobs.jobs.bulk import Cancelled, cancel_matching
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.schedules.schedule import Schedule
from pipeline_jobs.schedules.scheduler import Scheduler
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
    """Jobs, schedules, API keys and the audit log of this installation."""
    logs.to_stderr()


@jobs.command()
@click.argument("job_id")
@click.pass_context
def show(context: click.Context, job_id: str) -> None:
    """Show a job as JSON."""
    with _errors():
        job: Job = _client(context).describe(job_id)
    _json(job.to_dict())


def _filters(statuses: Iterable[JobStatus]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The filters of a list, as options; the command gets a `JobQuery`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def filtered(*, tenant: str | None, workspace: str | None, status: Sequence[str], batch: str | None, **values: Any) -> Any:
            query = JobQuery(
                tenant_id=tenant,
                workspace_id=workspace,
                statuses=tuple(map(JobStatus, status)),
                pipeline=values.pop("pipeline"),
                tag=values.pop("tag"),
                batch_id=batch,
            )
            return command(query=query, **values)

        options = (
            click.option("--tenant", metavar="TENANT", help="Jobs of this tenant."),
            click.option("--workspace", metavar="WORKSPACE", help="Jobs of this workspace."),
            click.option("--status", multiple=True, type=click.Choice([one.value for one in statuses]), help="May be repeated."),
            click.option("--pipeline", metavar="PIPELINE", help="Jobs of this pipeline."),
            click.option("--tag", metavar="TAG", help="Jobs with this tag."),
            click.option("--batch", metavar="BATCH_ID", help="Jobs of this batch."),
        )
        for option in reversed(options):
            filtered = option(filtered)
        return filtered

    return decorate


@jobs.command("list")
@_filters(JobStatus)
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Whole records.")
@click.pass_context
def list_jobs(context: click.Context, query: JobQuery, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    found: list[Job] = []
    with _errors():
        while True:
            page = _client(context).list(replace(query, limit=limit - len(found)))
            found += page.items
            # Where filters are mixed a page may be short and still not the last.
            if page.next_cursor is None or len(found) == limit:
                break
            query = replace(query, cursor=page.next_cursor)
    if as_json:
        _json([job.to_dict() for job in found])
        return
    rows = [
        (job.job_id, job.status.value, job.reason or job.stage, f"{job.progress:.0f}%", job.tenant_id, job.workspace_id, job.pipeline)
        for job in found
    ]
    _table(rows, ("JOB", "STATUS", "REASON/STAGE", "DONE", "TENANT", "WORKSPACE", "PIPELINE"))


@jobs.command("cancel")
@click.argument("job_id", required=False)
@_filters((JobStatus.QUEUED, JobStatus.RUNNING))
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.pass_context
def cancel_jobs(context: click.Context, job_id: str | None, query: JobQuery, dry_run: bool) -> None:
    """Cancel a job, or all live ones that match the filters."""
    client = _client(context)
    if (job_id is None) is (query == JobQuery()):
        raise click.UsageError("give either a JOB_ID or filters")
    with _errors():
        if job_id is not None:
            before: Job = client.get(job_id)
            job: Job = before if dry_run else client.cancel(job_id)
            if not (dry_run or before.ended):
                if job.status is JobStatus.CANCELLED:
                    _parts(context).say_revoked(job)
                _note(context, "job.cancelled", job_id, tenant_id=job.tenant_id)
            click.echo(f"{job.job_id} is {'being stopped' if job.cancel_requested and not job.ended else job.status.value}.")
            return
        total = Cancelled(0, 0, 0, None)
        while True:
            done = cancel_matching(client.store, query, dry_run=dry_run, ended=_parts(context).say_cancelled)
            total = Cancelled(total.matched + done.matched, total.cancelled + done.cancelled, total.stopping + done.stopping, None)
            if done.next_cursor is None:
                break
            query = replace(query, cursor=done.next_cursor)
        if total.matched and not dry_run:
            _note(context, "jobs.cancelled", query.tenant_id or "*", matched=total.matched)
    would = "would be " if dry_run else ""
    click.echo(f"{total.matched} matched: {total.cancelled} {would}cancelled, {total.stopping} {would}stopped.")


@jobs.command("submit")
@click.argument("fields", metavar="JSON")
@click.pass_context
def submit_job(context: click.Context, fields: str) -> None:
    """Make a job: prints its id. JSON is an object with the fields of a new job, such as {"pipeline": "sleep", "params": {"seconds": 5}};
    `run_at` is in Unix milliseconds."""
    try:
        values = json.loads(fields)
    except ValueError as error:
        raise click.UsageError(f"this is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise click.UsageError("the fields of a job are a JSON object")
    with _errors():
        click.echo(_client(context).submit(NewJob.of(values)).job_id)


@jobs.command("retry")
@click.argument("job_id")
@click.option("--from-stage", metavar="STAGE", help="Run this stage and those after it; default: what has not succeeded.")
@click.pass_context
def retry_job(context: click.Context, job_id: str, from_stage: str | None) -> None:
    """Run an ended job again: prints the id of the new one."""
    with _errors():
        made: Job = _client(context).retry(job_id, from_stage=from_stage).job
        # First the id: without it, whoever cannot write the row would retry once more.
        click.echo(made.job_id)
        _note(context, "job.retried", job_id, tenant_id=made.tenant_id, job_id=made.job_id)


def _note(context: click.Context, action: str, target: str, **detail: Any) -> None:
    audit.record(_client(context).store, audit.process_actor("cli"), action, target, detail)


@jobs.group()
def batch() -> None:
    """Batches."""


@batch.command("list")
@click.option("--tenant", metavar="TENANT", help="Batches of this tenant.")
@click.option("--workspace", metavar="WORKSPACE", help="Batches of this workspace; with --tenant.")
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the API shows it.")
@click.pass_context
def list_batches(context: click.Context, tenant: str | None, workspace: str | None, limit: int, as_json: bool) -> None:
    """List batches, newest first."""
    with _errors():
        found = Batches(_client(context)).list(BatchQuery(tenant, workspace, limit)).items
    if as_json:
        _json([one.to_dict() for one in found])
        return
    counts = tuple(JobStatus)
    rows = [
        (one.batch_id, one.status.value, one.tenant_id, one.workspace_id, str(one.total), *(str(one.counts[status]) for status in counts))
        for one in found
    ]
    _table(rows, ("BATCH", "STATUS", "TENANT", "WORKSPACE", "JOBS", *(status.value.upper() for status in counts)))


@batch.command("show")
@click.argument("batch_id")
@click.pass_context
def show_batch(context: click.Context, batch_id: str) -> None:
    """Show a batch as JSON."""
    with _errors():
        _json(Batches(_client(context)).get(batch_id).to_dict())


@batch.command("cancel")
@click.argument("batch_id")
@click.pass_context
def cancel_batch(context: click.Context, batch_id: str) -> None:
    """Cancel the jobs of a batch that have not ended."""
    with _errors():
        parts = _parts(context)
        done = Batches(parts.client, parts.say_cancelled).cancel(batch_id)
        if done.matched:
            _note(context, "batch.cancelled", batch_id, matched=done.matched)
    click.echo(f"{done.matched} matched: {done.cancelled} cancelled, {done.stopping} stopped.")


@jobs.command("audit")
@click.option("--limit", type=click.IntRange(1, 10_000), default=25, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the API shows it.")
@click.pass_context
def show_audit(context: click.Context, limit: int, as_json: bool) -> None:
    """Show what admins, operators and this command did, newest first."""
    with _errors():
        rows = audit.page(_client(context).store, limit=limit).items
    if as_json:
        _json([row.to_dict() for row in rows])
        return
    cells = [
        (str(row.to_dict()["at"]), row.actor, row.action, row.target, " ".join(f"{name}={value}" for name, value in row.detail.items()))
        for row in rows
    ]
    _table(cells, ("AT", "WHO", "WHAT", "TO", "DETAIL"))


@jobs.group("schedules")
def schedules() -> None:
    """Schedules: jobs by the clock."""


@schedules.command("list")
@click.option("--tenant", metavar="TENANT", help="Schedules of this tenant.")
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the API shows it.")
@click.pass_context
def list_schedules(context: click.Context, tenant: str | None, limit: int, as_json: bool) -> None:
    """List schedules, newest first."""
    with _errors():
        found = Scheduler(_client(context)).list(tenant_id=tenant, limit=limit).items
    if as_json:
        _json([one.to_dict() for one in found])
        return
    rows = [
        (
            one.schedule_id, one.tenant_id, one.workspace_id, one.name, one.cron.expression, one.cron.timezone,
            "paused" if one.paused else rfc3339(one.next_run_at), one.last_job_id, one.last_skipped_reason,
        )
        for one in found
    ]  # fmt: skip
    _table(rows, ("SCHEDULE", "TENANT", "WORKSPACE", "NAME", "CRON", "TIME ZONE", "NEXT", "LAST JOB", "LAST SKIPPED"))


@schedules.command("pause")
@click.argument("schedule_id")
@click.pass_context
def pause_schedule(context: click.Context, schedule_id: str) -> None:
    """Fire nothing until it is resumed; slots that wait are skipped."""
    with _errors():
        _note_schedule(context, "paused", Scheduler(_client(context)).pause(schedule_id))
    click.echo(f"Schedule {schedule_id} is paused.")


@schedules.command("resume")
@click.argument("schedule_id")
@click.pass_context
def resume_schedule(context: click.Context, schedule_id: str) -> None:
    """Go on with the first slot from now on."""
    with _errors():
        resumed = Scheduler(_client(context)).resume(schedule_id)
        _note_schedule(context, "resumed", resumed)
    click.echo(f"Schedule {schedule_id} is next at {rfc3339(resumed.next_run_at)}.")


@schedules.command("run")
@click.argument("schedule_id")
@click.pass_context
def run_schedule(context: click.Context, schedule_id: str) -> None:
    """Make its job now, paused or not, and print the job's id."""
    with _errors():
        scheduler = Scheduler(_client(context))
        job = scheduler.run_now(schedule_id).job
        _note_schedule(context, "run", scheduler.get(schedule_id), job_id=job.job_id)
    click.echo(job.job_id)


def _note_schedule(context: click.Context, action: str, schedule: Schedule, **detail: str) -> None:
    whose = {"tenant_id": schedule.tenant_id, "workspace_id": schedule.workspace_id}
    _note(context, f"schedule.{action}", schedule.schedule_id, **whose, **detail)


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
        _note(context, "delivery.retried", row.delivery_id, event=row.event, subject=row.subject)
    click.echo(f"{row.delivery_id} ({row.event} of {row.subject}) will be sent to {row.to_dict()['origin']}.")


@jobs.command()
@click.argument("name", metavar="PIPELINE")
@click.option("--max-concurrent", type=click.IntRange(0, pipeline_limits.MOST), help="Most of its jobs at once, over all workers.")
@click.option("--declared", is_flag=True, help="As many as the pipeline itself says.")
@click.pass_context
def pipeline(context: click.Context, name: str, max_concurrent: int | None, declared: bool) -> None:
    """Show, or set, how many jobs of a pipeline run at once. It acts on the backlog at once."""
    if declared and max_concurrent is not None:
        raise click.UsageError("give either --max-concurrent or --declared")
    client = _client(context)
    with _errors():
        client.registry.get(name)
        if declared or max_concurrent is not None:
            now = pipeline_limits.set_cap(client.store, name, max_concurrent)
            _note(context, "pipeline_limits.changed", name, max_concurrent=max_concurrent)
        else:
            now = pipeline_limits.of(client.store, name)
    _json(now.to_dict())


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
