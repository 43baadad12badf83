"""`jobs doctor`, `workers`, `why`, `watch`, `drain` and `config`."""

from __future__ import annotations

import os
import textwrap
import time
from typing import Any

import click

from pipeline_jobs.access import audit
from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, print_json, print_list, print_table, user, with_cell
from pipeline_jobs.job import Job, dumps, rfc3339
from pipeline_jobs.operation import conditions
from pipeline_jobs.operation.conditions import Seen
from pipeline_jobs.operation.effective import drifting, effective
from pipeline_jobs.operation.roll import Row, roll
from pipeline_jobs.operation.watch import Watch
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
    own = (row.name, row.kind, row.state, row.since, row.version, row.slots)
    jobs: list[tuple[object, ...]] = [(job.job_id, job.stage, job.since) for job in row.jobs]
    return [(*own, *job) for job in jobs or [(None, None, None)]]


#: Why a job waits, and what changes that.
_WHY = {
    "fair_share": "It may start, but all slots are busy or it is another tenant's turn. More slots: start a worker, or autoscale.",
    "no_worker": "No live worker consumes the queue `jobs`. Start one (jobs doctor says more).",
    "no_worker_for_pipeline": "No live worker knows its pipeline. Install what the pipeline needs on a worker (its log names it).",
    "scheduled": "Its start time is in the future.",
    "tenant_concurrency": "Its tenant runs as many jobs as it may (max_concurrent).",
    "tenant_rate": "Its tenant starts as many jobs a second as it may (start_rate).",
    "tenant_paused": "Its tenant may run no jobs (max_concurrent is 0).",
    "pipeline_concurrency": "As many jobs of its pipeline run as may. jobs pipeline NAME --max-concurrent changes that.",
    "dependency": "A job that it depends on has not ended.",
    "signal": "It is parked until a signal comes (jobs signal JOB NAME JSON).",
    "dispatched": "It was given a slot a moment ago; a worker is about to start it.",
    "retry": "It has run before and waits for its next try, or for a slot.",
}


@click.command()
@click.argument("job_id")
@json_option("Print what is known as JSON.")
@with_cell
def why(cell: Cell, job_id: str, as_json: bool) -> None:
    """Say why a job is where it is: what a queued one waits for, where a running one runs, why one has failed."""
    job = cell.client.describe(job_id)
    text = _why(job)
    if as_json:
        print_json({"job_id": job.job_id, "status": job.status.value, "reason": job.reason, "queue": job.queue, "why": text})
    else:
        click.echo(f"{job.job_id} is {job.status.value}. {text}")


def _why(job: Job) -> str:
    if job.status is JobStatus.QUEUED:
        return " ".join(filter(None, (_WHY.get(job.reason or "", f"The reason is {job.reason}."), _place(job))))
    if job.status is JobStatus.RUNNING:
        stopping = " It was asked to stop." if job.cancel_requested else ""
        return f"{job.worker or 'A worker'} runs it since {rfc3339(job.attempt_started_at)}: {job.stage or 'no stage yet'}.{stopping}"
    code = (job.error_detail or {}).get("code")
    return f"{job.error or 'It ended as it should.'}{f' (code {code})' if code else ''}"


def _place(job: Job) -> str:
    """Where it stands in the queue, and what else it waits for."""
    queue = job.queue or {}
    said = (
        f"Position {queue['position']}." if queue.get("position") else "",
        f"The limit is {queue['limit']}." if queue.get("limit") is not None else "",
        f"It may start in about {queue['eta_seconds']:.0f} s." if queue.get("eta_seconds") is not None else "",
        f"It waits for {', '.join(job.depends_on)}." if job.reason == "dependency" else "",
        f"It waits for {job.awaits}: {job.message}" if job.awaits else "",
        f"From {rfc3339(job.run_at)} on." if job.reason in ("scheduled", "retry") and job.run_at else "",
        f"The last try: {job.error}" if job.error else "",
    )
    return " ".join(filter(None, said))


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
            click.echo(dumps(job.to_dict(cell.artifacts.link)) if as_json else _watched(job))
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
    rows = effective(cell.settings, os.environ, load(cell.store).max_concurrent_jobs)
    differing = drifting(cell.store, cell.settings)
    if as_json:
        print_json({"settings": [row.to_dict() for row in rows], "drift": differing})
        return
    print_list(rows, False, ("SETTING", "VALUE", "FROM"), lambda row: (row.variable, row.value, row.source))
    for variable, values in differing.items():
        shown = "; ".join(f"{text}: {', '.join(nodes)}" for text, nodes in values.items())
        click.echo(f"{variable} differs (hashes): {shown}")
