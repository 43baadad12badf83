"""`jobs show`, `list`, `cancel`, `submit` and `signal`; `jobs pipeline`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.batch_commands import ask_to_cancel, say_cancelled
from pipeline_jobs.cli.console import (
    age,
    always_json,
    dry_run_option,
    json_option,
    limit_option,
    must_be_json,
    note,
    print_json,
    print_list,
    say,
    user,
    with_cell,
    yes_option,
)
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import pipeline_limits, signals
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.pages import Page


@click.command()
@click.argument("job_id")
@always_json()
@with_cell
def show(cell: Cell, job_id: str) -> None:
    """Show a job as JSON."""
    job = cell.client.describe(job_id)
    print_json(job.to_dict(cell.artifacts.link))


#: Filters of a list, and their options.
_BY = {
    "tenant_id": "--tenant", "workspace_id": "--workspace", "pipeline": "--pipeline", "tag": "--tag", "batch_id": "--batch",
    "error_code": "--error", "q": "--find",
}  # fmt: skip


def filters(statuses: Iterable[JobStatus]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The filters of a list, as options; the command gets a `JobQuery`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def filtered(*, statuses: Sequence[str], **values: Any) -> Any:
            given = {name: values.pop(name) for name in _BY}
            if empty := [option for name, option in _BY.items() if given[name] == ""]:
                # As a script gives it whose variable is not set: without that filter it would be about all jobs.
                raise click.UsageError(f"{empty[0]} must not be empty")
            return command(query=JobQuery(**given, statuses=tuple(map(JobStatus, statuses))), **values)

        options = (
            click.option("--tenant", "tenant_id", metavar="TENANT", help="Jobs of this tenant."),
            click.option("--workspace", "workspace_id", metavar="WORKSPACE", help="Jobs of this workspace."),
            click.option(
                "--status",
                "statuses",
                multiple=True,
                type=click.Choice([one.value for one in statuses]),
                help="Jobs with this status; can be given more than once.",
            ),
            click.option("--pipeline", metavar="PIPELINE", help="Jobs of this pipeline."),
            click.option("--tag", metavar="TAG", help="Jobs with this tag."),
            click.option("--batch", "batch_id", metavar="BATCH_ID", help="Jobs of this batch."),
            click.option("--error", "error_code", metavar="CODE", help="Jobs whose error has this code."),
            click.option("--find", "q", metavar="TEXT", help="Jobs with this text in their id, address, tags, metadata, error or title."),
        )
        for option in reversed(options):
            filtered = option(filtered)
        return filtered

    return decorate


def check_one_or_many(job_id: str | None, query: JobQuery) -> None:
    """:raises click.UsageError: a job and filters are given, or neither."""
    if (job_id is None) is (query == JobQuery()):
        raise click.UsageError("give either a JOB_ID or filters")


TITLES = ("JOB", "STATUS", "REASON/STAGE", "DONE", "AGE", "TENANT", "WORKSPACE", "PIPELINE", "URL", "ERROR")


def row(job: Job) -> tuple[str | None, ...]:
    return (
        job.job_id, job.status.value, job.reason or job.stage, f"{job.progress:.0f}%", age(job.created_at), job.tenant_id,
        job.workspace_id, job.pipeline, job.url, job.error,
    )  # fmt: skip


@click.command("list")
@filters(JobStatus)
@limit_option()
@json_option("Print whole records as JSON.")
@with_cell
def list_jobs(cell: Cell, query: JobQuery, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    print_list(first_of(cell.client.list, query, limit), as_json, TITLES, row)


def first_of(ask: Callable[[JobQuery], Page[Job]], query: JobQuery, limit: int) -> list[Job]:
    """The first jobs of a list that is asked for page by page, at most so many."""
    found: list[Job] = []
    while True:
        page = ask(replace(query, limit=limit - len(found)))
        found += page.items
        # Where filters are mixed a page may be short and still not the last.
        if page.next_cursor is None or len(found) == limit:
            return found
        query = replace(query, cursor=page.next_cursor)


@click.command("cancel")
@click.argument("job_id", required=False)
@filters((JobStatus.QUEUED, JobStatus.RUNNING))
@dry_run_option()
@yes_option()
@json_option("Print what was done as JSON.")
@with_cell
def cancel_jobs(cell: Cell, job_id: str | None, query: JobQuery, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Cancel a job, or all queued and running jobs that match the filters: it says how many and asks."""
    check_one_or_many(job_id, query)
    if job_id is not None:
        _cancel_one(cell, job_id, dry_run, as_json)
        return
    if not (dry_run or yes):
        would = _cancel_matching(cell, query, dry_run=True)
        ask_to_cancel(would.cancelled, would.stopping, yes)
    say_cancelled(_cancel_matching(cell, query, dry_run=dry_run), as_json, dry_run=dry_run)


