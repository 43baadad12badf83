"""Cancel, retry or delete all jobs of a list: first the question with their number, then the act."""

from __future__ import annotations

from typing import Any

from flask import Response, request, url_for

from pipeline_jobs.exceptions import TryLater, UnknownBatch
from pipeline_jobs.jobs.batches import Batch
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.batches import own_batch
from pipeline_jobs.web.api.bulk import one_call
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.schemas.bulk import BulkRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.listing import filters
from pipeline_jobs.web.ui.story import name_of_batch

#: One click does no more calls than so; the page says how many are left.
MOST_CALLS = 10


@blueprint.get("/bulk")
def ask_bulk() -> Response:
    """Ask, and say how many jobs it would be."""
    return _page(_request(dry_run=True), None)


@blueprint.post("/bulk")
def bulk() -> Response:
    body = _request(dry_run=False)
    done = 0
    for _ in range(MOST_CALLS):
        try:
            part = one_call(body)
        except TryLater as stopped:
            return _page(body, done, stopped.message)
        done += part.done
        if part.next_cursor is None:
            endpoint, where = _list(_batch())
            return see_other(endpoint, **where, action=body.action, done=done)
        body = body.model_copy(update={"cursor": part.next_cursor})
    return _page(body, done)


def _batch() -> Batch | None:
    """The batch that the list is of, if it is of nothing else besides and is still there."""
    found = filters()
    if set(found) - {"tenant_id"} != {"batch_id"}:
        return None
    try:
        return own_batch(found["batch_id"])
    except UnknownBatch:
        return None


def _list(batch: Batch | None) -> tuple[str, dict[str, Any]]:
    """Where its jobs are looked at, before and after: the batch's own page, or the list."""
    return ("ui.batch", {"batch_id": batch.batch_id}) if batch else ("ui.jobs", filters())


def _request(dry_run: bool) -> BulkRequest:
    """:raises Refused: 422, names the field."""
    who = caller()
    own = {} if who.sees_all else {"tenant_id": who.tenant_id}
    chosen = own | {name: value.split(",") if name == "status" else value for name, value in filters().items()}
    return check(BulkRequest, {"action": request.values.get("action", ""), "filter": chosen, "dry_run": dry_run})


def _page(body: BulkRequest, done: int | None, stopped: str = "") -> Response:
    """:param done: to how many it was done already; None: nobody has said yes yet."""
    left, batch = one_call(body.model_copy(update={"dry_run": True})), _batch()
    endpoint, where = _list(batch)
    return page(
        "bulk",
        action=body.action, matched=left.matched, more=left.next_cursor is not None, filters=filters(), done=done, stopped=stopped,
        back=url_for(endpoint, **where), in_history=web().cell.history is not None, of_batch=name_of_batch(batch) if batch else "",
    )  # fmt: skip
