"""What the commands share: the app that `-A` names, its errors, tables and JSON, and the row in the audit log."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline_jobs.access import audit
from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import PipelineJobsError, StoreUnavailable
from pipeline_jobs.operation.effective import masked

_NONE = "-"


def with_cell(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the cell of the app that `-A` names; an error of ours is said in one line, without a traceback."""

    @click.pass_context
    @functools.wraps(command)
    def wrapped(context: click.Context, /, **values: Any) -> None:
        cell: Cell | None = getattr(getattr(context.obj, "app", None), "cell", None)
        if cell is None:
            raise click.ClickException("the app of this installation is required: celery -A celery_app jobs ...")
        try:
            command(cell, **values)
        except StoreUnavailable as error:
            where = masked(cell.settings.redis_url)
            raise click.ClickException(f"{error.message}: is it running at {where}? PIPELINE_REDIS_URL names another address.") from None
        except PipelineJobsError as error:
            raise click.ClickException(error.message) from None

    return wrapped


def user() -> str:
    """Who this is, for the audit log."""
    return audit.process_actor("cli")


def note(cell: Cell, action: str, target: str, *, tenant_id: str, **detail: Any) -> None:
    """Write a row of the audit log: the user did this to something of the tenant's."""
    audit.record(cell.store, user(), action, target, {"tenant_id": tenant_id, **detail}, tenant_id=tenant_id)


def json_option(text: str = "Print the answer of the API as JSON.") -> Callable[[Any], Any]:
    return click.option("--json", "as_json", is_flag=True, help=text)


def always_json() -> Callable[[Any], Any]:
    """For a command that prints JSON anyway: a script gives `--json` to every command alike."""
    return click.option("--json", "as_json", is_flag=True, expose_value=False, help="Print JSON, as it does anyway.")


def dry_run_option() -> Callable[[Any], Any]:
    return click.option("--dry-run", is_flag=True, help="Only count the jobs.")


def yes_option() -> Callable[[Any], Any]:
    return click.option("--yes", is_flag=True, help="Do not ask.")


def ask(what: str, yes: bool) -> None:
    """Have it confirmed, on the standard error. :raises click.ClickException: nobody can be asked, or the answer is no."""
    if yes:
        return
    if not _can_answer():
        # A pipe that stays open would be waited for without end.
        raise click.ClickException(f"{what} Nobody can be asked here: give --yes to go on, or --dry-run to count.")
    click.confirm(f"{what} Go on?", abort=True, err=True)


def _can_answer() -> bool:
    return sys.stdin.isatty()


def limit_option(most: int = 1000) -> Callable[[Any], Any]:
    return click.option("--limit", type=click.IntRange(1, most), default=25, show_default=True)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def must_be_json() -> Iterator[None]:
    """Around the reading of what was given as JSON. :raises click.UsageError: it is none."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(f"this is not JSON: {error}") from None


def say(as_json: bool, value: object, text: str) -> None:
    """What was done: as JSON, or in words."""
    if as_json:
        print_json(value)
    else:
        click.echo(text)


def age(milliseconds: int | None) -> str:
    """How long ago a moment (Unix milliseconds) is, in its largest unit: `12s`, `3m`, `5h`, `2d`; nothing for None."""
    if milliseconds is None:
        return ""
    seconds = max(0, int(time.time() - milliseconds / 1000))
    size, unit = next((size, unit) for size, unit in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s")) if seconds >= size or size == 1)
    return f"{seconds // size}{unit}"


def print_list(found: Iterable[Any], as_json: bool, titles: Sequence[str], row: Callable[[Any], Sequence[object]]) -> None:
    """A table with a row for each, or all of them as JSON."""
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(titles, map(row, found))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below their titles: cut to the width of a terminal; elsewhere whole, for programs that read them."""
    cells = [list(titles), *map(shown, rows)]
    if sys.stdout.isatty():
        Console().print(drawn(cells))
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def drawn(cells: Sequence[Sequence[str]]) -> Table:
    """A table of rows of text, of which the first are the titles. The first column, an id as a rule, is never cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, title in enumerate(cells[0]):
        table.add_column(
            title, no_wrap=True, overflow="ellipsis", min_width=max(map(len, (row[0] for row in cells))) if number == 0 else None
        )
    for row in cells[1:]:
        # As `Text`: brackets in somebody's words are no markup.
        table.add_row(*map(Text, row))
    return table


def shown(row: Sequence[object]) -> list[str]:
    """The cells as texts of one line, without what would steer the terminal: titles, addresses and errors are tenants' words."""
    return [_NONE if cell in (None, "") else "".join(one if one.isprintable() else " " for one in str(cell)) for cell in row]
