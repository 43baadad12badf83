"""The batches of a tenant, and one with its figures, its errors and its jobs. Its acts are those of a list by `batch_id` (`bulk`)."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, request

from pipeline_jobs.jobs.batches import BatchQuery
from pipeline_jobs.jobs.listing import JobQuery, tally
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.batches import own_batch
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.schemas.batches import BatchListRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page
from pipeline_jobs.web.ui.story import name_of_batch

#: Jobs on a batch's page; its list has all.
SHOWN = 10

blueprint.add_app_template_filter(name_of_batch)


@blueprint.get("/batches")
def batches() -> Response:
    given = {name: value for name, value in request.args.items() if value}
    query = check(BatchListRequest, given)
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    found = web().cell.batches.list(BatchQuery(tenant_id, workspace_id, query.limit, query.cursor))
    given.pop("cursor", None)
    return page("batches", batches=[(one, parts(one.counts)) for one in found.items], next_cursor=seal(found.next_cursor), given=given)


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> Response:
    found, who = own_batch(batch_id), caller()
    cell = web().cell
    # A batch outlives none of its jobs' records, so all that are left are counted here.
    query = who.query(JobQuery(tenant_id=found.tenant_id, batch_id=batch_id, limit=SHOWN))
    return page(
        "batch",
        batch=found,
        parts=parts(found.counts),
        errors=tally(cell.store, query).of("error_code"),
        jobs=cell.client.list(query).items,
        live=found.counts[JobStatus.QUEUED] + found.counts[JobStatus.RUNNING],
    )


def parts(counts: Mapping[JobStatus, int]) -> list[tuple[str, float, float]]:
    """The bar of a batch: of each status that some jobs have, where it begins and how long it is, in thousandths."""
    order = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.RUNNING, JobStatus.QUEUED)
    whole, at, found = max(1, sum(counts.values())), 0.0, []
    for status in order:
        if long := 1000 * counts[status] / whole:
            found.append((status.value, round(at, 1), round(long, 1)))
            at += long
    return found
