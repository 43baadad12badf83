"""`GET /pipeline/audit`: what admins, operators and the command line did."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.access.audit import Row, page
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import page_reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.audit import AuditPage
from pipeline_jobs.web.schemas.pages import PageRequest
from pipeline_jobs.web.state import web

routes = Routes("audit", "/pipeline", tag="operation")


@routes.get(
    "/audit",
    "Read the audit log",
    "Newest first: keys created and revoked, limits changed, tenants erased. About 50,000 such rows are kept, and about "
    "10,000 rows of daily work: schedules, jobs cancelled or retried by operators. For admins of all tenants.",
    {200: answer("One page.", AuditPage)},
)
def audit(query: PageRequest) -> Response:
    found = page(web().cell.store, query.cursor, query.limit)
    return page_reply("rows", found.items, Row.to_dict, next_cursor=found.next_cursor)