def _cancel_one(cell: Cell, job_id: str, dry_run: bool, as_json: bool) -> None:
    job = cell.client.get(job_id)
    if not (dry_run or job.ended):
        job = cell.results(job_id).revoke()
        note(cell, "job.cancelled", job_id, tenant_id=job.tenant_id)
    status = "being stopped" if job.cancel_requested and not job.ended else job.status.value
    say(as_json, job.to_dict(cell.artifacts.link), f"{job.job_id} is {status}.")


def _cancel_matching(cell: Cell, query: JobQuery, *, dry_run: bool) -> Cancelled:
    total = Cancelled(0, 0, 0, None)
    while True:
        done = cell.batches.cancel_matching(query, dry_run=dry_run, operator=True, actor=user())
        total = Cancelled(total.matched + done.matched, total.cancelled + done.cancelled, total.stopping + done.stopping, None)
        if done.next_cursor is None:
            return total
        query = replace(query, cursor=done.next_cursor)


#: Fields of a new job that have options.
_FIELDS = ("url", "pipeline", "tenant_id", "workspace_id", "quality", "priority")


@click.command("submit")
@click.argument("fields", metavar="JSON", default="{}")
@click.option("--url", metavar="URL", help="The media to process.")
@click.option("--pipeline", metavar="PIPELINE", help="The pipeline to run.")
@click.option("--tenant", "tenant_id", metavar="TENANT", help="Whose job it is.")
@click.option("--workspace", "workspace_id", metavar="WORKSPACE", help="Of which workspace.")
@click.option("--quality", metavar="QUALITY", help="One of the pipeline's qualities.")
@click.option("--priority", type=int, help="A job with a higher priority starts sooner than others of its workspace.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag; can be given more than once.")
@json_option("Print the whole job as JSON.")
@with_cell
def submit_job(cell: Cell, fields: str, as_json: bool, tags: tuple[str, ...], **given: Any) -> None:
    """Make a job: prints its id. JSON is an object with the fields of a new job, such as {"url": "https://example.com/talk.mp4", "params":
    {"summary_sentences": 5}}; `run_at` is in Unix milliseconds. What an option gives stands before the same field of the object."""
    with must_be_json():
        values = json.loads(fields)
    if not isinstance(values, dict):
        raise click.UsageError("the fields of a job are a JSON object")
    values |= {name: given[name] for name in _FIELDS if given[name] is not None}
    if tags:
        values["tags"] = list(tags)
    if not values:
        raise click.UsageError("give the fields of the job: --url URL, --pipeline PIPELINE or JSON")
    job = cell.client.submit(NewJob.of(values))
    say(as_json, job.to_dict(cell.artifacts.link), job.job_id)


@click.command("signal")
@click.argument("job_id")
@click.argument("name")
@click.argument("payload", metavar="JSON", default="null")
@always_json()
@with_cell
def signal_job(cell: Cell, job_id: str, name: str, payload: str) -> None:
    """Send a job the signal NAME that it waits for, or will. JSON is its payload."""
    with must_be_json():
        value = json.loads(payload)
    first = signals.send(cell.client, job_id, name, value, user())
    note(cell, "job.signalled", job_id, tenant_id=cell.client.get(job_id).tenant_id, signal=name)
    print_json({"job_id": job_id, "signal": name, **first})


@click.command()
@click.argument("name", metavar="PIPELINE")
@click.option(
    "--max-concurrent", type=click.IntRange(0, pipeline_limits.MOST), help="Maximum number of its running jobs, over all workers."
)
@click.option("--declared", is_flag=True, help="Restore the number that the pipeline declares.")
@always_json()
@with_cell
def pipeline(cell: Cell, name: str, max_concurrent: int | None, declared: bool) -> None:
    """Show or set how many jobs of a pipeline run at once. A change applies to queued jobs immediately."""
    if declared and max_concurrent is not None:
        raise click.UsageError("give either --max-concurrent or --declared")
    client = cell.client
    client.registry.get(name)
    if declared or max_concurrent is not None:
        now = pipeline_limits.set_cap(client.store, name, max_concurrent, actor=user())
    else:
        now = pipeline_limits.of(client.store, name)
    print_json(now.to_dict())
