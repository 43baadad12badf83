"""Cancel, retry or delete all jobs of a list: first the question with their number, then the act."""

from __future__ import annotations

from flask import Response, request

from pipeline_jobs.exceptions import TryLater
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.bulk import one_call
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.schemas.bulk import BulkRequest
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.listing import filters

#: One click does no more calls than so; the page says how many are left.
MOST_CALLS = 10


@blueprint.get("/bulk")
def ask_bulk() -> Response:
    """How many it would be."""
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
            return see_other("ui.jobs", **filters())
        body = body.model_copy(update={"cursor": part.next_cursor})
    return _page(body, done)


def _request(dry_run: bool) -> BulkRequest:
    """:raises Refused: 422, names the field."""
    who = caller()
    own = {} if who.sees_all else {"tenant_id": who.tenant_id}
    chosen = own | {name: value.split(",") if name == "status" else value for name, value in filters().items()}
    return check(BulkRequest, {"action": request.values.get("action", ""), "filter": chosen, "dry_run": dry_run})


def _page(body: BulkRequest, done: int | None, stopped: str = "") -> Response:
    """:param done: to how many it was done already; None: nobody has said yes yet."""
    left = one_call(body.model_copy(update={"dry_run": True}))
    return page(
        "bulk",
        action=body.action, matched=left.matched, more=left.next_cursor is not None, filters=filters(), done=done, stopped=stopped,
    )  # fmt: skip
