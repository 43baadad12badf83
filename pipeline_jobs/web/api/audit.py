"""`GET /pipeline/audit`: what admins, operators and the command line did."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import Field

from pipeline_jobs.access.audit import Row
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import page_reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.schemas.requests import DEFAULT_LIMIT, Limit, Parameters
from pipeline_jobs.web.schemas.tenant_bodies import AuditPage
from pipeline_jobs.web.state import web

blueprint = APIBlueprint("audit", __name__, url_prefix="/pipeline", abp_tags=[{"name": "operation"}])
blueprint.before_request(require_queue)


class AuditRequest(Parameters):
    """Which page."""

    limit: Limit = Field(DEFAULT_LIMIT, description="Maximum number of rows on the page.")
    cursor: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(None, description="`next_cursor` of the previous page.")


@blueprint.get(
    "/audit",
    summary="Read the audit log",
    description="Newest first: keys created and revoked, limits changed, tenants erased. About 50,000 such rows are kept, and about "
    "10,000 rows of daily work: schedules, jobs cancelled or retried by operators. For admins of all tenants.",
    responses=responses({200: answer("One page.", AuditPage)}, 400, 404, 422, 503),
)
@validated
def audit(query: AuditRequest) -> Response:
    rows, following = web().parts.audit.page(query.cursor, query.limit)
    return page_reply("rows", rows, Row.to_dict, next_cursor=following)
