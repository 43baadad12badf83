"""`GET /pipeline/audit`: what admins, operators and the command line did."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.access.audit import Row
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import page_reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.schemas.audit import AuditPage, AuditRequest
from pipeline_jobs.web.state import web

blueprint = APIBlueprint("audit", __name__, url_prefix="/pipeline", abp_tags=[{"name": "operation"}])
blueprint.before_request(require_queue)


@blueprint.get(
    "/audit",
    summary="Read the audit log",
    description="Newest first: keys made and revoked, limits changed, tenants erased; about 50,000 such rows are kept, and about "
    "10,000 of the daily work: schedules, jobs cancelled or retried by operators. For admins of all tenants.",
    responses=responses({200: answer("One page.", AuditPage)}, 400, 404, 422, 503),
)
@validated
def audit(query: AuditRequest) -> Response:
    page = web().parts.audit.page(query.cursor, query.limit)
    return page_reply("rows", page.items, Row.to_dict, next_cursor=page.next_cursor)
