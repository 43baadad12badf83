"""`jobs doctor`, `workers`, `watch`, `drain` and `config`."""

from __future__ import annotations

import os
import textwrap
import time
from typing import Any

import click

from pipeline_jobs.access import audit
from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, print_json, print_list, print_table, user, with_cell
from pipeline_jobs.job import Job, dumps
from pipeline_jobs.operation import conditions
from pipeline_jobs.operation.conditions import Seen
from pipeline_jobs.operation.effective import drifting, effective
from pipeline_jobs.operation.roll import Row, roll
from pipeline_jobs.operation.watch import Watch
from pipeline_jobs.pools.pool_names import DEFAULT_NAME
from pipeline_jobs.runlog.lines import harmless
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import load

#: Between two looks at a job that is watched, in seconds.
WATCH_SECONDS = 0.5
#: How long a worker may take to answer that it is drained, in seconds.
DRAIN_SECONDS = 5.0


@click.command()
@json_option("Print what was found as JSON.")
@with_cell
def doctor(cell: Cell, as_json: bool) -> None:
    """Say everything that is wrong with the installation, and what to do. Exits with 1 if anything is."""
    watch = Watch(cell.store, cell.settings, cell.broker, kind="doctor", node="doctor")
    seen = conditions.look(cell.store, cell.settings, watch.look_once())
    if as_json:
        print_json({"status": seen.worst, "conditions": [one.to_dict() for one in seen.found]})
    else:
        _print_found(seen)
    if seen.worst != "ok":
        raise SystemExit(1)


def _print_found(seen: Seen) -> None:
    wrong = [one for one in seen.found if one.severity != conditions.ADVICE]
    for one in sorted(seen.found, key=lambda one: one.severity == conditions.ADVICE):
        lines = (one.detail, f"To do: {one.condition.to_do}")
        click.echo(f"{one.severity.upper():<8} {one.name}: {one.condition.what}")
        for line in lines:
            click.echo(textwrap.fill(line, 110, initial_indent=" " * 9, subsequent_indent=" " * 9, break_long_words=False))
    click.echo(
        f"{len(wrong) or 'Nothing'} {'is wrong' if len(wrong) < 2 else 'things are wrong'}; {len(seen.processes)} processes announced."
    )


@click.command()
@json_option("Print the rows as JSON.")
@with_cell
def workers(cell: Cell, as_json: bool) -> None:
    """List the processes of the installation: what each is, since when, and which jobs a worker runs since when."""
    rows = roll(cell.store)
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    titles = ("PROCESS", "KIND", "STATE", "SINCE", "VERSION", "SLOTS", "JOB", "STAGE", "RUNS SINCE")
    print_table(titles, [cells for row in rows for cells in _worker_rows(row)])


def _worker_rows(row: Row) -> list[tuple[object, ...]]:
    """One for each job that it runs, at least one."""
    kind = row.kind if row.pool in (None, DEFAULT_NAME) else f"{row.kind} ({row.pool})"
    own = (row.name, kind, row.state, row.since, row.version, row.slots)
    jobs: list[tuple[object, ...]] = [(job.job_id, job.stage, job.since) for job in row.jobs]
    return [(*own, *job) for job in jobs or [(None, None, None)]]


@click.command("watch")
@click.argument("job_id")
@json_option("Print each change as a line of JSON.")
@with_cell
def watch_job(cell: Cell, job_id: str, as_json: bool) -> None:
    """Follow a job until it has ended; exits with 0 only if it completed."""
    shown: object = None
    while True:
        job = cell.client.get(job_id)
        now = (job.status.value, job.reason or job.stage, round(job.progress), job.message)
        if now != shown:
            shown = now
            click.echo(dumps(job.to_dict(cell.artifacts.link)) if as_json else harmless(_watched(job)))
        if job.ended:
            raise SystemExit(0 if job.status is JobStatus.COMPLETED else 1)
        cell.client.wait(job_id, WATCH_SECONDS)


def _watched(job: Job) -> str:
    words = (job.status.value, f"{job.progress:.0f} %", job.reason or job.stage, job.message, job.error if job.ended else None)
    return f"{time.strftime('%H:%M:%S')}  {'  '.join(str(word) for word in words if word)}"


@click.command()
@click.argument("worker")
@click.option("--undo", is_flag=True, help="Let it take jobs again.")
@json_option("Print its answer as JSON.")
@with_cell
def drain(cell: Cell, worker: str, undo: bool, as_json: bool) -> None:
    """Let a worker take no more jobs, until it is restarted; those that it runs go on. WORKER is its name, such as jobs@host."""
    app: Any = click.get_current_context().obj.app
    found = [name for name in load(cell.store).slots if name.partition("/")[0] == worker]
    if not found:
        raise click.ClickException(f"there is no live job worker {worker}: jobs workers lists them")
    answers = app.control.drain(worker, undo=undo, timeout=DRAIN_SECONDS)
    if not answers:
        raise click.ClickException(f"{worker} has not answered within {DRAIN_SECONDS:.0f} s: it may stand still")
    audit.record(cell.store, user(), "worker.undrained" if undo else "worker.drained", worker, {})
    runs = sum(len(row.jobs) for row in roll(cell.store) if row.name in found)
    if as_json:
        print_json({"worker": worker, "drained": not undo, "running": runs})
    else:
        click.echo(f"{worker} takes {'jobs again' if undo else 'no more jobs'}; it runs {runs}.")


@click.command("config")
@json_option("Print all of it as JSON.")
@with_cell
def config(cell: Cell, as_json: bool) -> None:
    """Show the settings that hold here, where each is from, and which differ between processes. Secrets are masked."""
    rows = effective(cell.settings, os.environ, load(cell.store).default.most)
    differing = drifting(cell.store, cell.settings)
    if as_json:
        print_json({"settings": [row.to_dict() for row in rows], "drift": differing})
        return
    print_list(rows, False, ("SETTING", "VALUE", "FROM"), lambda row: (row.variable, row.value, row.source))
    for variable, values in differing.items():
        shown = "; ".join(f"{text}: {', '.join(nodes)}" for text, nodes in values.items())
        click.echo(f"{variable} differs (hashes): {shown}")
