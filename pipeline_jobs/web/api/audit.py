"""`GET /pipeline/audit`: what admins, operators and the command line did."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.access.audit import Row, page, rows
from pipeline_jobs.web.http.openapi import stream_answer
from pipeline_jobs.web.http.replies import page_reply, prefers
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.audit import AuditPage, AuditRequest
from pipeline_jobs.web.state import web

_JSON_LINES = "application/x-ndjson"

routes = Routes("audit", "/pipeline", tag="operation")


@routes.get(
    "/audit",
    "Read the audit log",
    "Newest first: keys created and revoked, limits changed, tenants erased, and the daily work: schedules, jobs cancelled or "
    "retried by operators. Rows are kept for PIPELINE_AUDIT_RETENTION_SECONDS, up to a number for each tenant. With `Accept: "
    "application/x-ndjson` or `format=jsonl` the answer is an export: all rows from `cursor` on, one a line. For admins of all tenants.",
    {200: stream_answer("One page, or all rows.", AuditPage, media_type=_JSON_LINES)},
)
def audit(query: AuditRequest) -> Response:
    store = web().cell.store
    if query.format == "jsonl" or (query.format is None and prefers(_JSON_LINES)):
        # A store that goes away meanwhile cuts the answer off: its length is in no header, its last chunk never comes.
        return Response(map(Row.to_line, rows(store, query.cursor)), content_type=_JSON_LINES)
    found = page(store, query.cursor, query.limit)
    return page_reply("rows", found.items, Row.to_dict, next_cursor=found.next_cursor)
