"""`jobs history`: ended jobs in the database, and how the way there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import always_json, json_option, limit_option, print_json, print_list, print_table, say, with_cell
from pipeline_jobs.cli.job_commands import TITLES, filters, first_of, row
from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.history.mover import Mover
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import figures

if TYPE_CHECKING:
    from pipeline_jobs.history.history import History


@click.group("history")
def history() -> None:
    """Ended jobs that are kept in a database (PIPELINE_HISTORY_URL)."""


def _of(cell: Cell) -> History:
    if cell.history is None:
        raise ConfigurationError("there is no history: set PIPELINE_HISTORY_URL")
    return cell.history


@history.command("status")
@json_option("Print the figures as JSON.")
@with_cell
def show_status(cell: Cell, as_json: bool) -> None:
    """Show how many ended jobs wait to be moved into the history, and how many were."""
    _of(cell)
    waiting, counters = figures.history(cell.store), cell.store.record("counters")
    moved, lost = (counters.get(name, 0) for name in ("history_moved", "history_lost"))
    if as_json:
        print_json({"waiting": waiting.jobs, "oldest_seconds": waiting.seconds, "moved": int(moved), "lost": int(lost)})
        return
    print_table(("WAITING", "OLDEST", "MOVED", "LOST"), [(str(waiting.jobs), f"{waiting.seconds:.0f} s", str(moved), str(lost))])


@history.command("move")
@json_option("Print what was done as JSON.")
@with_cell
def move(cell: Cell, as_json: bool) -> None:
    """Move what waits now, and make the tables if they are not there; it is what beat has done every few seconds."""
    found = _of(cell)
    found.database.upgrade()
    moved = Mover(found).move()
    say(as_json, {"moved": moved}, f"{moved} jobs were moved.")


@history.command("show")
@click.argument("job_id")
@always_json()
@with_cell
def show_moved(cell: Cell, job_id: str) -> None:
    """Show a job of the history as JSON."""
    print_json(_of(cell).get(job_id).to_dict(cell.artifacts.link))


@history.command("list")
@filters(JobStatus)
@limit_option()
@json_option("Print whole records as JSON.")
@with_cell
def list_history(cell: Cell, query: JobQuery, limit: int, as_json: bool) -> None:
    """List jobs, those of the history too, newest first."""
    print_list(first_of(_of(cell).page, query, limit), as_json, TITLES, row)
