"""`GET /pipeline/audit`: what admins, operators and the command line did; and of a tenant what is its own of that."""

from __future__ import annotations

from dataclasses import replace

from flask import Response

from pipeline_jobs.access.audit import Row, page, page_of, rows
from pipeline_jobs.store.pages import Page
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.openapi import answer, stream_answer
from pipeline_jobs.web.http.replies import page_reply, prefers
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.audit import AuditPage, AuditRequest
from pipeline_jobs.web.schemas.pages import PageRequest
from pipeline_jobs.web.schemas.tenants import TenantPath
from pipeline_jobs.web.state import web

_JSON_LINES = "application/x-ndjson"

#: Who it was, if it was none of the tenant's own keys: whom the operator employs is not the tenant's business.
OPERATOR = "operator"

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


@routes.get(
    "/tenants/<tenant_id>/audit",
    "Read a tenant's audit log",
    "The tenant's own rows, newest first: its keys, webhooks and schedules, jobs cancelled, retried or deleted, links made. Who it was is "
    f"said of the tenant's own keys; anybody else is `{OPERATOR}`, unless the caller is an admin of all tenants.",
    {200: answer("One page.", AuditPage)},
    errors=(422,),
)
def of_tenant(path: TenantPath, query: PageRequest) -> Response:
    found = own_rows(path.tenant_id, query.cursor, query.limit)
    return page_reply("rows", found.items, Row.to_dict, next_cursor=found.next_cursor)


def own_rows(tenant_id: str, cursor: str | None, limit: int) -> Page[Row]:
    """As the caller may see them. :raises InvalidInput: the cursor is not one of ours."""
    here = web().cell
    found = page_of(here.store, tenant_id, cursor, limit)
    if caller().sees_all:
        return found
    own = {f"key:{key.key_id}" for key in here.keys.list(tenant_id)}
    return replace(found, items=tuple(row if row.actor in own else replace(row, actor=OPERATOR) for row in found.items))
