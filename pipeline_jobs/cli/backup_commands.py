"""`jobs backup` and `jobs restore`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, print_json, with_cell
from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.store import backup as copies
from pipeline_jobs.store.guard import data_folder

_FILE = click.Path(dir_okay=False, path_type=Path)
_LOST = (
    "What was accepted or changed after the copy was made is lost. What ended after it runs again, and its webhooks are sent again. "
    "Artifacts that were deleted since are gone; those made since have no record."
)


@click.command()
@click.argument("file", type=_FILE)
@json_option("Print its size as JSON.")
@with_cell
def backup(cell: Cell, file: Path, as_json: bool) -> None:
    """Write everything that the store's server holds to FILE, as of one moment, while it goes on working. Artifacts are not in it.

    It has secrets in it: keep it as safe as the store.
    """
    size = copies.backup(cell.store, file)
    print_json({"file": str(file), "bytes": size}) if as_json else click.echo(f"{file}: {size} bytes. jobs restore puts it back.")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="The server's data folder. Default: that of make run.")
@click.option("--force", is_flag=True, help="Move the data that is there aside; end a server that runs, so that it starts with the copy.")
@json_option("Print what was done as JSON.")
@with_cell
def restore(cell: Cell, file: Path, folder: Path | None, force: bool, as_json: bool) -> None:
    """Put a copy that `jobs backup` made into the data folder of the store's server, which loads it when it starts.

    To copy an RDB file there by hand does nothing: a server with appendonly yes does not read it, and begins empty.
    """
    runs = _running_folder(cell)
    if runs is not None and not force:
        raise click.ClickException("the store's server is running: stop it, or give --force, which ends it")
    folder = folder or runs or cell.settings.data_dir / "redis"
    before = copies.restore(file, folder, force=force)
    if runs is not None:
        copies.end_server(cell.store)
    if as_json:
        print_json({"folder": str(folder), "before": before and str(before), "ended": runs is not None})
        return
    click.echo(f"{folder} has the copy; {'the server was ended: ' if runs is not None else ''}start the server, if nothing does by itself.")
    click.echo(_LOST)
    if before:
        click.echo(f"What was there is in {before}.")


def _running_folder(cell: Cell) -> Path | None:
    """The data folder of the server, if it runs; none of our business if it is on another machine.

    :raises ConfigurationError: it runs where its folder cannot be reached.
    """
    try:
        cell.store.now()
    except StoreUnavailable:
        return None
    folder = data_folder(cell.store, cell.settings.redis_url)
    if folder is None:
        raise ConfigurationError("the store's server runs on another machine: stop it, and give --folder there")
    return folder
