"""The audit log, for operators."""

from __future__ import annotations

from flask import Response, request

from pipeline_jobs.access.audit import page as rows_of
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.schemas.audit import AuditRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page


@blueprint.get("/audit")
def audit() -> Response:
    query = check(AuditRequest, {name: value for name, value in request.args.items() if value and name != "tenant_id"})
    found = rows_of(web().cell.store, query.cursor, query.limit)
    return page("audit", rows=found.items, next_cursor=seal(found.next_cursor))
