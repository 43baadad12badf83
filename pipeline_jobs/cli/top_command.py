"""`jobs top`: who has the slots, what waits and why, now or live."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import drawn, json_option, print_json, print_table, shown, with_cell
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.due_shares import Standing, standings
from pipeline_jobs.operation.overview import now
from pipeline_jobs.operation.waits import frees, reason
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import workers

#: Tenants whose next waiting job is explained: each costs two looks at the store.
MOST_EXPLAINED = 15

Rows = list[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Top:
    """The installation at one moment."""

    slots: int
    queued: int
    running: int
    oldest_seconds: float | None
    #: Of each live worker its slots and the jobs that it runs.
    workers: dict[str, tuple[int, int]]
    #: Why jobs wait, and how many.
    reasons: dict[str, int]
    #: The tenants that have something to do, each with the next of its jobs that wait.
    tenants: list[tuple[Standing, Job | None]]

    def to_dict(self) -> dict[str, Any]:
        return {
            "slots": self.slots, "queued": self.queued, "running": self.running, "oldest_seconds": self.oldest_seconds,
            "workers": [{"worker": name, "slots": has, "running": runs} for name, (has, runs) in sorted(self.workers.items())],
            "reasons": self.reasons,
            "tenants": [{**asdict(one), "next": None if job is None else _next(job)} for one, job in self.tenants],
        }  # fmt: skip

    def headline(self) -> str:
        oldest = "nothing waits" if self.oldest_seconds is None else f"the oldest waits {self.oldest_seconds:.0f} s"
        return f"{self.running} of {self.slots} slots busy, {self.queued} queued, {oldest}"

    def tables(self) -> list[tuple[tuple[str, ...], Rows]]:
        by_worker: Rows = [(name.partition("/")[0], runs, has) for name, (has, runs) in sorted(self.workers.items())]
        waiting: Rows = [(word, count, reason(word), frees(word)) for word, count in self.reasons.items()]
        by_tenant: Rows = [
            (one.tenant_id, one.running, f"{one.due:g}", one.queued, *(_told(job) if job else (None, None, None)))
            for one, job in self.tenants
        ]
        return [
            (("WORKER", "RUNNING", "SLOTS"), by_worker),
            (("REASON", "JOBS", "WHY THEY WAIT", "WHAT FREES THEM"), waiting),
            (("TENANT", "RUNNING", "DUE", "QUEUED", "NEXT JOB", "WAITS FOR", "ETA"), by_tenant),
        ]


def _next(job: Job) -> dict[str, Any]:
    return {"job_id": job.job_id, "reason": job.reason, "eta_seconds": (job.queue or {}).get("eta_seconds")}


def _told(job: Job) -> tuple[object, ...]:
    eta = (job.queue or {}).get("eta_seconds")
    return job.job_id, job.reason, None if eta is None else f"{eta:.0f} s"


def look(cell: Cell) -> Top:
    """:raises StoreUnavailable:"""
    sizes, fleet = now(cell.store, cell.settings), workers(cell.store)
    found = standings(cell.client, sizes.slots)
    reasons = sorted(((word, count) for word, count in fleet.reasons.items() if count), key=lambda one: (-one[1], one[0]))
    return Top(
        slots=sizes.slots, queued=sizes.queued, running=sizes.running, oldest_seconds=sizes.oldest_seconds,
        workers={name: (has, fleet.running.get(name, 0)) for name, has in fleet.slots.items()},
        reasons=dict(reasons),
        tenants=[(one, _first_waiting(cell, one) if number < MOST_EXPLAINED else None) for number, one in enumerate(found)],
    )  # fmt: skip


def _first_waiting(cell: Cell, one: Standing) -> Job | None:
    if not one.queued:
        return None
    found = cell.client.list(JobQuery(tenant_id=one.tenant_id, statuses=(JobStatus.QUEUED,), limit=1)).items
    return cell.client.describe(found[0].job_id) if found else None


@click.command("top")
@click.option("--every", type=click.FloatRange(0.5, 3600), default=2.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Look once, as it does where there is no terminal.")
@json_option("Look once and print it as JSON.")
@with_cell
def top(cell: Cell, every: float, once: bool, as_json: bool) -> None:
    """Show who has the slots and why the other jobs wait, by worker and tenant, until Ctrl-C."""
    if as_json:
        print_json(look(cell).to_dict())
    elif once or not sys.stdout.isatty():
        _print(look(cell))
    else:
        _follow(cell, every)


def _print(seen: Top) -> None:
    click.echo(seen.headline())
    for titles, rows in seen.tables():
        if rows:
            click.echo()
            print_table(titles, rows)


def _follow(cell: Cell, every: float) -> None:
    with Live(screen=True, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            live.update(_now(cell), refresh=True)
            time.sleep(every)


def _now(cell: Cell) -> Group:
    """What there is to see now; while the store is away, a line that says so: the next look may be at another server."""
    try:
        return _drawn(look(cell))
    except StoreUnavailable as error:
        return Group(Text(f"{error.message}; it is asked again.", style="bold"))


def _drawn(seen: Top) -> Group:
    tables = [drawn([list(titles), *map(shown, rows)]) for titles, rows in seen.tables() if rows]
    return Group(Text(seen.headline(), style="bold"), *(part for table in tables for part in (Text(), table)))
