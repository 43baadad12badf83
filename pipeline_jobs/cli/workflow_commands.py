"""`jobs workflow ...`."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.batch_commands import cancel_whole, print_batches, say_cancelled
from pipeline_jobs.cli.console import (
    always_json,
    dry_run_option,
    json_option,
    limit_option,
    must_be_json,
    note,
    print_json,
    say,
    with_cell,
    yes_option,
)
from pipeline_jobs.exceptions import InvalidItems
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import BatchQuery
from pipeline_jobs.jobs.graph import mermaid
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE


@click.group()
def workflow() -> None:
    """Workflows: batches whose jobs depend on each other."""


@workflow.command("submit")
@click.argument("file", metavar="FILE", type=click.File("r"))
@json_option("Print what was done as JSON.")
@with_cell
def submit_workflow(cell: Cell, file: IO[str], as_json: bool) -> None:
    """Make a workflow: prints its id. FILE (`-`: the input) has the body of `POST /pipeline/workflows` as JSON; `run_at` is in Unix
    milliseconds."""
    with must_be_json():
        body = json.load(file)
    jobs = body.get("jobs") if isinstance(body, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(one, dict) for one in jobs):
        raise click.UsageError('a workflow is a JSON object with a list of objects: {"jobs": [{"name": ..., ...}, ...]}')
    if unknown := body.keys() - {"jobs", "tenant_id", "workspace_id", "metadata"}:
        raise click.UsageError(f"unknown field {min(unknown)!r}")
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise click.UsageError("metadata must be an object")
    place = str(body.get("tenant_id", DEFAULT_TENANT)), str(body.get("workspace_id", DEFAULT_WORKSPACE))
    try:
        made = cell.workflows.create(NewWorkflow([_node(one) for one in jobs], *place, metadata))
    except InvalidItems as error:
        raise click.ClickException("\n".join(f"{one['field']}: {one['message']}" for one in error.errors)) from None
    note(cell, "workflow.submitted", made.batch.batch_id, tenant_id=made.batch.tenant_id, jobs=made.batch.total)
    say(as_json, made.batch.to_dict(), made.batch.batch_id)


def _node(fields: dict[str, Any]) -> NewNode:
    own = {name: value for name, value in fields.items() if name not in ("name", "depends_on")}
    needs = fields.get("depends_on") or []
    if not isinstance(needs, list) or not all(isinstance(one, str) for one in needs):
        raise click.UsageError("depends_on must be a list of names")
    return NewNode(str(fields.get("name", "")), NewJob.of(own), tuple(needs))


@workflow.command("list")
@click.option("--tenant", metavar="TENANT", help="Workflows of this tenant.")
@click.option("--workspace", metavar="WORKSPACE", help="Workflows of this workspace; requires --tenant.")
@limit_option()
@json_option()
@with_cell
def list_workflows(cell: Cell, tenant: str | None, workspace: str | None, limit: int, as_json: bool) -> None:
    """List workflows, newest first."""
    print_batches(cell.workflows.list(BatchQuery(tenant, workspace, limit)).items, "WORKFLOW", as_json)


@workflow.command("show")
@click.argument("workflow_id")
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print the graph as Mermaid text.")
@always_json()
@with_cell
def show_workflow(cell: Cell, workflow_id: str, as_mermaid: bool) -> None:
    """Show a workflow with its jobs as JSON."""
    found = cell.workflows.get(workflow_id)
    if as_mermaid:
        click.echo(mermaid(found.drawn()), nl=False)
    else:
        print_json(found.to_body(cell.settings.public_url))


@workflow.command("cancel")
@click.argument("workflow_id")
@dry_run_option()
@yes_option()
@json_option("Print what was done as JSON.")
@with_cell
def cancel_workflow(cell: Cell, workflow_id: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Cancel the jobs of a workflow that have not ended: it says how many and asks."""
    done = cancel_whole(cell, cell.workflows.record(workflow_id), cell.workflows.cancel, dry_run, yes)
    say_cancelled(done, as_json, dry_run=dry_run)


@workflow.command("retry")
@click.argument("workflow_id")
@json_option("Print what was done as JSON.")
@with_cell
def retry_workflow(cell: Cell, workflow_id: str, as_json: bool) -> None:
    """Run the jobs of a workflow again that did not complete, and all behind them: prints the new workflow's id."""
    made = cell.workflows.retry(workflow_id)
    note(cell, "workflow.retried", workflow_id, tenant_id=made.batch.tenant_id, by=made.batch.batch_id)
    say(as_json, made.batch.to_dict(), made.batch.batch_id)
