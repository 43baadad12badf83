"""What the commands share: the app that `-A` names, its errors, tables and JSON, and the row in the audit log."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from pipeline_jobs.access import audit
from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import PipelineJobsError

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


def limit_option(most: int = 1000) -> Callable[[Any], Any]:
    return click.option("--limit", type=click.IntRange(1, most), default=25, show_default=True)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_list(found: Iterable[Any], as_json: bool, titles: Sequence[str], row: Callable[[Any], Sequence[object]]) -> None:
    """A table with a row for each, or all of them as JSON."""
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(titles, map(row, found))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    cells = [list(titles), *([_NONE if cell in (None, "") else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
