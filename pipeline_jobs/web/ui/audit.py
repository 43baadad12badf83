"""The audit log: all of it for operators, a tenant's own for its admins."""

from __future__ import annotations

from flask import Response, request

from pipeline_jobs.access.audit import page as rows_of
from pipeline_jobs.web.api.audit import own_rows
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.schemas.audit import AuditRequest
from pipeline_jobs.web.schemas.pages import PageRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page
from pipeline_jobs.web.ui.tenants import check_tenant


@blueprint.get("/audit")
def audit() -> Response:
    query = check(AuditRequest, {name: value for name, value in request.args.items() if value and name != "tenant_id"})
    found = rows_of(web().cell.store, query.cursor, query.limit)
    return page("audit", rows=found.items, next_cursor=seal(found.next_cursor), names={})


@blueprint.get("/tenants/<tenant_id>/audit")
def tenant_audit(tenant_id: str) -> Response:
    query = check(PageRequest, {name: value for name, value in request.args.items() if value})
    check_tenant(tenant_id)
    found = own_rows(tenant_id, query.cursor, query.limit)
    names = {f"key:{key.key_id}": key.name for key in web().cell.keys.list(tenant_id) if key.name}
    return page("audit", rows=found.items, next_cursor=seal(found.next_cursor), names=names)
