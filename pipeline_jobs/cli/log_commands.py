"""`jobs logs`: what the stages of a job said; `jobs events`: what happened to it."""

from __future__ import annotations

from collections.abc import Iterable

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, print_list, with_cell
from pipeline_jobs.events.job_log import read_one
from pipeline_jobs.events.log import Event, read_all
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import rfc3339
from pipeline_jobs.jobs import job_logs
from pipeline_jobs.logs import MARGIN
from pipeline_jobs.runlog.lines import LEVELS, Line, wanted

#: How long a look at a job that is followed waits for its next lines, in seconds.
FOLLOW_SECONDS = 1.0


@click.command("logs")
@click.argument("job_id")
@click.option("--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(1), help="Only lines of this attempt.")
@click.option("--level", type=click.Choice(list(LEVELS), case_sensitive=False), default="DEBUG", help="Only this level and above it.")
@json_option("Print each line as JSON.")
@with_cell
def show_logs(cell: Cell, job_id: str, follow: bool, attempt: int | None, level: str, as_json: bool) -> None:
    """Print what the stages of a job logged and printed, in all its attempts."""
    least, reached = LEVELS[level.upper()], 0
    while True:
        log = read_one(cell.store, job_id, reached)
        page = job_logs.page(log, cell.artifacts, job_logs.MAX_LINES, attempt, least)
        _print(page.lines, as_json)
        reached = page.reached
        if page.next_after is None:
            break
    if not follow or page.complete:
        if not reached:
            # Not among the lines, which a script may read.
            click.echo("Its stages have said nothing. What happened to it: jobs events", err=True)
        return
    with cell.events.follow_log(job_id, log.tenant_id, reached, wanted=lambda line: any(wanted([line], attempt, least))) as follower:
        while follower.end is None:
            _print(follower.next(FOLLOW_SECONDS), as_json)


@click.command("events")
@click.argument("job_id")
@json_option("Print whole events as JSON.")
@with_cell
def show_events(cell: Cell, job_id: str, as_json: bool) -> None:
    """Print the event log of a job, oldest first: accepted, started, each stage, requeued and why, ended."""
    found = read_all(cell.store, job_id)
    if not found:
        raise UnknownJob
    print_list(found, as_json, ("TIME", "EVENT", "WHAT"), _event_row)


def _event_row(event: Event) -> tuple[str | None, ...]:
    told = ("stage", "progress", "message", "reason", "attempt", "status")
    what = " ".join(f"{name}={event.data[name]}" for name in told if event.data.get(name) not in (None, ""))
    return rfc3339(event.created_at), event.type.value, what


def _print(lines: Iterable[Line], as_json: bool) -> None:
    for line in lines:
        click.echo(line.json if as_json else _said(line))


def _said(line: Line) -> str:
    message = line.message.replace("\n", f"\n{MARGIN}")
    return f"{line.to_dict()['time']} {line.attempt} {line.level:<7} {line.logger}: {message}"
